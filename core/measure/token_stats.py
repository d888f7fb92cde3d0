"""What statistics of hidden states tell, whether they were streamed or taken of one tensor."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .dimension_stats import Place


class Spread(Protocol):
    """Mean and spread of every dimension over some tokens.

    Attributes:
        tokens: how many tokens.
        count: values of each dimension, one number or (width,).
        mean, m2, std: (width,) float64; ``m2`` is the sum of squared deviations from the mean.
    """

    tokens: int
    count: Tensor | int
    mean: Tensor
    m2: Tensor
    std: Tensor


class TokenStats(Protocol):
    """Statistics of ``width`` dimensions over all tokens, over sink tokens and over the others."""

    width: int
    all: Spread
    sinks: Spread
    without_sinks: Spread

    def sink_share(self) -> Tensor:
        """:func:`sink_share` over all tokens."""

    def farthest(self, dimensions: Tensor) -> tuple[list[Place], list[float]]:
        """The token farthest from the mean of each of ``dimensions`` (n,), and its share (0..1) of
        that dimension's squared deviations."""


def sink_share(whole: Spread, sinks: Spread) -> Tensor:
    """(width,) float64 in 0..1: the share of each dimension's squared deviations from the mean over
    ``whole``, all tokens, that the sink tokens carry; 0 where nothing varies."""
    carried = sinks.m2 + sinks.count * (sinks.mean - whole.mean) ** 2
    share = carried / whole.m2.clamp(min=1e-300)
    return torch.where(whole.m2 > 0, share.clamp(max=1.0), 0.0)
