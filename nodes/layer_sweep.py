"""Qwen3 Layer Sweep."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..core.checks import require_choice
from ..core.encoder.image_size import DEFAULT_TOKENS, fit_images, require_budget, single_images
from ..core.encoder.layers import parse_layers
from ..core.encoder.prompt import build_prompt, require_text_beside_image
from ..core.taps.gains import weigh
from .capture import DEEPEST_LAYER, prompt_inputs, text_inputs
from .conditioning import write_entry
from .encoder import Encoding, block_count, encode
from .node import Node
from .report import shown_report
from .taps import encode_taps, tapped_clip
from .types import CATEGORY
from .vision import SELECTIONS, image_remarks, keep_tokens, token_inputs

SINGLE, LEAVE_OUT, SOLO = "single layers", "leave one out", "solo"
TAP_SWEEPS = (SINGLE, LEAVE_OUT, SOLO)
LARGEST_BLOCKS = DEEPEST_LAYER - 1
"""Blocks of the encoders that Z-Image is used with: what a list can be checked for before one is
loaded. The range of the encoder at hand is checked when the node runs."""


class LayerSweep(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabLayerSweep",
            display_name="Qwen3 Layer Sweep",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Encodes a prompt once and hands over the hidden states of many layers as "
            "a list. Whatever is connected runs once for each layer, with its label.",
            search_aliases=[
                "prompt",
                "layer list",
                "compare layers",
                "hidden states",
                "text encoder layers",
                "xy plot",
                "qwen3",
            ],
            inputs=[
                *text_inputs(),
                io.String.Input(
                    "layers",
                    default="-2, -6",
                    tooltip="Layers as Hugging Face counts, with commas between them. "
                    "-10..-20 is a range with both its ends, all is every hidden state.",
                ),
                *prompt_inputs(),
                io.Combo.Input(
                    "taps",
                    options=list(TAP_SWEEPS),
                    default=SINGLE,
                    optional=True,
                    advanced=True,
                    tooltip="For a CLIP of type flux2, krea2 or ideogram4, whose model takes "
                    "several layers side by side. leave one out: all, then all but each. solo: "
                    "all, then each alone. These use the model's own layers and think block, and "
                    "layers does not count.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Images that a Qwen3-VL encoder reads before the text, one or a "
                    "batch; all layers come from the same pass.",
                ),
                *_behind(token_inputs()),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    is_output_list=True,
                    tooltip="One CONDITIONING per layer, in the order written.",
                ),
                io.String.Output(
                    "label",
                    display_name="label",
                    is_output_list=True,
                    tooltip="One label per layer, such as layer -2.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, layers=None, taps=SINGLE) -> bool | str:
        try:
            if layers is not None and taps == SINGLE:
                parse_layers(layers, LARGEST_BLOCKS)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        clip,
        text,
        layers,
        system_prompt,
        think_block,
        taps=SINGLE,
        image=None,
        tokens="all",
        max_image_tokens=DEFAULT_TOKENS,
    ) -> io.NodeOutput:
        require_choice("taps", taps, TAP_SWEEPS)
        require_choice("tokens", tokens, SELECTIONS)
        require_budget("max_image_tokens", max_image_tokens)
        if taps != SINGLE:
            if image is not None:
                raise ValueError(
                    f"taps is '{taps}', which sweeps a text alone: disconnect image, or set taps "
                    f"to '{SINGLE}'"
                )
            return _sweep_taps(clip, text, system_prompt, taps)
        wanted = parse_layers(layers, block_count(clip))
        if image is None:
            encodings = encode(
                clip, build_prompt(text, system_prompt, think_block), wanted, once=True
            )
            remarks = []
        else:
            prompt = {"text": text, "system_prompt": system_prompt, "think_block": think_block}
            encodings, remarks = _read_images(clip, image, prompt, wanted, tokens, max_image_tokens)
        labels = [f"layer {encoding.record.layer}" for encoding in encodings]
        [first, *_] = encodings
        lines = [
            f"{len(first.record)} tokens at {len(labels)} layers, from one pass: "
            f"{', '.join(str(layer) for layer in wanted)}",
            *remarks,
            first.prompt,
        ]
        conditionings = [encoding.conditioning for encoding in encodings]
        return io.NodeOutput(conditionings, labels, ui=shown_report("\n".join(lines)))


def _behind(inputs: list[io.Input]) -> list[io.Input]:
    """``inputs`` as optional, advanced ones that count with an image only."""
    for one in inputs:
        one.optional = one.advanced = True
        one.tooltip = f"With an image. {one.tooltip}"
    return inputs


def _read_images(
    clip: Any, image: Tensor, prompt: dict[str, str], layers: list[int], tokens: str, budget: int
) -> tuple[list[Encoding], list[str]]:
    """As VL Image Token Encode at each of ``layers``, from one pass; and what to say of it."""
    for name in ("text", "system_prompt"):
        require_text_beside_image(name, prompt[name])
    fitted = fit_images(single_images([image]), budget)
    built = build_prompt(**prompt, images=len(fitted))
    encodings = [
        keep_tokens(encoding, fitted, tokens)
        for encoding in encode(clip, built, layers, [fit.pixels for fit in fitted], once=True)
    ]
    off, notes = image_remarks("Qwen3 Layer Sweep", fitted, len(encodings[0].record))
    return encodings, [*off, *notes]


def _sweep_taps(clip: Any, text: str, system_prompt: str, kind: str) -> io.NodeOutput:
    """All taps as they are, then each left out or each alone, every token at its own rms."""
    encoding = encode_taps(tapped_clip(clip), text, None, system_prompt)
    taps, record = encoding.record.taps, encoding.record
    conditionings, labels = [encoding.conditioning], ["all layers"]
    for tap in range(len(taps)):
        gains = [float((own == tap) == (kind == SOLO)) for own in range(len(taps))]
        label = f"{'only' if kind == SOLO else 'without'} {taps.name(tap)}"
        edited = record.with_edit(f"tap weights: {label}; every token keeps its rms")
        conditionings.append(
            [
                write_entry(entry, weigh(entry[0], taps, gains), edited)
                for entry in encoding.conditioning
            ]
        )
        labels.append(label)
    shown = f"{len(record)} tokens, {len(labels)} variants of {taps.in_words}\n{encoding.prompt}"
    return io.NodeOutput(conditionings, labels, ui=shown_report(shown))
