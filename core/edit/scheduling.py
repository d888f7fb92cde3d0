"""A share that changes over the steps of sampling, as ranges of constant share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ..checks import require_choice, require_finite_number, require_whole_number

CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "cosine": lambda t: (1 - math.cos(math.pi * t)) / 2,
    "step": lambda t: 0.0 if t < 0.5 else 1.0,
}
"""How far the share has gone from start to end, 0..1, at ``t`` from 0 (first range) to 1 (last)."""
MOST_STEPS = 100
NOISE_LEVELS = 1000
"""Rows in the table of noise levels that ComfyUI's schedulers choose from
(``ModelSamplingDiscreteFlow``)."""


class Range(NamedTuple):
    """``start`` and ``end`` in 0..1 of the sampling schedule (0 is noise), and the share there."""

    start: float
    end: float
    alpha: float


def schedule(
    curve: str = "linear", start_alpha: float = 0.5, end_alpha: float = 0.0, steps: int = 4
) -> list[Range]:
    """``steps`` ranges of equal length that touch; neighbours of one share are joined.

    Every border between two ranges lies half a noise level before its even place, between two
    levels, where no sampling step is: a step on it would run both neighbours.

    Args:
        curve: "linear", "cosine" (slow at both ends) or "step" (one change, in the middle; with
            an odd number of ranges at the border before it).
        start_alpha, end_alpha: 0..1, the shares of the first and the last range.
        steps: 1..100 ranges; a single one has ``start_alpha``.

    Raises:
        ValueError: an unknown curve, or a number outside its limits.

    >>> [part.alpha for part in schedule("linear", 0.5, 0.0, steps=3)]
    [0.5, 0.25, 0.0]
    """
    require_choice("curve", curve, CURVES)
    start_alpha = require_finite_number("start_alpha", start_alpha, 0.0, 1.0)
    end_alpha = require_finite_number("end_alpha", end_alpha, 0.0, 1.0)
    count = require_whole_number("steps", steps, 1, MOST_STEPS)
    ranges: list[Range] = []
    for number in range(count):
        gone = CURVES[curve](number / (count - 1)) if count > 1 else 0.0
        # The end is met exactly, and a share that does not change is not rounded.
        alpha = end_alpha if gone == 1 else start_alpha + gone * (end_alpha - start_alpha)
        start, end = _border(number, count), _border(number + 1, count)
        if ranges and ranges[-1].alpha == alpha:
            start = ranges.pop().start
        ranges.append(Range(start, end, alpha))
    return ranges


def _border(number: int, count: int) -> float:
    """Where range ``number`` of ``count`` begins; the first and the last border are the ends."""
    if number in (0, count):
        return number / count
    return (number * NOISE_LEVELS // count - 0.5) / NOISE_LEVELS
