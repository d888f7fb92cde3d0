"""Streaming statistics of sink tokens and of all others, so that both views are exact."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .dimension_stats import DimensionStats, Place
from .sinks import find_sinks
from .token_stats import sink_share


def selected_rows(hidden: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of (batch, tokens, width) that (batch, tokens) bool ``selected`` marks.

    Returns:
        (n, width): a view where they stand side by side, else a copy; and (n,) int64 on the CPU,
        their places in the flattened batch.
    """
    rows = hidden.flatten(0, 1)
    places = selected.flatten().cpu().nonzero().flatten()
    count = len(places)
    if count and int(places[-1]) - int(places[0]) == count - 1:
        return rows[int(places[0]) : int(places[-1]) + 1], places
    return rows.index_select(0, places.to(rows.device)), places


class SplitStats:
    """Statistics of sink tokens and of all others, kept apart so that both views are exact."""

    def __init__(self, width: int):
        self.width = width
        self.without_sinks = DimensionStats(width)
        self.sinks = DimensionStats(width)
        self._all: DimensionStats | None = None

    def update(
        self,
        hidden: Tensor,
        *,
        sinks: Tensor | None = None,
        selected: Tensor | None = None,
        prompt: int = 0,
    ) -> None:
        """Add one sequence.

        Args:
            hidden: (tokens, width), any float dtype.
            sinks: (tokens,) bool; found by :func:`.sinks.find_sinks` if not given.
            selected: (tokens,) bool; the others (padding, tokens not selected) are not counted.
            prompt: the number under which the sequence's places are remembered.
        """
        selected = torch.ones(len(hidden), dtype=torch.bool) if selected is None else selected.cpu()
        sinks = find_sinks(hidden.unsqueeze(0), selected)[0] if sinks is None else sinks
        self.update_batch(hidden.unsqueeze(0), sinks.cpu()[None], selected[None], [prompt])

    def update_batch(
        self, hidden: Tensor, sinks: Tensor, selected: Tensor, prompts: Sequence[int]
    ) -> None:
        """Add several sequences at once.

        Args:
            hidden: (batch, tokens, width).
            sinks, selected: (batch, tokens) bool, ``selected`` False on padding.
            prompts: the number of each sequence.
        """
        self._all = None
        tokens = hidden.shape[1]
        numbers = torch.tensor(list(prompts))
        for stats, part in (
            (self.without_sinks, selected & ~sinks),
            (self.sinks, selected & sinks),
        ):
            rows, places = selected_rows(hidden, part)
            stats.update(rows, places % tokens, numbers[places // tokens])

    def merge(self, other: SplitStats) -> SplitStats:
        """A new object with both."""
        merged = SplitStats(self.width)
        merged.without_sinks = self.without_sinks.merge(other.without_sinks)
        merged.sinks = self.sinks.merge(other.sinks)
        return merged

    @property
    def content(self) -> DimensionStats:
        """The name that ``without_sinks`` had at first."""
        return self.without_sinks

    @property
    def all(self) -> DimensionStats:
        """The statistics over every token, sinks included."""
        if self._all is None:
            self._all = self.without_sinks.merge(self.sinks)
        return self._all

    def sink_share(self) -> Tensor:
        """(width,) float64: :func:`.token_stats.sink_share` of all tokens seen."""
        return sink_share(self.all, self.sinks)

    def farthest(self, dimensions: Tensor) -> tuple[list[Place], list[float]]:
        """:meth:`.DimensionStats.farthest` over every token."""
        return self.all.farthest(dimensions)
