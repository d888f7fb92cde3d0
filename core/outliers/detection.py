"""Outlier dimensions: their spread is far from what is expected, and which token carries them.

``get_outlier_dimensions`` has the name, arguments and order of llm-dit's function of that name
(fblissjr/llm-dit-experiments), which finds loud dimensions only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_choice, require_finite_number
from ..measure.dimension_stats import Place
from ..measure.reference import Reference, published_qwen3_4b
from ..measure.reference_stats import ReferenceStats, as_reference
from ..measure.sequence_stats import SequenceStats
from ..measure.token_stats import Spread, TokenStats

DIRECTIONS = ("loud", "quiet", "both")
SINK_BORNE, CHANNEL_WIDE = "sink-borne", "channel-wide"
SINK_BORNE_SHARE = 0.5
"""A dimension is sink-borne if sink tokens carry at least this share of its variance."""
CONSTANT_RATIO = 4.0
"""A dimension is constant if its mean without sink tokens is at least this many times its std
there: then all these tokens have much the same value (design choice)."""


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
    """One dimension whose std is far from the expected one.

    Attributes:
        std, std_without_sinks: over all tokens, and over those that are no sinks.
        reference_std: the expected std in the view that decided.
        ratio, ratio_without_sinks: each view's std over what that view is measured against.
        judged_ratio: whichever of the two ratios decided.
        direction: "loud" or "quiet".
        sink_share, top_share: shares (0..1) of the dimension's squared deviations that the sink
            tokens and the farthest single token, ``top``, carry.
        kind: "sink-borne" or "channel-wide".
        mean_without_sinks: over the tokens that are no sinks.
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
    mean_without_sinks: float = 0.0

    @property
    def constant(self) -> bool:
        """Whether the tokens that are no sinks share one value; see :data:`CONSTANT_RATIO`."""
        return is_constant(self.mean_without_sinks, self.std_without_sinks)

    @property
    def kind_in_words(self) -> str:
        """ "sink-borne", "channel-wide, constant" or "channel-wide, varying"."""
        return kind_in_words(self.kind, self.constant)


def is_constant(mean: float, std: float) -> bool:
    """Whether a dimension of this mean and spread is one value more than a spread of them."""
    return abs(mean) >= CONSTANT_RATIO * std and mean != 0


def kind_in_words(kind: str, constant: bool) -> str:
    """``kind``, and of a channel-wide dimension whether it is constant or varies.

    >>> kind_in_words("channel-wide", True)
    'channel-wide, constant'
    """
    if kind != CHANNEL_WIDE:
        return kind
    return f"{kind}, {'constant' if constant else 'varying'}"


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


@dataclass(frozen=True)
class Measured:
    """Hidden states measured once, and the spread of every dimension judged.

    Attributes:
        stats: of the tokens in question.
        expected: what they are measured against.
        threshold: an outlier's std is over this many times the expected one, or under its inverse;
            at least 1.
        without_sinks: whether the statistics without sink tokens decide.

    Raises:
        ValueError: for a bad threshold.
    """

    stats: TokenStats
    expected: Expected
    threshold: float = 10.0
    without_sinks: bool = False

    def __post_init__(self) -> None:
        threshold = require_finite_number("threshold", self.threshold, 1.0, math.inf)
        object.__setattr__(self, "threshold", threshold)

    @property
    def judged(self) -> Spread:
        """The statistics that decide."""
        return self.stats.without_sinks if self.without_sinks else self.stats.all

    @cached_property
    def ratios(self) -> Tensor:
        """(width,) float64, std over expected std; 1 where fewer than two tokens have no spread."""
        judged, expected = self.judged, self.expected
        if judged.tokens < 2:
            return torch.ones(self.stats.width, dtype=torch.float64)
        against = expected.std_without_sinks if self.without_sinks else expected.std_with_sinks
        return std_ratio(judged.std, against)

    def dimensions(self, direction: str = "both") -> Tensor:
        """(n,) int64, the outlier dimensions in rising order.

        Args:
            direction: "loud", "quiet" or "both".
        """
        require_choice("direction", direction, DIRECTIONS)
        loud, quiet = self.ratios > self.threshold, self.ratios < 1.0 / self.threshold
        chosen = {"loud": loud, "quiet": quiet, "both": loud | quiet}[direction]
        return chosen.nonzero().flatten()

    @cached_property
    def outliers(self) -> list[Outlier]:
        """Every outlier dimension, loud or quiet, the one whose ratio is farthest from 1 first."""
        dimensions = self.dimensions()
        if len(dimensions) == 0:
            return []
        whole, bare, expected = self.stats.all, self.stats.without_sinks, self.expected
        columns = (
            dimensions,
            whole.std[dimensions],
            bare.std[dimensions],
            expected.std[dimensions],
            std_ratio(whole.std, expected.std_with_sinks)[dimensions],
            std_ratio(bare.std, expected.std_without_sinks)[dimensions],
            self.ratios[dimensions],
            self.stats.sink_share()[dimensions],
            bare.mean[dimensions],
        )
        rows = zip(*(c.tolist() for c in columns), *self.stats.farthest(dimensions), strict=True)
        found = []
        for (
            number,
            std,
            bare_std,
            normal,
            ratio,
            bare_ratio,
            judged,
            share,
            mean,
            top,
            top_share,
        ) in rows:
            outlier = Outlier(
                dimension=number,
                std=std,
                std_without_sinks=bare_std,
                reference_std=normal,
                ratio=ratio,
                ratio_without_sinks=bare_ratio,
                judged_ratio=judged,
                direction="loud" if judged > self.threshold else "quiet",
                sink_share=share,
                kind=SINK_BORNE if share >= SINK_BORNE_SHARE else CHANNEL_WIDE,
                top=top,
                top_share=top_share,
                mean_without_sinks=mean,
            )
            found.append(outlier)
        return sorted(found, key=lambda outlier: -distance(outlier.judged_ratio))


