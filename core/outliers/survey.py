"""Everything that is to be said about the outliers of one conditioning, with and without sinks.

The two views are each measured like with like: all tokens against the reference's statistics over
all tokens, and the tokens that are no sinks against its statistics without sinks, where it has
them. A dimension that is out of line in either view is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_finite_states
from ..dit.view import DitChange, dit_change
from ..measure.allocation import copy
from ..measure.dimension_stats import Place
from ..measure.moments import wide
from ..measure.reference import Reference
from ..measure.sinks import find_sinks
from ..measure.split_stats import SplitStats
from ..tables import align
from .detection import Expected, Outlier, expected_for, find_outliers, std_ratio

IN_LINE = "in line"
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
    """One dimension's std against its reference; ``direction`` is loud, quiet or in line."""

    std: float
    reference_std: float
    ratio: float
    direction: str


class Finding(NamedTuple):
    """A dimension that is out of line over all tokens, without sink tokens, or both.

    Attributes:
        whole, bare: over all tokens, and without sink tokens (None if fewer than two are left).
        sink_share, top_share: shares (0..1) of its squared deviations that the sink tokens and the
            farthest single token, ``top``, carry.
        kind: "sink-borne" or "channel-wide".
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


@dataclass(frozen=True)
class Survey:
    """What :func:`survey_outliers` found.

    Attributes:
        sinks: (batch, tokens) bool.
        expected, bare_expected: what all tokens, and those that are no sinks, are measured against.
        findings: the farthest out of line first.
    """

    stats: SplitStats
    sinks: Tensor
    expected: Expected
    bare_expected: Expected
    threshold: float
    findings: tuple[Finding, ...]

    @property
    def dimensions(self) -> list[int]:
        """The dimensions of the findings, in their order."""
        return [finding.dimension for finding in self.findings]


class Zeroing(NamedTuple):
    """What some dimensions are to each token; all (batch, tokens).

    Attributes:
        share_before, share_after: their share (0..1) of the token's squared norm, as it comes from
            the encoder and after the RMSNorm's weight.
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
    expected, bare_expected = (expected_for(stats, reference, bare) for bare in (False, True))
    found = find_outliers(stats, expected, threshold)
    bare_found = find_outliers(stats, bare_expected, threshold, without_sinks=True)
    by_dimension = {outlier.dimension: outlier for outlier in (*bare_found, *found)}
    whole = stats.all
    views = (
        _spreads(whole.std, expected.std, found),
        _spreads(stats.without_sinks.std, bare_expected.std, bare_found),
    )
    kurtosis = whole.excess_kurtosis.tolist()
    bare_is_measured = stats.without_sinks.tokens > 1
    findings = [
        Finding(
            dimension=dimension,
            whole=views[0](dimension),
            bare=views[1](dimension) if bare_is_measured else None,
            sink_share=outlier.sink_share,
            kind=outlier.kind,
            kurtosis=kurtosis[dimension],
            top=outlier.top,
            top_share=outlier.top_share,
        )
        for dimension, outlier in by_dimension.items()
    ]
    findings.sort(key=lambda finding: (-_distance(finding), finding.dimension))
    return Survey(stats, sinks, expected, bare_expected, threshold, tuple(findings))


def zeroing(hidden: Tensor, dimensions: Sequence[int], weight: Tensor | None = None) -> Zeroing:
    """What zeroing ``dimensions`` of (batch, tokens, width) would do.

    Args:
        weight: (width,) of the DiT's RMSNorm; 1 everywhere if not given.
    """
    chosen = torch.tensor(list(dimensions), dtype=torch.long, device=hidden.device)
    zeroed = copy(hidden)
    zeroed[..., chosen] = 0
    square = wide(hidden) ** 2
    scale = 1.0 if weight is None else wide(weight).to(square.device) ** 2
    chosen = chosen.to(square.device)
    return Zeroing(
        _share(square, chosen), _share(square * scale, chosen), dit_change(hidden, zeroed, weight)
    )


def survey_table(
    findings: Sequence[Finding], name_token: Callable[[Place], str], limit: int = 30
) -> str:
    """A plain-text table of the first ``limit`` findings, columns aligned."""
    rows = [SURVEY_HEADER, *(_row(finding, name_token) for finding in findings[:limit])]
    lines = align(rows)
    if len(findings) > limit:
        lines.append(f"... and {len(findings) - limit} more")
    return "\n".join(lines)


def _row(finding: Finding, name_token: Callable[[Place], str]) -> tuple[str, ...]:
    return (
        str(finding.dimension),
        *_cells(finding.whole),
        *(_cells(finding.bare) if finding.bare else "-----"),
        f"{finding.sink_share:.1%}",
        finding.kind,
        f"{finding.kurtosis:.2f}",
        f"{name_token(finding.top)}: {finding.top_share:.1%}",
    )


def _cells(spread: Spread) -> tuple[str, ...]:
    inverse = 1.0 / spread.ratio if spread.ratio > 0 else math.inf
    numbers = (spread.std, spread.reference_std, spread.ratio, inverse)
    return *(f"{number:.4g}" for number in numbers), spread.direction


def _spreads(std: Tensor, reference: Tensor, found: list[Outlier]) -> Callable[[int], Spread]:
    directions = {outlier.dimension: outlier.direction for outlier in found}
    columns = zip(std.tolist(), reference.tolist(), std_ratio(std, reference).tolist(), strict=True)
    values = list(columns)

    def spread(dimension: int) -> Spread:
        return Spread(*values[dimension], directions.get(dimension, IN_LINE))

    return spread


def _distance(finding: Finding) -> float:
    """How far out of line, in the view in which it is farther."""
    ratios = [s.ratio for s in (finding.whole, finding.bare) if s and s.direction != IN_LINE]
    return max(abs(math.log(ratio)) if 0 < ratio < math.inf else math.inf for ratio in ratios)


def _share(square: Tensor, chosen: Tensor) -> Tensor:
    total = square.sum(-1)
    return torch.where(total > 0, square[..., chosen].sum(-1) / total.clamp(min=1e-300), 0.0)
