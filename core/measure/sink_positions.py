"""Where sink tokens stand over any number of prompts: counts, and a list of the first prompts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_LISTED = 10_000
"""Prompts whose positions are also kept one by one: 16 bytes per sink token."""


class SinkPositions:
    """Counts that add up whatever the order; memory grows with the longest prompt alone.

    Attributes:
        prompts: how many prompts have a sink token.
        counts: (positions,) int64, the sink tokens at each position, as far as one was seen.
        listed: [prompt, position, prompt, position, ...] of prompts under :data:`MOST_LISTED`.
    """

    def __init__(self) -> None:
        self.prompts = 0
        self.counts = torch.zeros(0, dtype=torch.int64)
        self.listed = array("q")

    def update(self, sinks: Tensor, numbers: Sequence[int]) -> None:
        """Add whole prompts: (batch, tokens) bool on the CPU, and each one's number, from 0."""
        rows, positions = sinks.nonzero(as_tuple=True)
        self.prompts += int(sinks.any(1).sum())
        self.counts = _added(self.counts, torch.bincount(positions))
        for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
            if numbers[row] < MOST_LISTED:
                self.listed.extend((numbers[row], position))

    def merge(self, other: SinkPositions) -> SinkPositions:
        """A new object with both."""
        merged = SinkPositions()
        merged.prompts = self.prompts + other.prompts
        merged.counts = _added(self.counts, other.counts)
        merged.listed = self.listed + other.listed
        return merged

    def by_position(self) -> tuple[tuple[int, int], ...]:
        """(position, its sink tokens), ascending, where there is any."""
        places = self.counts.nonzero().flatten().tolist()
        return tuple((place, int(self.counts[place])) for place in places)

    def by_prompt(self, prompts: int) -> tuple[tuple[int, ...], ...]:
        """The positions of each of so many prompts; nothing for more than are listed."""
        if prompts > MOST_LISTED:
            return ()
        found: list[list[int]] = [[] for _ in range(prompts)]
        for prompt, position in zip(self.listed[::2], self.listed[1::2], strict=True):
            found[prompt].append(position)
        return tuple(tuple(sorted(positions)) for positions in found)


def _added(one: Tensor, other: Tensor) -> Tensor:
    """The sum of two lists of counts, the shorter one taken to go on with zeros."""
    short, long = sorted((one, other), key=len)
    total = long.clone()
    total[: len(short)] += short
    return total
