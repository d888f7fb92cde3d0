"""Streaming, mergeable statistics of every dimension.

Means and sums of powers of deviations are merged by the pairwise update of Chan, Golub and LeVeque
(1979), for the third and fourth power as in Pebay ("Formulas for robust, one-pass parallel
computation of covariances and arbitrary-order statistical moments", 2008); always in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .moments import column_moments, higher_moments, wide

NAMED_NON_FINITE = 16
"""How many non-finite values are named; the others are only counted."""
BLOCK_ROWS = 64
"""Rows of which the extremes are found before it is asked in which row they stand."""


class Place(NamedTuple):
    """Where a value was seen: number of the prompt, position of the token in it."""

    prompt: int
    position: int


class NonFinite(NamedTuple):
    """A NaN or infinity that was left out."""

    prompt: int
    position: int
    dimension: int


class DimensionStats:
    """Count, moments, minimum and maximum of each of ``width`` dimensions over tokens.

    Attributes:
        count, mean: (width,) float64.
        m2, m3, m4: (width,) float64, sums of powers of the deviations from the mean.
        low, high: (width,) float64, the extreme values.
        low_place, high_place: (width, 2) int64, prompt and position of each extreme; -1 if none.
        non_finite: how many values were left out; the first ones are in ``non_finite_places``.
    """

    def __init__(self, width: int):
        self.width = width
        zeros = torch.zeros(width, dtype=torch.float64)
        self.count, self.mean = zeros.clone(), zeros.clone()
        self.m2, self.m3, self.m4 = zeros.clone(), zeros.clone(), zeros.clone()
        self.low, self.high = zeros + torch.inf, zeros - torch.inf
        self.low_place = torch.full((width, 2), -1)
        self.high_place = torch.full((width, 2), -1)
        self.non_finite = 0
        self.non_finite_places: list[NonFinite] = []

    def update(
        self,
        rows: Tensor,
        positions: Sequence[int] | Tensor | None = None,
        prompt: int | Tensor = 0,
    ) -> None:
        """Add ``rows`` (tokens, width), which stood at ``positions`` of ``prompt`` (one number for
        all rows, or (tokens,))."""
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(f"rows have shape {tuple(rows.shape)}, not (tokens, {self.width})")
        if len(rows) == 0:
            return
        rows = rows.detach() if rows.element_size() > 1 else rows.detach().float()
        where = torch.as_tensor(range(len(rows)) if positions is None else positions)
        number = torch.as_tensor(prompt).expand(len(rows))
        order = None
        if number.numel() > 1 and bool((number.diff() < 0).any()):
            # min and max name the first of equal values: let that be the first prompt's.
            order = number.argsort(stable=True)
        part = DimensionStats(self.width)
        moments = column_moments(rows)
        if bool(moments.m2.isfinite().all()):
            part.count += len(rows)
            part.mean, part.m2 = moments.mean, moments.m2
            part.m3, part.m4 = higher_moments(rows, moments)
            part._find_extremes(rows, where, number, order, self)
        else:
            if order is not None:
                rows, where, number = rows[order.to(rows.device)], where[order], number[order]
            part._measure_finite(rows, where, number)
        self._absorb(part)

    def _find_extremes(
        self,
        rows: Tensor,
        where: Tensor,
        number: Tensor,
        order: Tensor | None,
        known: DimensionStats,
    ) -> None:
        """Minimum and maximum of finite ``rows``; their places only where ``known`` may need them.

        To find a place takes ten times as long as to find a value, and few are new.
        """
        low, high = torch.stack([rows.amin(0), rows.amax(0)]).cpu().double()
        self.low, self.high = low, high
        first = int(number.min())
        for new, equal, old_places, places, largest in (
            (low < known.low, low == known.low, known.low_place, self.low_place, False),
            (high > known.high, high == known.high, known.high_place, self.high_place, True),
        ):
            # Equal values (the template's first tokens) count where their place comes earlier.
            earlier = equal & (old_places[:, 0] >= first)
            dimensions = (new | earlier).nonzero().flatten()
            columns = rows
            if len(dimensions) < self.width:
                columns = rows.index_select(1, dimensions.to(rows.device))
            if order is not None:
                columns = columns[order.to(rows.device)]
            row = _first_row(columns, largest).cpu()
            row = row if order is None else order[row]
            places[dimensions] = torch.stack([number[row], where[row]], dim=1)

    def _measure_finite(self, rows: Tensor, where: Tensor, number: Tensor) -> None:
        """All figures of ``rows`` without their NaN and infinity, which are counted and named."""
        x = wide(rows).cpu()
        finite = x.isfinite()
        bad = (~finite).nonzero()
        self.non_finite = len(bad)
        self.non_finite_places = [
            NonFinite(int(number[row]), int(where[row]), column)
            for row, column in bad[:NAMED_NON_FINITE].tolist()
        ]
        self.count = finite.sum(0).double()
        self.mean = torch.where(finite, x, 0.0).sum(0) / self.count.clamp(min=1)
        deviation = torch.where(finite, x - self.mean, 0.0)
        square = deviation * deviation
        self.m2 = square.sum(0)
        self.m3 = (square * deviation).sum(0)
        self.m4 = (square * square).sum(0)
        self.low, low_row = torch.where(finite, x, torch.inf).min(0)
        self.high, high_row = torch.where(finite, x, -torch.inf).max(0)
        self.low_place = torch.stack([number[low_row], where[low_row]], dim=1)
        self.high_place = torch.stack([number[high_row], where[high_row]], dim=1)

    def merge(self, other: DimensionStats) -> DimensionStats:
        """A new object with both; equal to having streamed both through one."""
        if other.width != self.width:
            raise ValueError(f"cannot merge widths {self.width} and {other.width}")
        merged = DimensionStats(self.width)
        merged._absorb(self)
        merged._absorb(other)
        return merged

    def _absorb(self, part: DimensionStats) -> None:
        count = self.count + part.count
        safe = count.clamp(min=1)
        delta = part.mean - self.mean
        old, new = self.count, part.count
        step = delta / safe
        self.m4 = (
            self.m4
            + part.m4
            + delta * step**3 * old * new * (old**2 - old * new + new**2)
            + 6 * step**2 * (old**2 * part.m2 + new**2 * self.m2)
            + 4 * step * (old * part.m3 - new * self.m3)
        )
        self.m3 = (
            self.m3
            + part.m3
            + delta * step**2 * old * new * (old - new)
            + 3 * step * (old * part.m2 - new * self.m2)
        )
        self.m2 = self.m2 + part.m2 + delta * step * old * new
        self.mean = self.mean + delta * part.count / safe
        self.count = count
        lower = _replaces(part.low, self.low, part.low_place, self.low_place)
        higher = _replaces(-part.high, -self.high, part.high_place, self.high_place)
        self.low = torch.where(lower, part.low, self.low)
        self.high = torch.where(higher, part.high, self.high)
        self.low_place = torch.where(lower[:, None], part.low_place, self.low_place)
        self.high_place = torch.where(higher[:, None], part.high_place, self.high_place)
        self.non_finite += part.non_finite
        room = NAMED_NON_FINITE - len(self.non_finite_places)
        self.non_finite_places = self.non_finite_places + part.non_finite_places[:room]

    @property
    def tokens(self) -> int:
        """Tokens seen (by the dimension that saw most of them)."""
        return int(self.count.max())

    @property
    def std(self) -> Tensor:
        """(width,) float64, unbiased; 0 where fewer than two values were seen."""
        return (self.m2 / (self.count - 1).clamp(min=1)).sqrt()

    @property
    def excess_kurtosis(self) -> Tensor:
        """(width,) float64, population m4 * count / m2**2 - 3: 0 for a normal distribution, about
        the number of tokens where one token carries all; 0 where nothing varies."""
        varies = self.m2 > 0
        return torch.where(varies, self.m4 * self.count / self.m2.clamp(min=1e-300) ** 2 - 3.0, 0.0)

    @property
    def max_abs(self) -> Tensor:
        """(width,) float64, the largest magnitude; 0 where nothing was seen."""
        return torch.where(self.count > 0, torch.maximum(self.low.abs(), self.high.abs()), 0.0)

    @property
    def max_abs_place(self) -> Tensor:
        """(width, 2) int64, prompt and position of the largest magnitude; -1 if none."""
        above = self.high.abs() >= self.low.abs()
        return torch.where(above[:, None], self.high_place, self.low_place)

    @property
    def global_mean(self) -> float:
        """Mean of all values, tokens and dimensions together."""
        return float((self.mean * self.count).sum() / self.count.sum().clamp(min=1))

    @property
    def global_std(self) -> float:
        """Unbiased std of all values, tokens and dimensions together."""
        between = ((self.mean - self.global_mean) ** 2 * self.count).sum()
        total = self.m2.sum() + between
        return float((total / (self.count.sum() - 1).clamp(min=1)).sqrt())

    def farthest(self, dimensions: Tensor) -> tuple[list[Place], list[float]]:
        """The token farthest from the mean of each of ``dimensions`` (n,), and its share (0..1) of
        that dimension's squared deviations.

        Exact: the farthest value is always the smallest or the largest one.
        """
        mean, m2 = self.mean[dimensions], self.m2[dimensions]
        below, above = mean - self.low[dimensions], self.high[dimensions] - mean
        upper = (above >= below)[:, None]
        places = torch.where(upper, self.high_place[dimensions], self.low_place[dimensions])
        farthest = torch.maximum(below, above).square()
        shares = torch.where(m2 > 0, farthest / m2.clamp(min=1e-300), 0.0).clamp(max=1.0)
        return [Place(*place) for place in places.tolist()], shares.tolist()


def _first_row(columns: Tensor, largest: bool) -> Tensor:
    """(width,) int64: the first row with each column's largest (else smallest) value.

    Where that stands torch looks up down one column after the other, which is slow: on the CPU it
    does so for the extremes of blocks of rows, and then inside one block of each column.
    """
    value, place = (torch.amax, torch.argmax) if largest else (torch.amin, torch.argmin)
    if columns.device.type != "cpu" or len(columns) <= 2 * BLOCK_ROWS:
        return place(columns, 0)
    blocks = torch.stack([value(block, 0) for block in columns.split(BLOCK_ROWS)])
    start = BLOCK_ROWS * place(blocks, 0)
    # The last block may be short: its last row again and again is never the first.
    inside = (start + torch.arange(BLOCK_ROWS)[:, None]).clamp(max=len(columns) - 1)
    return start + place(columns.gather(0, inside), 0)


def _replaces(new: Tensor, old: Tensor, new_place: Tensor, old_place: Tensor) -> Tensor:
    """Where ``new`` is smaller, or equal and seen at an earlier place (so order cannot matter)."""
    prompt, old_prompt = new_place[:, 0], old_place[:, 0]
    earlier = (prompt < old_prompt) | ((prompt == old_prompt) & (new_place[:, 1] < old_place[:, 1]))
    return (new < old) | ((new == old) & earlier & (prompt >= 0))
