"""Dimensions whose spread is out of line, in both directions, and which token carries them.

``get_outlier_dimensions`` has the name, arguments and order of llm-dit's function of that name
(fblissjr/llm-dit-experiments), which finds loud dimensions only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .channel_stats import Place, SplitStats
from .errors import as_states, require_finite_number, require_finite_states
from .reference import Reference, published_qwen3_4b

DIRECTIONS = ("loud", "quiet", "both")
SINK_BORNE_SHARE = 0.5
"""A dimension is sink-borne if sink tokens carry at least this share of its variance."""


class Baseline(NamedTuple):
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
    """A ratio as people compare it: "617.9x quieter" rather than 0.0016."""
    if math.isinf(ratio):
        return "loud where the reference is silent"
    if ratio >= 1.0:
        return f"{ratio:.1f}x louder"
    return f"{1.0 / ratio:.1f}x quieter" if ratio > 0 else "silent"


def baseline_for(
    stats: SplitStats, reference: Reference | None, without_sinks: bool = False
) -> Baseline:
    """What to measure ``stats`` against: ``reference``, else the median std of its own dimensions.

    Raises:
        ValueError: if the reference has another width.
    """
    if reference is not None:
        if reference.width != stats.width:
            raise ValueError(
                f"the reference ({reference.name}) has {reference.width} dimensions and the "
                f"states have {stats.width}: they are not of the same model"
            )
        mean, own_std = reference.statistics(without_sinks)
        _, bare = reference.statistics(without_sinks=True)
        return Baseline(mean, own_std, reference.name, bare, reference.std)
    own = stats.content if without_sinks else stats.all
    median, bare, whole = (
        side.std.quantile(0.5).expand(stats.width) for side in (own, stats.content, stats.all)
    )
    return Baseline(own.mean, median, "the median std of its own dimensions", bare, whole)


def find_outliers(
    stats: SplitStats,
    baseline: Baseline,
    threshold: float = 10.0,
    direction: str = "both",
    without_sinks: bool = False,
) -> list[Outlier]:
    """Dimensions whose std is over ``threshold`` times the baseline's, or under its inverse.

    Args:
        stats: of the tokens in question; fewer than two have no spread and no outliers.
        threshold: at least 1.
        direction: "loud", "quiet" or "both".
        without_sinks: judge by the statistics without sink tokens.

    Returns:
        The farthest from 1 first, loud or quiet.
    """
    threshold = require_finite_number("threshold", threshold, 1.0, math.inf)
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r} is not one of {', '.join(DIRECTIONS)}")
    whole, content = stats.all, stats.content
    if (content if without_sinks else whole).tokens < 2:
        return []
    ratios = std_ratio(whole.std, baseline.std_with_sinks)
    bare_ratios = std_ratio(content.std, baseline.std_without_sinks)
    judged = bare_ratios if without_sinks else ratios
    loud, quiet = judged > threshold, judged < 1.0 / threshold
    flagged = {"loud": loud, "quiet": quiet, "both": loud | quiet}[direction]
    shares, std, bare_std = stats.sink_share(), whole.std, content.std
    found = []
    for dimension in flagged.nonzero().flatten().tolist():
        top, top_share = whole.farthest(dimension)
        share = float(shares[dimension])
        found.append(
            Outlier(
                dimension=dimension,
                std=float(std[dimension]),
                std_without_sinks=float(bare_std[dimension]),
                reference_std=float(baseline.std[dimension]),
                ratio=float(ratios[dimension]),
                ratio_without_sinks=float(bare_ratios[dimension]),
                judged_ratio=float(judged[dimension]),
                direction="loud" if bool(loud[dimension]) else "quiet",
                sink_share=share,
                kind="sink-borne" if share >= SINK_BORNE_SHARE else "channel-wide",
                top=top,
                top_share=top_share,
            )
        )
    return sorted(found, key=lambda outlier: -_distance(outlier.judged_ratio))


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
    """
    hidden = as_states(embeddings)
    require_finite_states(hidden, "embeddings")
    stats = sequence_stats(hidden)
    baseline = baseline_for(stats, default_reference(stats.width, reference))
    outliers = find_outliers(stats, baseline, threshold, direction)
    return [(outlier.dimension, outlier.ratio) for outlier in outliers]


def default_reference(width: int, reference: Reference | None) -> Reference | None:
    """``reference``, or the published Qwen3-4B figures if there is none and ``width`` is 2560."""
    if reference is None and width == 2560:
        return published_qwen3_4b()
    return reference


def sequence_stats(
    hidden: Tensor, sinks: Tensor | None = None, keep: Tensor | None = None
) -> SplitStats:
    """Statistics of (batch, tokens, width); ``keep`` (tokens,) and ``sinks`` (batch, tokens)."""
    stats = SplitStats(hidden.shape[-1])
    for number, sequence in enumerate(hidden):
        stats.update(
            sequence, sinks=None if sinks is None else sinks[number], keep=keep, prompt=number
        )
    return stats


def _distance(ratio: float) -> float:
    if ratio <= 0 or math.isinf(ratio):
        return math.inf
    return abs(math.log(ratio))
