"""Bring the vision side of a blend to the text side's number of tokens, a few tokens at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..measure.moments import working_dtype


class Paired(NamedTuple):
    """The vision side, one token for each of ``tokens`` text tokens.

    Attributes:
        take: the tokens of a slice with a start and a stop, (batch, rows, width). Those that are
            resampled are float32 or float64 and made when they are asked for, so that a blend of
            long sides need not hold them all.
    """

    tokens: int
    take: Callable[[slice], Tensor]

    def whole(self) -> Tensor:
        """All of them, (batch, tokens, width)."""
        return self.take(slice(0, self.tokens))


def as_is(vision: Tensor) -> Paired:
    """The tokens of ``vision`` (batch, tokens, width) themselves."""
    return Paired(vision.shape[1], lambda part: vision[:, part])


def _area(vision: Tensor, length: int) -> Paired:
    if vision.shape[1] < length:
        return _two_point(vision, length)
    if vision.shape[1] == length:
        return as_is(vision)
    first, last = windows("area", vision.shape[1], length).T
    sizes = last - first + 1
    ends = sizes.cumsum(0)
    starts = ends - sizes
    # Every window's rows, one window after the other; embedding_bag takes the mean of each.
    rows = torch.arange(int(ends[-1])) + (first - starts).repeat_interleave(sizes)

    def bags(part: slice) -> dict[str, Tensor]:
        own = starts[part]
        return {"input": rows[int(own[0]) : int(ends[part][-1])], "offsets": own - own[0]}

    return _resampled(vision, length, bags, "mean")


def _two_point(vision: Tensor, length: int) -> Paired:
    tokens = vision.shape[1]
    if tokens == length:
        return as_is(vision)
    point = ((torch.arange(length, dtype=torch.float64) + 0.5) * tokens / length - 0.5).clamp(min=0)
    first = point.long().clamp(max=tokens - 1)
    rows = torch.stack([first, (first + 1).clamp(max=tokens - 1)], 1)
    share = point - first
    shares = torch.stack([1 - share, share], 1).to(working_dtype(vision.dtype))
    return _resampled(
        vision,
        length,
        lambda part: {"input": rows[part], "per_sample_weights": shares[part]},
        "sum",
    )


def _resampled(
    vision: Tensor, length: int, bags: Callable[[slice], dict[str, Tensor]], mode: str
) -> Paired:
    """Each token from several of ``vision``'s: which ones, ``bags`` tells embedding_bag."""
    entries = [entry.to(working_dtype(entry.dtype)) for entry in vision]

    def take(part: slice) -> Tensor:
        given = {name: value.to(vision.device) for name, value in bags(part).items()}
        made = [functional.embedding_bag(weight=entry, mode=mode, **given) for entry in entries]
        return made[0][None] if len(made) == 1 else torch.stack(made)

    return Paired(length, take)


PAIRINGS: dict[str, Callable[[Tensor, int], Paired]] = {
    "area": _area,
    "two-point": _two_point,
    "first": lambda vision, length: as_is(vision[:, :length]),
    "whole": lambda vision, length: as_is(vision),
}
"""``pairing(vision, length)``: the vision side, (batch, tokens, width), brought to ``length``
tokens: by area means (linearly where it grows), by two-point sampling, cut off, or left whole."""


def windows(pairing: str, tokens: int, length: int) -> Tensor:
    """(length, 2): the first and last of ``tokens`` vision tokens that each paired token is of.

    "first" gives ``min(tokens, length)`` rows. "whole" pairs nothing and has no windows.
    """
    if pairing == "first":
        rows = torch.arange(min(tokens, length))
        return torch.stack([rows, rows], dim=1)
    rows = torch.arange(length)
    if pairing == "area" and tokens >= length:
        first = rows * tokens // length
        last = ((rows + 1) * tokens + length - 1) // length - 1
    else:
        # The sampling point ((row + 0.5) * tokens / length - 0.5) in units of 1 / (2 * length).
        point = ((2 * rows + 1) * tokens - length).clamp(min=0)
        first = point // (2 * length)
        last = torch.where(point % (2 * length) == 0, first, first + 1).clamp(max=tokens - 1)
    return torch.stack([first, last], dim=1)
