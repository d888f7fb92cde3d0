"""What the image model receives of a dimension: the change after its RMSNorm, by kind of token."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..dit.gain import Gains
from ..dit.view import RMS_EPSILON, rms_norm
from .ablation import TokenGroups, replace_values
from .ways import ALL, MEAN, ZERO

ROWS = 1024
"""Tokens that are normed at a time."""


class Received(NamedTuple):
    """One kind of tokens, as the image model sees it.

    Attributes:
        zero, mean: mean relative L2 of what comes out of the RMSNorm, with the dimension at zero,
            and at its mean.
    """

    name: str
    tokens: int
    zero: float
    mean: float


class DitGain(NamedTuple):
    """The gain of one dimension in the image model's first layer (:mod:`..dit.gain`)."""

    value: float
    relative: float
    rank: int
    width: int


def received_changes(
    states: Tensor, dimension: int, groups: TokenGroups, weight: Tensor | None = None
) -> tuple[Received, ...]:
    """What the image model notices of ``dimension`` of ``states`` (n, width).

    Args:
        weight: (width,) of its RMSNorm; 1 everywhere if not given.
    """
    values = states[:, dimension]
    changes = {
        way: _change(states, dimension, replace_values(values, way, ALL, groups), weight)
        for way in (ZERO, MEAN)
    }
    tokens = groups.tokens
    kinds = {"sinks": groups.sinks, "others": ~groups.sinks}
    for name in sorted(set(tokens.classes)):
        kinds[name] = torch.tensor([one == name for one in tokens.classes]) & ~groups.sinks
    return tuple(
        Received(name, int(chosen.sum()), *(float(changes[way][chosen].mean()) for way in changes))
        for name, chosen in kinds.items()
        if bool(chosen.any())
    )


def dit_gain(gains: Gains, dimension: int) -> DitGain:
    """The gain of one dimension, and its rank among all."""
    return DitGain(
        float(gains.values[dimension]),
        float(gains.relative[dimension]),
        int(gains.ranks[dimension]),
        len(gains.values),
    )


def _change(states: Tensor, dimension: int, new: Tensor, weight: Tensor | None) -> Tensor:
    """(n,) relative L2 of each token's change after the norm."""
    parts = []
    for rows, values in zip(states.split(ROWS), new.split(ROWS), strict=True):
        before = rows.float()
        after = before.clone()
        after[:, dimension] = values.float()
        seen = [rms_norm(one, weight, RMS_EPSILON).double() for one in (before, after)]
        length = seen[0].norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        parts.append((seen[1] - seen[0]).norm(dim=1) / length)
    return torch.cat(parts)
