"""Dimensions whose spread is out of line, in both directions, and which token carries them.

``get_outlier_dimensions`` has the name, arguments and order of llm-dit's function of that name
(fblissjr/llm-dit-experiments), which finds loud dimensions only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_finite_number
from ..measure.dimension_stats import Place
from ..measure.reference import Reference, published_qwen3_4b
from ..measure.sequence_stats import SequenceStats
from ..measure.split_stats import SplitStats

DIRECTIONS = ("loud", "quiet", "both")
SINK_BORNE_SHARE = 0.5
"""A dimension is sink-borne if sink tokens carry at least this share of its variance."""


class Expected(NamedTuple):
    """What dimensions are measured against: (width,) ``mean`` and ``std``, and its name.

    ``mean`` and ``std`` are of the view that judges. ``std_without_sinks`` and ``std_with_sinks``
    are what each view's spread is measured against, so that like meets like; they are the same
    where a reference knows no other.
    """

    mean: Tensor
    std: Tensor
    name: str
    std_without_sinks: Tensor
    std_with_sinks: Tensor


class Outlier(NamedTuple):
    """One dimension out of line.

    ``ratio`` is std over reference std; ``ratio_without_sinks`` the same without sink tokens on
    both sides; ``judged_ratio`` is whichever of them decided.
    ``sink_share`` and ``top_share`` are shares (0..1) of the dimension's squared deviations that
    the sink tokens and the farthest single token (``top``) carry.
    """

    dimension: int
    std: float
    std_without_sinks: float
    reference_std: float
    ratio: float
    ratio_without_sinks: float
    judged_ratio: float
    direction: str
    sink_share: float
    kind: str
    top: Place
    top_share: float


def std_ratio(std: Tensor, reference_std: Tensor) -> Tensor:
    """``std / reference_std``; infinite over a reference of 0, and 1 where both are 0."""
    return torch.where((std == 0) & (reference_std == 0), 1.0, std / reference_std)


def ratio_in_words(ratio: float) -> str:
    """A ratio as people compare it: "617.9x quieter" rather than 0.0016.

    >>> ratio_in_words(0.0016)
    '625.0x quieter'
    """
    if math.isinf(ratio):
        return "loud where the reference is silent"
    if ratio >= 1.0:
        return f"{ratio:.1f}x louder"
    return f"{1.0 / ratio:.1f}x quieter" if ratio > 0 else "silent"


def expected_for(
    stats: SplitStats | SequenceStats, reference: Reference | None, without_sinks: bool = False
) -> Expected:
    """What to measure ``stats`` against: ``reference``, else the median std of its own dimensions.

    Raises:
        ValueError: if the reference has another width.
    """
    if reference is not None:
        if reference.width != stats.width:
            raise ValueError(
                f"the reference ({reference.name}) has {reference.width} dimensions and the "
                f"states have {stats.width}: they are not of the same model; "
                "connect one of this encoder, or none"
            )
        mean, own_std = reference.statistics(without_sinks)
        _, bare = reference.statistics(without_sinks=True)
        return Expected(mean, own_std, reference.name, bare, reference.std)
    own = stats.without_sinks if without_sinks else stats.all
    median, bare, whole = (
        side.std.quantile(0.5).expand(stats.width) for side in (own, stats.without_sinks, stats.all)
    )
    return Expected(own.mean, median, "the median std of its own dimensions", bare, whole)


def out_of_line(ratios: Tensor, threshold: float, direction: str) -> Tensor:
    """(width,) bool: which std ratios are over ``threshold``, or under its inverse.

    Args:
        threshold: at least 1.
        direction: "loud", "quiet" or "both".
    """
    threshold = require_finite_number("threshold", threshold, 1.0, math.inf)
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r} is not one of {', '.join(DIRECTIONS)}")
    loud, quiet = ratios > threshold, ratios < 1.0 / threshold
    return {"loud": loud, "quiet": quiet, "both": loud | quiet}[direction]


def judged_ratios(
    stats: SplitStats | SequenceStats, expected: Expected, without_sinks: bool = False
) -> Tensor:
    """(width,) float64, std over the expected's; 1 where fewer than two tokens have no spread."""
    view = stats.without_sinks if without_sinks else stats.all
    if view.tokens < 2:
        return torch.ones(stats.width, dtype=torch.float64)
    against = expected.std_without_sinks if without_sinks else expected.std_with_sinks
    return std_ratio(view.std, against)


