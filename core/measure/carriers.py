"""Which tokens carry the variance of each dimension: by position, and by the token's identity.

No threshold decides the shares by position: every token at one of the first positions counts. By
identity it is the *far* values that count, for to keep every dimension of every token of a
vocabulary would take gigabytes. Where few tokens carry a dimension whose std is many times the
median one, their values are far. Both are streamed and merged exactly (Chan, Golub and LeVeque,
1979), in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .dimension_stats import Place
from .moments import wide
from .sinks import deviations
from .token_stats import Spread

FIRST_POSITIONS = 8
"""Positions that have a share of their own; all later ones have one together."""
FAR_RATIO = 10.0
"""A value is far where it lies this many times as far from its sequence's median as the values of
the median token do on average."""
SEVERAL, NONE = -2, -1
"""In place of a position's token: more than one was seen there (or which is not known); none."""


class TokenShare(NamedTuple):
    """What the far values of one token of the vocabulary carry of one dimension.

    Attributes:
        place: where the token was seen first.
        share: 0..1, of the dimension's squared deviations from its mean.
        values: how many of its values are far.
    """

    place: Place
    share: float
    values: int


class Carried(NamedTuple):
    """What carries one dimension's squared deviations from its mean; shares are 0..1.

    Attributes:
        positions: the share of each of the first positions.
        later: the share of all later positions together.
        places: of each of the first positions, where its token stands if all prompts have the same
            there; else None.
        tokens: by identity, wherever they stand, the largest share first.
    """

    positions: tuple[float, ...]
    later: float
    places: tuple[Place | None, ...]
    tokens: tuple[TokenShare, ...]