def measure_against(
    reference: Reference | None,
    stats: TokenStats,
    threshold: float = 10.0,
    without_sinks: bool = False,
) -> Measured:
    """``stats`` judged by ``reference``, or by the median std of their own dimensions.

    Raises:
        ValueError: for a bad threshold, or a reference of another width.
    """
    return Measured(stats, expected_for(stats, reference, without_sinks), threshold, without_sinks)


def expected_for(
    stats: TokenStats, reference: Reference | None, without_sinks: bool = False
) -> Expected:
    """What to measure ``stats`` against: ``reference``, else the median std of its own dimensions.

    Raises:
        ValueError: if the reference has another width.
    """
    if reference is not None:
        reference.require_width(stats.width)
        mean, own_std = reference.statistics(without_sinks)
        _, bare = reference.statistics(without_sinks=True)
        return Expected(mean, own_std, reference.name, bare, reference.std)
    own = stats.without_sinks if without_sinks else stats.all
    median, bare, whole = (
        side.std.quantile(0.5).expand(stats.width) for side in (own, stats.without_sinks, stats.all)
    )
    return Expected(own.mean, median, "the median std of its own dimensions", bare, whole)


def find_outliers(
    stats: TokenStats,
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
        The one whose ratio is farthest from 1 first, loud or quiet.
    """
    measured = Measured(stats, expected, threshold, without_sinks)
    require_choice("direction", direction, DIRECTIONS)
    return [found for found in measured.outliers if direction in ("both", found.direction)]


def get_outlier_dimensions(
    embeddings: Tensor,
    threshold: float = 10.0,
    reference_stats: ReferenceStats | None = None,
    direction: str = "loud",
    *,
    reference: Reference | None = None,
) -> list[tuple[int, float]]:
    """``[(dimension, std ratio)]``, the farthest from 1 first.

    Args:
        embeddings: (tokens, width) or (batch, tokens, width), any float dtype.
        threshold: an outlier's std is over this many times the reference's, or under its inverse.
        reference_stats: what to measure against, as llm-dit's argument: a dict or the path of an
            .npz with ``per_dim_std`` and ``per_dim_mean``; or a reference of this pack. None takes
            the published Qwen3-4B figures for width 2560 (exact in five dimensions only), else
            the median std of the tensor's own dimensions.
        direction: "loud" (as llm-dit), "quiet" or "both".
        reference: the same as ``reference_stats``, for a reference of this pack.

    Raises:
        ValueError: for a bad shape, threshold or direction, statistics that cannot be used, or
            those of another width.
        NonFiniteError: if the tensor holds NaN or infinity.

    >>> hidden = torch.tensor([[1.0, -1.0, 50.0], [-1.0, 1.0, -50.0]])
    >>> [(dimension, round(ratio, 3)) for dimension, ratio in get_outlier_dimensions(hidden)]
    [(2, 50.0)]
    """
    stats = SequenceStats(as_states(embeddings), what="embeddings")
    against = default_reference(stats.width, as_reference(reference_stats, reference))
    measured = measure_against(against, stats, threshold)
    dimensions = measured.dimensions(direction)
    found = zip(dimensions.tolist(), measured.ratios[dimensions].tolist(), strict=True)
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
