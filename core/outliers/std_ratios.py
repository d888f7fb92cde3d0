"""The std of every dimension of one model and layer over another's, with and without sinks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..measure.reference import Reference
from .detection import std_ratio


@dataclass(frozen=True)
class StdView:
    """One view of two sides: over all tokens, or without sink tokens.

    Attributes:
        a, b: (width,) float64, the std of each dimension.
    """

    a: Tensor
    b: Tensor

    @cached_property
    def ratios(self) -> Tensor:
        """(width,) float64, A over B; infinite over a std of 0, and 1 where both are 0."""
        return std_ratio(self.a, self.b)

    @cached_property
    def inverses(self) -> Tensor:
        """(width,) float64, B over A, likewise."""
        return std_ratio(self.b, self.a)

    def loudest(self, count: int) -> list[int]:
        """Up to ``count`` dimensions in which A is louder, the one with the largest ratio first."""
        return _farthest(self.ratios, count)

    def quietest(self, count: int) -> list[int]:
        """Up to ``count`` dimensions in which A is quieter, the one with the smallest ratio
        first."""
        return _farthest(self.inverses, count)


@dataclass(frozen=True)
class StdRatios:
    """Every dimension of A against B.

    Attributes:
        whole: over all tokens.
        bare: without sink tokens; None where one side does not know that view.
    """

    whole: StdView
    bare: StdView | None

    @property
    def views(self) -> tuple[StdView, ...]:
        """Those that are known."""
        return (self.whole,) if self.bare is None else (self.whole, self.bare)

    def loudest(self, count: int) -> list[int]:
        """As :meth:`StdView.loudest`, by the larger ratio of the views."""
        return _farthest(torch.stack([view.ratios for view in self.views]).amax(0), count)

    def quietest(self, count: int) -> list[int]:
        """As :meth:`StdView.quietest`, by the smaller ratio of the views."""
        return _farthest(torch.stack([view.inverses for view in self.views]).amax(0), count)


def std_ratios(a: Reference, b: Reference) -> StdRatios:
    """Each dimension's std in ``a`` over that in ``b``.

    Raises:
        ValueError: if their widths differ.
    """
    b.require_width(a.width)
    bare = None
    if a.std_without_sinks is not None and b.std_without_sinks is not None:
        bare = StdView(a.std_without_sinks, b.std_without_sinks)
    return StdRatios(StdView(a.std, b.std), bare)


def _farthest(ratios: Tensor, count: int) -> list[int]:
    """The dimensions with the largest of (width,) ratios over 1, equal ones in their order."""
    order = ratios.argsort(descending=True, stable=True)[:count]
    return order[ratios[order] > 1].tolist()
