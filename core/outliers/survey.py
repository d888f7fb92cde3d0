"""The outliers of one conditioning, seen with and without its sink tokens.

The two views are each measured like with like: all tokens against the reference's statistics over
all tokens, and the tokens that are no sinks against its statistics without sinks, where it has
them. A dimension that is an outlier in either view is listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_finite_states
from ..dit.view import DitChange, FirstMatrix, dit_change, strips
from ..measure.dimension_stats import Place
from ..measure.moments import wide
from ..measure.reference import Reference
from ..measure.sinks import find_sinks
from ..measure.split_stats import SplitStats
from ..tables import table
from .detection import Measured, distance, kind_in_words, measure_against, std_ratio

NO_OUTLIER = "in line"
"""The direction of a dimension that is no outlier in a view, as the table prints it."""
SURVEY_HEADER = (
    "dim",
    "std",
    "reference",
    "ratio",
    "inverse",
    "direction",
    "no sinks: std",
    "reference",
    "ratio",
    "inverse",
    "direction",
    "sinks carry",
    "class",
    "excess kurtosis",
    "carried most by",
)


class Spread(NamedTuple):
    """One dimension's std in one view against its reference.

    Attributes:
        direction: "loud", "quiet" or :data:`NO_OUTLIER`.
    """

    std: float
    reference_std: float
    ratio: float
    direction: str


class SurveyedOutlier(NamedTuple):
    """A dimension that is an outlier over all tokens, without sink tokens, or both.

    Attributes:
        whole, bare: over all tokens, and without sink tokens (None if fewer than two are left).
        sink_share, top_share: shares (0..1) of its squared deviations that the sink tokens and the
            farthest single token, ``top``, carry.
        kind: "sink-borne" or "channel-wide".
        constant: whether the tokens that are no sinks share one value.
        kurtosis: excess kurtosis over all tokens; 0 for a normal distribution.
    """

    dimension: int
    whole: Spread
    bare: Spread | None
    sink_share: float
    kind: str
    kurtosis: float
    top: Place
    top_share: float
    constant: bool = False


class Survey(NamedTuple):
    """What :func:`survey_outliers` found, of one measurement.

    Attributes:
        sinks: (batch, tokens) bool.
        whole, bare: the dimensions judged over all tokens, and without sink tokens.
        outliers: the farthest from its reference first.
    """

    sinks: Tensor
    whole: Measured
    bare: Measured
    outliers: tuple[SurveyedOutlier, ...]

    @property
    def stats(self) -> SplitStats:
        """The statistics that both views are of."""
        return self.whole.stats

    @property
    def threshold(self) -> float:
        """How many times the reference's std, or its inverse, makes an outlier."""
        return self.whole.threshold

    @property
    def dimensions(self) -> list[int]:
        """The outlier dimensions, in their order."""
        return [outlier.dimension for outlier in self.outliers]


class Zeroing(NamedTuple):
    """What some dimensions are to each token; all (batch, tokens).

    Attributes:
        share_before, share_after: their share (0..1) of the token's squared norm, as it comes from
            the encoder and after the RMSNorm's weight; after the matrix, if it is given, of the
            squared lengths of what each dimension sends on by itself.
        change: what the DiT would see change if they were zero.
    """

    share_before: Tensor
    share_after: Tensor
    change: DitChange


def survey_outliers(
    hidden: Tensor,
    reference: Reference | None = None,
    threshold: float = 10.0,
    selected: Tensor | None = None,
) -> Survey:
    """Measure ``hidden`` (batch, tokens, width), both directions, with and without sink tokens.

    Args:
        reference: None measures against the median std of the tensor's own dimensions.
        selected: (tokens,) bool; the others (padding) are not measured.

    Raises:
        ValueError: bad shape or threshold, or a reference of another width.
        NonFiniteError: if the tensor holds NaN or infinity.
    """
    hidden = as_states(hidden, "the conditioning")
    require_finite_states(hidden, "the conditioning")
    sinks = find_sinks(hidden).cpu()
    selected = torch.ones(hidden.shape[1], dtype=torch.bool) if selected is None else selected.cpu()
    stats = SplitStats(hidden.shape[-1])
    stats.update_batch(hidden, sinks, selected.expand(sinks.shape), range(len(hidden)))
    whole = measure_against(reference, stats, threshold)
    bare = measure_against(reference, stats, threshold, without_sinks=True)
    return Survey(sinks, whole, bare, tuple(_outliers(whole, bare)))


