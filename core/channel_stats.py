"""Streaming, mergeable statistics of every dimension, with and without sink tokens.

Means and sums of powers of deviations are merged by the pairwise update of Chan, Golub and LeVeque
(1979), for the third and fourth power as in Pebay ("Formulas for robust, one-pass parallel
computation of covariances and arbitrary-order statistical moments", 2008); always in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .sinks import find_sinks

NAMED_NON_FINITE = 16
"""How many non-finite values are named; the others are only counted."""


class Place(NamedTuple):
    """Where a value was seen: number of the prompt, position of the token in it."""

    prompt: int
    position: int


class NonFinite(NamedTuple):
    """A NaN or infinity that was left out."""

    prompt: int
    position: int
    dimension: int


def wide(hidden: Tensor) -> Tensor:
    """``hidden`` in float64; on the CPU where the device (Apple's MPS) has no float64."""
    hidden = hidden.detach()
    return (hidden.cpu() if hidden.device.type == "mps" else hidden).double()


@dataclass
class ChannelStats:
    """Count, moments, minimum and maximum of each of ``width`` dimensions over tokens.

    Attributes:
        count, mean: (width,) float64.
        m2, m3, m4: (width,) float64, sums of powers of the deviations from the mean.
        low, high: (width,) float64, the extreme values.
        low_place, high_place: (width, 2) int64, prompt and position of each extreme; -1 if none.
        non_finite: how many values were left out; the first ones are in ``non_finite_places``.
    """

    width: int
    count: Tensor = field(init=False)
    mean: Tensor = field(init=False)
    m2: Tensor = field(init=False)
    m3: Tensor = field(init=False)
    m4: Tensor = field(init=False)
    low: Tensor = field(init=False)
    high: Tensor = field(init=False)
    low_place: Tensor = field(init=False)
    high_place: Tensor = field(init=False)
    non_finite: int = 0
    non_finite_places: list[NonFinite] = field(default_factory=list)

    def __post_init__(self) -> None:
        zeros = torch.zeros(self.width, dtype=torch.float64)
        self.count, self.mean = zeros.clone(), zeros.clone()
        self.m2, self.m3, self.m4 = zeros.clone(), zeros.clone(), zeros.clone()
        self.low, self.high = zeros + torch.inf, zeros - torch.inf
        self.low_place = torch.full((self.width, 2), -1)
        self.high_place = torch.full((self.width, 2), -1)

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
        x = wide(rows).cpu()
        where = torch.as_tensor(range(len(x)) if positions is None else positions)
        number = torch.as_tensor(prompt).expand(len(x))
        if number.numel() > 1 and bool((number.diff() < 0).any()):
            # min and max name the first of equal values: let that be the first prompt's.
            order = number.argsort(stable=True)
            x, where, number = x[order], where[order], number[order]
        part = ChannelStats(self.width)
        finite = x.isfinite()
        if not bool(finite.all()):
            bad = (~finite).nonzero()
            part.non_finite = len(bad)
            part.non_finite_places = [
                NonFinite(int(number[row]), int(where[row]), column)
                for row, column in bad[:NAMED_NON_FINITE].tolist()
            ]
        part.count = finite.sum(0).double()
        held = torch.where(finite, x, 0.0)
        part.mean = held.sum(0) / part.count.clamp(min=1)
        deviation = torch.where(finite, x - part.mean, 0.0)
        square = deviation * deviation
        part.m2 = square.sum(0)
        part.m3 = (square * deviation).sum(0)
        part.m4 = (square * square).sum(0)
        part.low, low_row = torch.where(finite, x, torch.inf).min(0)
        part.high, high_row = torch.where(finite, x, -torch.inf).max(0)
        part.low_place = torch.stack([number[low_row], where[low_row]], dim=1)
        part.high_place = torch.stack([number[high_row], where[high_row]], dim=1)
        self._absorb(part)

    def merge(self, other: ChannelStats) -> ChannelStats:
        """A new object with both; equal to having streamed both through one."""
        if other.width != self.width:
            raise ValueError(f"cannot merge widths {self.width} and {other.width}")
        merged = ChannelStats(self.width)
        merged._absorb(self)
        merged._absorb(other)
        return merged

    def _absorb(self, part: ChannelStats) -> None:
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

    def farthest(self, dimension: int) -> tuple[Place, float]:
        """The token farthest from this dimension's mean, and its share of the squared deviations.

        Exact: the farthest value is always the smallest or the largest one.
        """
        mean, m2 = self.mean[dimension], float(self.m2[dimension])
        below, above = float(mean - self.low[dimension]), float(self.high[dimension] - mean)
        place = self.high_place if above >= below else self.low_place
        share = max(above, below) ** 2 / m2 if m2 > 0 else 0.0
        return Place(*place[dimension].tolist()), share


def _replaces(new: Tensor, old: Tensor, new_place: Tensor, old_place: Tensor) -> Tensor:
    """Where ``new`` is smaller, or equal and seen at an earlier place (so order cannot matter)."""
    prompt, old_prompt = new_place[:, 0], old_place[:, 0]
    earlier = (prompt < old_prompt) | ((prompt == old_prompt) & (new_place[:, 1] < old_place[:, 1]))
    seen = old_prompt >= 0
    return (new < old) | ((new == old) & earlier & seen & (prompt >= 0))


@dataclass
class SplitStats:
    """Statistics of sink tokens and of all others, kept apart so that both views are exact."""

    width: int
    content: ChannelStats = field(init=False)
    sinks: ChannelStats = field(init=False)

    def __post_init__(self) -> None:
        self.content = ChannelStats(self.width)
        self.sinks = ChannelStats(self.width)

    def update(
        self,
        hidden: Tensor,
        *,
        sinks: Tensor | None = None,
        keep: Tensor | None = None,
        prompt: int = 0,
    ) -> None:
        """Add one sequence.

        Args:
            hidden: (tokens, width), any float dtype.
            sinks: (tokens,) bool; found by :func:`.sinks.find_sinks` if not given.
            keep: (tokens,) bool; the others (padding, tokens not selected) are not counted.
            prompt: the number under which the sequence's places are remembered.
        """
        keep = torch.ones(len(hidden), dtype=torch.bool) if keep is None else keep.cpu()
        if sinks is None:
            sinks = find_sinks(hidden.unsqueeze(0), keep)[0]
        sinks = sinks.cpu()
        for stats, chosen in ((self.content, keep & ~sinks), (self.sinks, keep & sinks)):
            positions = chosen.nonzero().flatten()
            stats.update(hidden[positions.to(hidden.device)], positions.tolist(), prompt)

    def update_batch(
        self, hidden: Tensor, sinks: Tensor, valid: Tensor, prompts: Sequence[int]
    ) -> None:
        """Add several sequences at once.

        Args:
            hidden: (batch, tokens, width); sinks, valid: (batch, tokens) bool, ``valid`` False on
                padding.
            prompts: the number of each sequence.
        """
        numbers = torch.tensor(list(prompts))
        for stats, chosen in ((self.content, valid & ~sinks), (self.sinks, valid & sinks)):
            row, position = chosen.nonzero(as_tuple=True)
            stats.update(hidden[row, position], position.cpu(), numbers[row.cpu()])

    def merge(self, other: SplitStats) -> SplitStats:
        """A new object with both."""
        merged = SplitStats(self.width)
        merged.content = self.content.merge(other.content)
        merged.sinks = self.sinks.merge(other.sinks)
        return merged

    @property
    def all(self) -> ChannelStats:
        """The statistics over every token, sinks included."""
        return self.content.merge(self.sinks)

    def sink_share(self) -> Tensor:
        """(width,) float64 in 0..1: share of each dimension's squared deviations (from the mean
        over all tokens) that sink tokens carry; 0 where nothing varies."""
        whole = self.all
        carried = self.sinks.m2 + self.sinks.count * (self.sinks.mean - whole.mean) ** 2
        return torch.where(whole.m2 > 0, carried / whole.m2.clamp(min=1e-300), 0.0)
