"""What Dimension Probe measures, and its report.

Imported when the node runs: ComfyUI's start does not wait for it.
"""

from __future__ import annotations

from typing import Any

import comfy.utils
import torch

from ..core.checks import require_finite_states
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
from ..core.encoder.prompt import build_prompt
from ..core.tables import table
from .causal_clip import ClipModel

MOST_CONTROL_PROMPTS = 4
"""Prompts that the controls are run on at most."""
PART_HEADER = ("tokens", "number", "share of the variance", "mean", "std", "std / |mean|")
TOKEN_HEADER = ("quantile", "value", "token in its context")
PROBES = ("a", "7", ".")
"""Prompts that share no token: what is the same in all of them is the template's."""


def probe_dimension(
    clip: Any,
    prompts: list[str],
    dimension: int,
    index: int,
    ways: tuple[str, ...],
    controls: int,
) -> tuple[DimensionProbe, str, PromptTokens]:
    """What was found, the encoder in words, and the tokens that were measured.

    Args:
        clip: the host's CLIP.
        prompts: whole ones, template included.
        index: the hidden state, from 0.
        ways: of :data:`WAYS`.
        controls: how many of each kind.

    Raises:
        ValueError: for a dimension that the encoder does not have, or states that are not finite.
    """
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


def probe_report(probe: DimensionProbe, source: str, tokens: PromptTokens) -> str:
    """The report of Dimension Probe, from what :func:`probe_dimension` returns."""
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
