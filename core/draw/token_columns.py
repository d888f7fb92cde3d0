"""A sequence of any length as a few dozen columns: tokens that matter alone, the rest in runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MOST_COLUMNS, SINGLES = 40, 16
"""At most so many columns, and so many of them for single tokens of a longer sequence."""


class Column(NamedTuple):
    """Positions ``first``..``last``, both included: one token, or a run of them."""

    first: int
    last: int

    @property
    def is_run(self) -> bool:
        return self.last > self.first


def token_columns(importance: Tensor, always: Sequence[int] = ()) -> list[Column]:
    """Columns that cover every token once, in order.

    Up to :data:`MOST_COLUMNS` tokens are shown one by one. Of more, the ``always`` ones and those
    of the largest ``importance`` (tokens,) stand alone, and what lies between them is cut into
    runs of about equal length.
    """
    tokens = len(importance)
    if tokens <= MOST_COLUMNS:
        return [Column(i, i) for i in range(tokens)]
    ranked = importance.argsort(descending=True, stable=True).tolist()
    wanted = set(always)
    order = [i for i in ranked if i in wanted] + [i for i in ranked if i not in wanted]
    singles = sorted(order[:SINGLES])
    edges = [-1, *singles, tokens]
    gaps = [(a + 1, b - a - 1) for a, b in zip(edges[:-1], edges[1:], strict=True) if b - a > 1]
    rest = tokens - len(singles)
    spare = MOST_COLUMNS - len(singles) - len(gaps)
    columns = [Column(i, i) for i in singles]
    for start, length in gaps:
        pieces = min(length, 1 + spare * length // rest)
        cuts = [start + length * k // pieces for k in range(pieces + 1)]
        columns += [Column(a, b - 1) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    return sorted(columns)


def largest(values: Tensor, columns: Sequence[Column]) -> Tensor:
    """(..., tokens) as (..., columns): the largest value of each column."""
    return torch.stack([values[..., c.first : c.last + 1].amax(-1) for c in columns], dim=-1)
