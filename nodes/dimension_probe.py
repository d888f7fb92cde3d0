"""Dimension Probe."""

from __future__ import annotations

from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..core.checks import require_choice, require_finite_states, require_whole_number
from ..core.dimension.ablation import WAYS
from ..core.dimension.loss import LossRun, Variant
from ..core.dimension.probe import PLAIN, DimensionProbe, LayerProbe, Measures
from ..core.dimension.prompt_tokens import PromptTokens, arrange_prompts
from ..core.dimension.words import (
    CAUSAL,
    COST_COLUMNS,
    cost_rows,
    headline,
    part_rows,
    sink_sentence,
    token_rows,
    writing_sentences,
)
from ..core.encoder.layers import hidden_state_index
from ..core.encoder.prompt import build_prompt
from ..core.tables import table
from .capture import check_layer, layer_input
from .causal_clip import ClipModel
from .encoder import block_count
from .node import Node
from .pictures import require_matplotlib, theme_input, to_image
from .prompt_list import check_prompts, prompts_fingerprint, read_prompts
from .report import shown_report
from .types import CATEGORY

ALL_WAYS = "all three"
HIGHEST_DIMENSION = 1 << 20
MOST_CONTROLS = 64
MOST_CONTROL_PROMPTS = 4
"""Prompts that the controls are run on at most."""
PART_HEADER = ("tokens", "number", "share of the variance", "mean", "std", "std / |mean|")
TOKEN_HEADER = ("quantile", "value", "token in its context")
PROBES = ("a", "7", ".")
"""Prompts that share no token: what is the same in all of them is the template's."""


