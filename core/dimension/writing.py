"""What a dimension writes into the logits by itself: the final norm's weight times its column of
the unembedding.

This is the direct path only: below the last block whatever reads the dimension on the way is left
out, and the norm's divisor is taken as given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .prompt_tokens import Ids

SHOWN = 12
"""Tokens at each end."""
FEWEST_TOKENS = 3
"""A correlation of fewer says nothing."""


class Writing(NamedTuple):
    """What a unit of one dimension adds to the logits by the direct path.

    Attributes:
        top, bottom: the tokens it raises and lowers most, and by how much.
        spread: std over the vocabulary.
        frequency: Pearson's correlation with the log frequency of the prompts' tokens; None where
            there are too few, or all are equally frequent.
        frequency_tokens: how many different tokens that is over.
    """

    top: tuple[tuple[str, float], ...]
    bottom: tuple[tuple[str, float], ...]
    spread: float
    frequency: float | None
    frequency_tokens: int


def read_writing(column: Tensor, prompts: Sequence[Ids], text: Callable[[int], str]) -> Writing:
    """What ``column`` (vocabulary,) says; ``text``: of a token id."""
    column = column.double()
    order = column.argsort(descending=True, stable=True)

    def named(ids: Tensor) -> tuple[tuple[str, float], ...]:
        return tuple((text(one), float(column[one])) for one in ids.tolist())

    tokens = torch.tensor([one for ids in prompts for one in ids])
    seen, counts = tokens.unique(return_counts=True)
    correlation = _correlation(column[seen], counts.double().log())
    return Writing(
        named(order[:SHOWN]),
        named(order.flip(0)[:SHOWN]),
        float(column.std()),
        correlation,
        len(seen),
    )


def _correlation(a: Tensor, b: Tensor) -> float | None:
    if len(a) < FEWEST_TOKENS:
        return None
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a.square().sum()) * float(b.square().sum()))
    return float((a * b).sum()) / scale if scale > 0 else None