def find_outliers(
    stats: SplitStats | SequenceStats,
    expected: Expected,
    threshold: float = 10.0,
    direction: str = "both",
    without_sinks: bool = False,
) -> list[Outlier]:
    """Dimensions whose std is over ``threshold`` times the expected's, or under its inverse.

    Args:
        stats: of the tokens in question; fewer than two have no spread and no outliers.
        threshold: at least 1.
        direction: "loud", "quiet" or "both".
        without_sinks: judge by the statistics without sink tokens.

    Returns:
        The farthest from 1 first, loud or quiet.
    """
    judged = judged_ratios(stats, expected, without_sinks)
    flagged = out_of_line(judged, threshold, direction).nonzero().flatten()
    if len(flagged) == 0:
        return []
    whole, bare = stats.all, stats.without_sinks
    columns = (
        flagged,
        whole.std[flagged],
        bare.std[flagged],
        expected.std[flagged],
        std_ratio(whole.std, expected.std_with_sinks)[flagged],
        std_ratio(bare.std, expected.std_without_sinks)[flagged],
        judged[flagged],
        stats.sink_share()[flagged],
    )
    found = [
        Outlier(
            dimension=dimension,
            std=std,
            std_without_sinks=bare_std,
            reference_std=reference_std,
            ratio=ratio,
            ratio_without_sinks=bare_ratio,
            judged_ratio=judged_ratio,
            direction="loud" if judged_ratio > threshold else "quiet",
            sink_share=share,
            kind="sink-borne" if share >= SINK_BORNE_SHARE else "channel-wide",
            top=top,
            top_share=top_share,
        )
        for (
            dimension,
            std,
            bare_std,
            reference_std,
            ratio,
            bare_ratio,
            judged_ratio,
            share,
            top,
            top_share,
        ) in zip(*(c.tolist() for c in columns), *stats.farthest(flagged), strict=True)
    ]
    return sorted(found, key=lambda outlier: -distance(outlier.judged_ratio))


def get_outlier_dimensions(
    embeddings: Tensor,
    threshold: float = 10.0,
    reference: Reference | None = None,
    direction: str = "loud",
) -> list[tuple[int, float]]:
    """``[(dimension, std ratio)]``, the farthest from 1 first.

    Args:
        embeddings: (tokens, width) or (batch, tokens, width), any float dtype.
        threshold: how many times the reference's std (or its inverse) is out of line.
        reference: None takes the published Qwen3-4B figures for width 2560, else the median std
            of the tensor's own dimensions.
        direction: "loud" (as llm-dit), "quiet" or "both".

    Raises:
        ValueError: for a bad shape, threshold or direction, or a reference of another width.
        NonFiniteError: if the tensor holds NaN or infinity.

    >>> hidden = torch.tensor([[1.0, -1.0, 50.0], [-1.0, 1.0, -50.0]])
    >>> [(dimension, round(ratio, 3)) for dimension, ratio in get_outlier_dimensions(hidden)]
    [(2, 50.0)]
    """
    stats = SequenceStats(as_states(embeddings), what="embeddings")
    expected = expected_for(stats, default_reference(stats.width, reference))
    ratios = judged_ratios(stats, expected)
    dimensions = out_of_line(ratios, threshold, direction).nonzero().flatten()
    found = zip(dimensions.tolist(), ratios[dimensions].tolist(), strict=True)
    return sorted(found, key=lambda one: -distance(one[1]))


def default_reference(width: int, reference: Reference | None) -> Reference | None:
    """``reference``, or the published Qwen3-4B figures if there is none and ``width`` is 2560."""
    if reference is None and width == 2560:
        return published_qwen3_4b()
    return reference


def distance(ratio: float) -> float:
    """How far ``ratio`` is from 1, the same for a factor and its inverse."""
    if ratio <= 0 or math.isinf(ratio):
        return math.inf
    return abs(math.log(ratio))