class DimensionProbeNode(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabDimensionProbe",
            display_name="Dimension Probe",
            category=CATEGORY,
            description="Asks the text encoder as a language model what one dimension of a hidden "
            "state does: where its variance is, what it costs in next-token loss to replace it, "
            "against ordinary dimensions, and which tokens it writes.",
            search_aliases=["dimension 396", "ablation", "massive activation", "logit lens"],
            is_output_node=True,
            inputs=[
                io.Clip.Input("clip", tooltip="Qwen3-4B or Qwen3-VL-4B: CLIPLoader, type lumina2."),
                io.Int.Input(
                    "dimension",
                    default=396,
                    min=0,
                    max=HIGHEST_DIMENSION,
                    tooltip="Which dimension, from 0. 396 and 4 are those of the published "
                    "Qwen3-4B figures.",
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt a line, two at least, or the name of a .txt file (UTF-8) "
                    "in ComfyUI's input folder. Eight or more make an interval that says "
                    "something.",
                ),
                layer_input(-2),
                io.Combo.Input(
                    "replace",
                    options=[ALL_WAYS, *WAYS],
                    default=ALL_WAYS,
                    tooltip="What the dimension's values become: 0, their mean, or those of like "
                    "tokens in other prompts. The verdict takes all three.",
                ),
                io.Int.Input(
                    "controls",
                    default=4,
                    min=0,
                    max=MOST_CONTROLS,
                    optional=True,
                    advanced=True,
                    tooltip="Ordinary dimensions to compare with: as many at random, and as many "
                    "of about the same spread. They are run on the first four prompts.",
                ),
                theme_input(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, dimension=None, prompts=None, layer=None, replace=None, controls=None
    ) -> bool | str:
        checked = check_prompts(prompts)
        checked = check_layer(layer) if checked is True else checked
        if checked is not True:
            return checked
        try:
            # None is a connected input, checked when it runs.
            _check(
                0 if dimension is None else dimension,
                ALL_WAYS if replace is None else replace,
                0 if controls is None else controls,
            )
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls,
        clip=None,
        dimension=None,
        prompts=None,
        layer=None,
        replace=None,
        controls=None,
        theme=None,
    ) -> str:
        return prompts_fingerprint(prompts)

    @classmethod
    def execute(
        cls, clip, dimension, prompts, layer, replace, controls=4, theme="light"
    ) -> io.NodeOutput:
        require_matplotlib(theme)
        from ..core.draw.dimension_picture import probe_picture
        from ..core.draw.theme import picture_theme

        dimension, controls = _check(dimension, replace, controls)
        ways = WAYS if replace == ALL_WAYS else (replace,)
        texts = [build_prompt(prompt) for prompt in read_prompts(prompts)]
        index = hidden_state_index(layer, block_count(clip))
        probe, source, tokens = _probe(clip, texts, dimension, index, ways, controls)
        with picture_theme(theme):
            image = to_image([probe_picture(probe, f"{source}: dimension {dimension}")])
        report = _report(probe, source, tokens)
        verdict = "" if probe.verdict is None else probe.verdict.name
        first = f"dimension {dimension} at layer {probe.layer}: {verdict or 'no verdict'}"
        preview = ui.PreviewImage(image, cls=cls)
        return io.NodeOutput(image, report, ui=shown_report(report, first, preview))


def _check(dimension: Any, replace: Any, controls: Any) -> tuple[int, int]:
    """``dimension`` and ``controls`` as whole numbers. Raises ValueError for a bad value."""
    require_choice("replace", replace, (ALL_WAYS, *WAYS))
    return (
        require_whole_number("dimension", dimension, 0, HIGHEST_DIMENSION),
        require_whole_number("controls", controls, 0, MOST_CONTROLS),
    )


def _probe(
    clip: Any,
    prompts: list[str],
    dimension: int,
    index: int,
    ways: tuple[str, ...],
    controls: int,
) -> tuple[DimensionProbe, str, PromptTokens]:
    """What was found, the encoder in words, and the tokens that were measured."""
    progress = comfy.utils.ProgressBar(2 * len(prompts) + 1)
    model = ClipModel(clip, prompts, lambda: progress.update(1))
    if dimension >= model.width:
        raise ValueError(
            f"dimension {dimension} does not exist: the states of this encoder have the dimensions "
            f"0 to {model.width - 1}"
        )
    tokenizer = getattr(clip.tokenizer, clip.tokenizer.clip).tokenizer

    def text(token: int) -> str:
        return tokenizer.decode([token], clean_up_tokenization_spaces=False)

    tokens = arrange_prompts(
        [encoding.record.ids for encoding in model.encodings],
        [tokenizer(build_prompt(one))["input_ids"] for one in PROBES],
        text,
        set(tokenizer.all_special_ids).__contains__,
    )
    count = len(tokens)
    own = model.states(tokens.prompts, [index])[index]
    states = torch.cat(own)
    require_finite_states(states[None], "the hidden state")
    measures = Measures(count, controls, min(count, MOST_CONTROL_PROMPTS))
    probe = LayerProbe(tokens, index, model.blocks, states, measures)
    predicted = [tokens.predicted(number) for number in range(count)]
    run = LossRun(model, index, tokens.prompts, predicted, own)
    tasks = probe.tasks([dimension], ways)
    done = 2 * len(prompts) + 1
    progress.update_absolute(done, done + count + sum(task.prompts for task in tasks))
    losses = {PLAIN: run.losses([Variant(0, None)], range(count))[0]}
    for task in tasks:
        [losses[task.name]] = run.losses([probe.variant(task)], range(task.prompts))
    column = model.column(dimension)
    found = probe.result(dimension, [dimension], losses, column, text, ways=ways)
    return found, model.encodings[0].record.source, tokens


def _report(probe: DimensionProbe, source: str, tokens: PromptTokens) -> str:
    costs, parts, drivers = cost_rows(probe), part_rows(probe), token_rows(probe)
    return "\n".join(
        [
            headline(probe),
            f"{source}: {len(tokens)} prompts, {len(tokens.ids)} tokens; costs in nats of "
            "next-token loss over each prompt's own tokens",
            table(tuple(COST_COLUMNS), costs, len(costs)),
            sink_sentence(probe),
            CAUSAL,
            table(PART_HEADER, parts, len(parts)),
            table(TOKEN_HEADER, drivers, len(drivers)),
            *writing_sentences(probe),
        ]
    )