def _outliers(whole: Measured, bare: Measured) -> list[SurveyedOutlier]:
    """The outliers of either view, the farthest first, then by dimension."""
    all_tokens = whole.stats.all
    spread, kurtosis = _spreads(whole), all_tokens.excess_kurtosis.tolist()
    bare_spread = _spreads(bare) if bare.judged.tokens > 1 else lambda dimension: None
    by_dimension = {outlier.dimension: outlier for outlier in (*bare.outliers, *whole.outliers)}
    found = [
        SurveyedOutlier(
            dimension=dimension,
            whole=spread(dimension),
            bare=bare_spread(dimension),
            sink_share=outlier.sink_share,
            kind=outlier.kind,
            kurtosis=kurtosis[dimension],
            top=outlier.top,
            top_share=outlier.top_share,
            constant=outlier.constant,
        )
        for dimension, outlier in by_dimension.items()
    ]
    return sorted(found, key=lambda outlier: (-_farther(outlier), outlier.dimension))


def zeroing(
    hidden: Tensor,
    dimensions: Sequence[int],
    weight: Tensor | None = None,
    matrix: FirstMatrix | None = None,
) -> Zeroing:
    """What zeroing ``dimensions`` of (batch, tokens, width) would do.

    Args:
        weight: (width,) of the DiT's RMSNorm; 1 everywhere if not given.
        matrix: the layer after it: what comes out of that is then meant by "after".
    """
    chosen = torch.tensor(list(dimensions), dtype=torch.long, device=hidden.device)
    zeroed = hidden.clone(memory_format=torch.contiguous_format)
    zeroed[..., chosen] = 0
    scales = [wide(one) ** 2 for one in (weight, matrix and matrix.columns) if one is not None]
    shares = [_shares(strip, chosen, scales) for strip in strips(hidden)]
    before, after = (torch.cat(parts, 1) for parts in zip(*shares, strict=True))
    return Zeroing(before, after, dit_change(hidden, zeroed, weight, matrix))


def survey_table(
    outliers: Sequence[SurveyedOutlier], name_token: Callable[[Place], str], limit: int = 30
) -> str:
    """A plain-text table of the first ``limit`` outliers, columns aligned."""
    return table(SURVEY_HEADER, [_row(outlier, name_token) for outlier in outliers], limit)


def _row(outlier: SurveyedOutlier, name_token: Callable[[Place], str]) -> tuple[str, ...]:
    return (
        str(outlier.dimension),
        *_cells(outlier.whole),
        *(_cells(outlier.bare) if outlier.bare else "-----"),
        f"{outlier.sink_share:.1%}",
        kind_in_words(outlier.kind, outlier.constant),
        f"{outlier.kurtosis:.2f}",
        f"{name_token(outlier.top)}: {outlier.top_share:.1%}",
    )


def _cells(spread: Spread) -> tuple[str, ...]:
    inverse = 1.0 / spread.ratio if spread.ratio > 0 else math.inf
    numbers = (spread.std, spread.reference_std, spread.ratio, inverse)
    return *(f"{number:.4g}" for number in numbers), spread.direction


def _spreads(measured: Measured) -> Callable[[int], Spread]:
    """The spread of a dimension in the view that ``measured`` is judged by."""
    directions = {outlier.dimension: outlier.direction for outlier in measured.outliers}
    std, normal = measured.judged.std, measured.expected.std
    columns = (std.tolist(), normal.tolist(), std_ratio(std, normal).tolist())
    values = list(zip(*columns, strict=True))
    return lambda dimension: Spread(*values[dimension], directions.get(dimension, NO_OUTLIER))


def _farther(outlier: SurveyedOutlier) -> float:
    """How far from its reference, in whichever view that is farther."""
    views = [view for view in (outlier.whole, outlier.bare) if view]
    return max(distance(view.ratio) for view in views if view.direction != NO_OUTLIER)


def _shares(states: Tensor, chosen: Tensor, scales: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The share of the squared norm as it is, and with every square times all ``scales``."""
    square = wide(states).square()
    chosen = chosen.to(square.device)
    before = _share(square, chosen)
    for scale in scales:
        square = square * scale.to(square.device)
    return before, _share(square, chosen) if scales else before


def _share(square: Tensor, chosen: Tensor) -> Tensor:
    total = square.sum(-1)
    return torch.where(total > 0, square[..., chosen].sum(-1) / total.clamp(min=1e-300), 0.0)
