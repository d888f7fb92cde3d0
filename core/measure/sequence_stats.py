"""Statistics of the tokens at hand, as little of them as is asked for.

Unlike :class:`.SplitStats` nothing is streamed or merged, so what only a few dimensions need (which
token is farthest out) is looked up in the states themselves.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ..checks import require_finite_states
from .dimension_stats import Place
from .moments import Moments, column_moments, wide
from .sinks import find_sinks
from .split_stats import selected_rows
from .token_stats import sink_share


class SequenceStats:
    """Moments of ``hidden`` (batch, tokens, width), any float dtype, over the selected tokens.

    Args:
        selected: (tokens,) bool; all if not given.
        what: the states' name for errors.

    Raises:
        NonFiniteError: if any token holds NaN or infinity, selected or not.
    """

    def __init__(
        self, hidden: Tensor, selected: Tensor | None = None, what: str = "the conditioning"
    ):
        self.hidden = hidden
        self.width = hidden.shape[-1]
        self._whole = selected is None or bool(selected.all())
        if selected is None:
            selected = torch.ones(hidden.shape[1], dtype=torch.bool)
        self.selected = selected.cpu().expand(hidden.shape[:2])
        self.all = column_moments(self._rows[0])
        # NaN and infinity spoil their dimension's moments: no need to look at every value.
        if not (self._whole and bool(self.all.m2.isfinite().all())):
            require_finite_states(hidden, what)

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        """The selected tokens, (n, width), and their places in the flattened batch, (n,)."""
        if self._whole:
            return self.hidden.flatten(0, 1), torch.arange(self.selected.numel())
        return selected_rows(self.hidden, self.selected)

    @cached_property
    def sink_tokens(self) -> Tensor:
        """(batch, tokens) bool on the CPU: every sink, selected or not."""
        return find_sinks(self.hidden).cpu()

    @cached_property
    def sinks(self) -> Moments:
        """The moments of the selected tokens that are sinks."""
        return column_moments(selected_rows(self.hidden, self.selected & self.sink_tokens)[0])

    @cached_property
    def without_sinks(self) -> Moments:
        """The moments of the selected tokens that are no sinks."""
        if self.sinks.tokens == 0:
            return self.all
        return column_moments(selected_rows(self.hidden, self.selected & ~self.sink_tokens)[0])

    def sink_share(self) -> Tensor:
        """(width,) float64: :func:`.token_stats.sink_share` of the selected tokens."""
        return sink_share(self.all, self.sinks)

    def farthest(self, dimensions: Tensor) -> tuple[list[Place], list[float]]:
        """As :meth:`.TokenStats.farthest`; ``Place.prompt`` is the entry of the batch."""
        rows, numbers = self._rows
        columns = wide(rows.index_select(1, dimensions.to(rows.device))).cpu()
        square = (columns - self.all.mean[dimensions]).square_()
        row = square.argmax(0)
        total = square.sum(0)
        most = square.gather(0, row[None])[0]
        shares = torch.where(total > 0, most / total.clamp(min=1e-300), 0.0)
        tokens = self.hidden.shape[1]
        places = [Place(place // tokens, place % tokens) for place in numbers[row].tolist()]
        return places, shares.tolist()