class Carriers:
    """Moments of ``width`` dimensions at the first positions, and of each token's far values.

    Attributes:
        count, mean, m2: (FIRST_POSITIONS, width) float64, as in :class:`.DimensionStats`.
        tokens: (FIRST_POSITIONS,) int64, the token id at each position, or SEVERAL, or NONE.
        prompts: (FIRST_POSITIONS,) int64, the first prompt with a token there, or NONE.
        far_keys: (n, 2) int64, dimension and token id of which far values were seen, in order.
        far_places: (n, 2) int64, prompt and position of the first of them.
        far_moments: (n, 3) float64, their count, mean and m2.
    """

    def __init__(self, width: int):
        self.width = width
        self.count, self.mean, self.m2 = torch.zeros(3, FIRST_POSITIONS, width, dtype=torch.float64)
        self.tokens = torch.full((FIRST_POSITIONS,), NONE)
        self.prompts = torch.full((FIRST_POSITIONS,), NONE)
        self.far_keys = torch.zeros(0, 2, dtype=torch.int64)
        self.far_places = torch.zeros(0, 2, dtype=torch.int64)
        self.far_moments = torch.zeros(0, 3, dtype=torch.float64)

    def update(
        self,
        hidden: Tensor,
        selected: Tensor,
        prompts: Sequence[int],
        medians: Tensor,
        ids: Tensor | None = None,
    ) -> None:
        """Add several sequences.

        Args:
            hidden: (batch, tokens, width), any float dtype; NaN and infinity are left out.
            selected: (batch, tokens) bool on the CPU; the others (padding) are not counted.
            prompts: the number of each sequence.
            medians: (batch, width) from :func:`.sinks.sequence_medians`.
            ids: (batch, tokens) int64 on the CPU, the token ids, if they are known; negative for
                what is no token of the vocabulary (a part of an image).
        """
        part = Carriers(self.width)
        part._measure_positions(hidden, selected, torch.tensor(list(prompts)), ids)
        if ids is not None:
            part._measure_far(hidden, selected, list(prompts), medians, ids)
        self._absorb(part)

    def _measure_positions(
        self, hidden: Tensor, selected: Tensor, prompts: Tensor, ids: Tensor | None
    ) -> None:
        first = min(FIRST_POSITIONS, hidden.shape[1])
        values, there = wide(hidden[:, :first]).cpu(), selected[:, :first]
        counts = there[..., None] & values.isfinite()
        values = torch.where(counts, values, 0.0)
        self.count[:first] = counts.sum(0).double()
        self.mean[:first] = values.sum(0) / self.count[:first].clamp(min=1)
        deviations = torch.where(counts, values - self.mean[:first], 0.0)
        self.m2[:first] = deviations.square().sum(0)
        for position in there.any(0).nonzero().flatten().tolist():
            rows = there[:, position]
            self.prompts[position] = prompts[rows].min()
            seen = torch.tensor([SEVERAL]) if ids is None else ids[rows, position].unique()
            self.tokens[position] = seen[0] if len(seen) == 1 and seen[0] >= 0 else SEVERAL

    def _measure_far(
        self,
        hidden: Tensor,
        selected: Tensor,
        prompts: Sequence[int],
        medians: Tensor,
        ids: Tensor,
    ) -> None:
        batch, tokens, width = hidden.shape
        means, most = [], []
        for part in deviations(hidden, medians):
            sizes = part.abs_().flatten(0, 1)
            means.append(sizes.mean(-1))
            most.append(sizes.amax(-1))
        means = torch.cat(means).view(batch, tokens)
        means = means.masked_fill(~selected.to(hidden.device), torch.nan)
        limits = (FAR_RATIO * means.nanmedian(1).values)[:, None].expand(batch, tokens)
        limits = limits.masked_fill(~(selected & (ids >= 0)).to(hidden.device), torch.inf).flatten()
        # NaN is the most of a row that holds one.
        rows = (~(torch.cat(most) <= limits)).nonzero().flatten()
        sizes = hidden.reshape(-1, width)[rows].to(medians.dtype)
        sizes = (sizes - medians[rows // tokens]).abs_()
        row, dimension = (sizes > limits[rows, None]).nonzero(as_tuple=True)
        row = rows[row]
        values = wide(hidden.reshape(-1, width)[row, dimension]).cpu()
        finite = values.isfinite()
        row, dimension, values = row.cpu()[finite], dimension.cpu()[finite], values[finite]
        keys = torch.stack([dimension, ids.flatten()[row]], dim=1)
        places = torch.stack([torch.tensor(list(prompts))[row // tokens], row % tokens], dim=1)
        moments = values[:, None] * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
        moments[:, 0] = 1.0
        self._group(keys, places, moments)

    def _group(self, keys: Tensor, places: Tensor, moments: Tensor) -> None:
        """Keep each key once, with the moments of all its entries and the earliest of their places.

        Shapes as of ``far_keys``, ``far_places``, ``far_moments``.
        """
        if len(keys) == 0:
            return
        # By key, and of one key the earliest place first: the last column is the first criterion.
        order = torch.from_numpy(np.lexsort((places[:, 1], places[:, 0], keys[:, 1], keys[:, 0])))
        keys, places, moments = keys[order], places[order], moments[order]
        new = torch.ones(len(keys), dtype=torch.bool)
        new[1:] = (keys[1:] != keys[:-1]).any(1)
        group = new.cumsum(0) - 1
        zeros = torch.zeros(int(new.sum()), dtype=torch.float64)
        counts, means, m2 = moments.unbind(1)
        count = zeros.index_add(0, group, counts)
        mean = zeros.index_add(0, group, counts * means) / count
        spread = m2 + counts * (means - mean[group]).square()
        self.far_keys, self.far_places = keys[new], places[new]
        self.far_moments = torch.stack([count, mean, zeros.index_add(0, group, spread)], dim=1)

    def merge(self, other: Carriers) -> Carriers:
        """A new object with both; equal to having streamed both through one."""
        if other.width != self.width:
            raise ValueError(f"cannot merge widths {self.width} and {other.width}")
        merged = Carriers(self.width)
        merged._absorb(self)
        merged._absorb(other)
        return merged

    def _absorb(self, part: Carriers) -> None:
        count = self.count + part.count
        step = (part.mean - self.mean) / count.clamp(min=1)
        self.m2 = self.m2 + part.m2 + (part.mean - self.mean) * step * self.count * part.count
        self.mean = self.mean + step * part.count
        self.count = count
        same = (self.tokens == part.tokens) | (part.tokens == NONE)
        self.tokens = torch.where(
            self.tokens == NONE, part.tokens, torch.where(same, self.tokens, SEVERAL)
        )
        both = torch.stack([self.prompts, part.prompts])
        self.prompts = torch.where((both == NONE).any(0), both.amax(0), both.amin(0))
        self._group(
            torch.cat([self.far_keys, part.far_keys]),
            torch.cat([self.far_places, part.far_places]),
            torch.cat([self.far_moments, part.far_moments]),
        )

    def of(self, dimension: int, whole: Spread, least: float = 0.01) -> Carried:
        """What carries ``dimension``.

        Args:
            whole: the statistics over all tokens that were added here.
            least: tokens with a smaller share are left out.
        """
        mean, m2 = float(whole.mean[dimension]), float(whole.m2[dimension])

        def shares(count: Tensor, means: Tensor, squares: Tensor) -> list[float]:
            carried = squares + count * (means - mean).square()
            return (carried / m2 if m2 > 0 else torch.zeros_like(carried)).clamp(max=1.0).tolist()

        columns = (column[:, dimension] for column in (self.count, self.mean, self.m2))
        positions = tuple(shares(*columns))
        rows = (self.far_keys[:, 0] == dimension).nonzero().flatten()
        far = self.far_moments[rows]
        tokens = [
            TokenShare(Place(*place), share, int(count))
            for place, share, count in zip(
                self.far_places[rows].tolist(),
                shares(*far.unbind(1)),
                far[:, 0].tolist(),
                strict=True,
            )
            if share >= least
        ]
        seen = enumerate(zip(self.prompts.tolist(), self.tokens.tolist(), strict=True))
        places = (Place(prompt, at) if token >= 0 else None for at, (prompt, token) in seen)
        return Carried(
            positions,
            max(0.0, 1.0 - sum(positions)) if m2 > 0 else 0.0,
            tuple(places),
            tuple(sorted(tokens, key=lambda one: (-one.share, one.place))),
        )
