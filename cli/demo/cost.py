"""What it costs the demo's language model to lose its loudest dimension."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.dimension.loss import LossRun, Variant
from ...core.dimension.probe import PLAIN, LayerProbe, Measures, Task
from ...core.dimension.prompt_tokens import arrange_prompts
from ...core.dimension.ways import ALL, MEAN, OTHERS, SINKS, ZERO
from ...core.dimension.words import nats
from ..model.causal import with_head
from ..model.language_model import LanguageModel

REPLACEMENTS = ((ZERO, ALL), (ZERO, SINKS), (ZERO, OTHERS), (MEAN, ALL))


def cost_lines(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    states: Sequence[Tensor],
    layer: int,
    dimension: int,
) -> list[str]:
    """Three sentences: the dimension zeroed, zeroed at sinks or elsewhere alone, at its mean.

    Args:
        prompts: token ids.
        states: per prompt (tokens, width), the hidden states of ``layer``.
        layer: negative.
    """
    causal = with_head(model)
    index = causal.blocks + 1 + layer
    special = set(model.tokenizer.all_special_ids)
    probes = [model.chat_ids(text) for text in ("a", "7")]
    tokens = arrange_prompts(prompts, probes, model.token_text, special.__contains__)
    given = dict(zip(map(tuple, prompts), states, strict=True))
    own = [given[ids] for ids in tokens.prompts]
    count = len(tokens)
    probe = LayerProbe(tokens, index, causal.blocks, torch.cat(own), Measures(count, 0, count))
    run = LossRun(causal, index, tokens.prompts, list(map(tokens.predicted, range(count))), own)
    wanted = [task for task in probe.tasks([dimension]) if task[1:3] in REPLACEMENTS]
    variants = [Variant(0, None), *map(probe.variant, wanted)]
    names = [PLAIN, *(task.name for task in wanted)]
    losses = dict(zip(names, run.losses(variants, range(count)), strict=True))
    zero, sinks, others, mean = (
        nats(probe.cost(Task(dimension, way, place, count), losses)) for way, place in REPLACEMENTS
    )
    return [
        f"What dimension {dimension} does in the language model: zeroed at layer {layer} it costs "
        f"{zero} of next-token loss, the mean of {count} prompts and its 95 % interval.",
        f"Zeroed at the sink tokens alone it costs {sinks}, at all others {others}.",
        f"Set to its mean, of the sinks and of the others by themselves, it costs {mean}.",
    ]
