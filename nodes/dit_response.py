"""DiT Response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.samplers
import nodes as host_nodes
from comfy_api.latest import io, ui
from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow
from comfy_extras.nodes_sd3 import EmptySD3LatentImage
from torch import Tensor

from ..core.checks import (
    require_choice,
    require_finite_number,
    require_finite_states,
    require_whole_number,
)
from ..core.dit.response import (
    Response,
    Responses,
    check_labels,
    parse_steps,
    relative_change,
    response_table,
    share_of,
    verdict,
)
from .conditioning import entries_of, read_entry
from .lists import only
from .model import require_model
from .node import Node
from .numbers import check_numbers
from .pictures import require_matplotlib, theme_input, to_image
from .predictions import BASE, sample_and_ask
from .report import shown_report
from .sampling import (
    HIGHEST,
    MOST_STEPS,
    WHOLE_LIMITS,
    check_latent,
    schedule_inputs,
    size_inputs,
)
from .types import CATEGORY

EMPTIED = "emptied"


class DitResponse(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabDitResponse",
            display_name="DiT Response",
            category=CATEGORY,
            description="Asks the image model itself: how much does its prediction change with "
            "each variant of a conditioning, at several noise levels, as a share of what removing "
            "the prompt changes? Samples the base once and evaluates every variant at the base's "
            "own noisy latents.",
            search_aliases=["sensitivity", "velocity", "does it matter", "ablation", "compare"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.Model.Input(
                    "model", tooltip="Z-Image, or another whose conditioning is a text's states."
                ),
                io.Conditioning.Input("base", tooltip="What the variants are compared with."),
                io.Conditioning.Input(
                    "variants",
                    tooltip="A list: from Ablations, Qwen3 Layer Sweep, or several encoders. Of "
                    "the base's width; other lengths are fine, and are told.",
                ),
                io.String.Input(
                    "labels",
                    default="",
                    multiline=True,
                    tooltip="One label per variant: the list of the node that made them, or one "
                    "per line. Those that begin with control are drawn as a band.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Start from this latent, its noise mask too (width and height are then "
                    "its own).",
                ),
                *size_inputs(),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the noise that the base starts from.",
                ),
                io.Int.Input(
                    "steps", default=8, min=1, max=MOST_STEPS, tooltip="8 for Z-Image Turbo."
                ),
                io.String.Input(
                    "at",
                    default="1, 4, 7",
                    tooltip="The steps at which every variant is asked for, from 1: one evaluation "
                    "of the model per variant and step.",
                ),
                *schedule_inputs(),
                io.Float.Input(
                    "shift",
                    default=3.0,
                    min=0.0,
                    max=HIGHEST["shift"],
                    step=0.01,
                    tooltip="Of ModelSamplingAuraFlow; 3 for Z-Image. Other models keep their own "
                    "sampling, whatever this is.",
                ),
                theme_input(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output("report", display_name="report"),
                io.Latent.Output(
                    "latent", display_name="latent", tooltip="The base, sampled to its end."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, at=None, steps=None, shift=None) -> bool | str:
        try:
            for text, most in zip(at or (), steps or (), strict=False):
                if text is not None and most is not None:
                    parse_steps(text, most)
        except ValueError as error:
            return str(error)
        limits = (("shift", value, 0.0, HIGHEST["shift"]) for value in shift or ())
        return check_numbers(*limits)

    @classmethod
    def execute(
        cls,
        model,
        base,
        variants,
        labels,
        width,
        height,
        seed,
        steps,
        at,
        sampler_name,
        scheduler,
        shift,
        latent=None,
        theme=("light",),
    ) -> io.NodeOutput:
        theme = only("theme", theme)
        require_matplotlib(theme)
        from ..core.draw.response_picture import response_picture
        from ..core.draw.theme import picture_theme

        model, base = _one("model", model), _one("base", base)
        require_model(model)
        names = check_labels(labels, len(variants))
        if not variants:
            raise ValueError(
                "variants is an empty list: connect Ablations, Qwen3 Layer Sweep, or encoders"
            )
        limits = {"width": width, "height": height, "seed": seed, "steps": steps}
        width, height, seed, steps = (
            require_whole_number(name, only(name, values), *WHOLE_LIMITS[name])
            for name, values in limits.items()
        )
        wanted = parse_steps(only("at", at), steps)
        shift = require_finite_number("shift", only("shift", shift), 0.0, HIGHEST["shift"])
        sampler_name = require_choice(
            "sampler_name", only("sampler_name", sampler_name), comfy.samplers.KSampler.SAMPLERS
        )
        scheduler = require_choice(
            "scheduler", only("scheduler", scheduler), comfy.samplers.KSampler.SCHEDULERS
        )
        tokens, source = _tokens("base", base, None)
        lengths = [
            _tokens(f"variant {name!r}", variant, base)[0]
            for name, variant in zip(names, variants, strict=True)
        ]
        latent = _one("latent", latent) if latent else None
        if latent is None:
            [latent] = EmptySD3LatentImage.execute(width, height, 1).args
        else:
            check_latent(latent, model.get_model_object("latent_format").latent_channels)
        lumina = hasattr(getattr(model.model, "diffusion_model", None), "cap_embedder")
        if lumina:
            [model] = ModelSamplingAuraFlow().patch_aura(model, shift)
        [emptied] = host_nodes.ConditioningZeroOut().zero_out(base)
        numbered = {str(number): variant for number, variant in enumerate(variants)}
        found: dict[int, tuple[float, dict[str, float]]] = {}

        def seen(step: int, sigma: float, x: Tensor, predictions: Mapping[str, Tensor]) -> None:
            of_base = predictions[BASE]
            changes = {
                name: relative_change(x, of_base, other)
                for name, other in predictions.items()
                if name != BASE
            }
            found[step] = sigma, changes

        sampled = sample_and_ask(
            model,
            {BASE: base, EMPTIED: emptied, **numbered},
            emptied,
            latent,
            seed=seed,
            steps=steps,
            sampler_name=sampler_name,
            scheduler=scheduler,
            at=wanted,
            seen=seen,
        )
        responses = _responses(found, names, lengths, tokens, sampler_name)
        heading = f"{source}: {tokens} tokens, {len(names)} variants"
        said = verdict(responses, lumina)
        report = "\n".join([*said, heading, response_table(responses)])
        with picture_theme(theme):
            image = to_image([response_picture(responses, heading)])
        preview = ui.PreviewImage(image, cls=cls)
        shown = shown_report(report, said[0] if said else heading, preview)
        return io.NodeOutput(image, report, sampled, ui=shown)


def _one(name: str, values: Sequence[Any]) -> Any:
    """The only value of a list; such values cannot be compared."""
    if len(values) != 1:
        raise ValueError(
            f"{name} is a list of {len(values)}, but one holds for all variants: connect one"
        )
    return values[0]


def _tokens(name: str, conditioning: list, base: list | None) -> tuple[int, str]:
    """How many tokens the first entry has, and where they are from; all entries are looked at.

    Raises:
        ValueError: if there is no entry, or states are not finite or of another width than the
            base's.
    """
    if not entries_of(conditioning, name):
        raise ValueError(f"{name} has no entries: connect a text encoder's output")
    width = base[0][0].shape[-1] if base else None
    for entry in conditioning:
        hidden, record = read_entry(entry, name)
        require_finite_states(hidden, name)
        if width is not None and hidden.shape[-1] != width:
            raise ValueError(
                f"{name} ({record.source}) has {hidden.shape[-1]} dimensions and the base {width}: "
                "encode both with one text encoder"
            )
    hidden, record = read_entry(conditioning[0], name)
    return hidden.shape[1], f"{record.source}, {record.layer_in_words}"


def _responses(
    found: Mapping[int, tuple[float, Mapping[str, float]]],
    names: Sequence[str],
    lengths: Sequence[int],
    tokens: int,
    sampler_name: str,
) -> Responses:
    if not found:
        raise ValueError(
            f"the sampler {sampler_name} never came to the steps of at: choose res_multistep or "
            "euler, or earlier steps"
        )
    steps = tuple(sorted(found))
    removed = tuple(found[step][1][EMPTIED] for step in steps)
    rows = []
    for number, (name, length) in enumerate(zip(names, lengths, strict=True)):
        changes = tuple(found[step][1][str(number)] for step in steps)
        shares = tuple(map(share_of, changes, removed))
        rows.append(Response(name, changes, shares, length))
    sigmas = tuple(found[step][0] for step in steps)
    return Responses(steps, sigmas, tuple(rows), removed, tokens)
