"""The outliers of a conditioning that holds several layers, tap by tap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..measure.dimension_stats import Place
from ..measure.reference import Reference
from ..tables import enumerate_some, table
from ..taps.gains import tap_rms, tap_shares
from ..taps.layout import Taps
from .detection import ratio_in_words
from .survey import NO_OUTLIER, Survey, SurveyedOutlier, survey_outliers

TAP_HEADER = ("tap", "rms", "share", "max |x|", "loud", "quiet", "no sinks", "sinks", "farthest")
TAP_OUTLIER_HEADER = (
    "tap",
    "dim",
    "std",
    "reference",
    "ratio",
    "direction",
    "no sinks",
    "sinks carry",
    "class",
    "carried most by",
)
MOST_ROWS = 24


class TapSurvey(NamedTuple):
    """What :func:`survey_taps` found.

    Attributes:
        taps: their layout.
        surveys: one for each tap.
        rms: (taps,) float64, median over tokens.
        shares: (taps,) float64, mean over tokens of its share of the squared length.
    """

    taps: Taps
    surveys: tuple[Survey, ...]
    rms: Tensor
    shares: Tensor

    @property
    def ratios(self) -> Tensor:
        """(taps, width) float64, each std over what it is measured against; all tokens."""
        return torch.stack([survey.whole.ratios for survey in self.surveys])

    @property
    def outliers(self) -> list[tuple[int, SurveyedOutlier]]:
        """(tap, outlier), the farthest from its reference first."""
        found = [(tap, one) for tap, survey in enumerate(self.surveys) for one in survey.outliers]
        return sorted(found, key=lambda one: (-_far(one[1].whole.ratio), one[0]))

    @property
    def dimensions(self) -> list[int]:
        """The outliers' numbers in the whole state, the farthest first."""
        return [self.taps.dimension(tap, one.dimension) for tap, one in self.outliers]

    @property
    def sinks(self) -> Tensor:
        """(batch, tokens) bool: sink tokens in at least one tap."""
        return torch.stack([survey.sinks for survey in self.surveys]).any(0)


def survey_taps(
    hidden: Tensor,
    taps: Taps,
    references: Sequence[Reference | None],
    threshold: float = 10.0,
    selected: Tensor | None = None,
) -> TapSurvey:
    """Measure every tap of ``hidden`` (batch, tokens, total) as :func:`.survey.survey_outliers`.

    Args:
        references: one for each tap, of one tap's width.
    """
    surveys = tuple(
        survey_outliers(part, reference, threshold, selected)
        for part, reference in zip(taps.split(hidden), references, strict=True)
    )
    return TapSurvey(
        taps, surveys, tap_rms(hidden, taps, selected), tap_shares(hidden, taps, selected)
    )


def tap_survey_table(survey: TapSurvey, more: Sequence[tuple[str, Sequence[str]]] = ()) -> str:
    """A row for each tap.

    Args:
        more: further columns, each a header and a cell for each tap.
    """
    rows = []
    for tap, own in enumerate(survey.surveys):
        directions = [outlier.whole.direction for outlier in own.outliers]
        bare = sum(o.bare is not None and o.bare.direction != NO_OUTLIER for o in own.outliers)
        far = max(own.outliers, key=lambda one: _far(one.whole.ratio), default=None)
        rows.append(
            (
                survey.taps.name(tap),
                f"{float(survey.rms[tap]):.4g}",
                f"{float(survey.shares[tap]):.1%}",
                f"{float(own.stats.all.max_abs.max()):.4g}",
                str(directions.count("loud")),
                str(directions.count("quiet")),
                str(bare),
                str(int(own.sinks.sum())),
                "-" if far is None else f"{far.dimension}, {ratio_in_words(far.whole.ratio)}",
                *(cells[tap] for _, cells in more),
            )
        )
    return table((*TAP_HEADER, *(name for name, _ in more)), rows, len(rows))


def tap_outlier_table(survey: TapSurvey, name_token: Callable[[Place], str]) -> str:
    """The outliers of all taps, the farthest first."""
    outliers = survey.outliers
    rows = [
        (
            survey.taps.name(tap),
            str(one.dimension),
            f"{one.whole.std:.4g}",
            f"{one.whole.reference_std:.4g}",
            f"{one.whole.ratio:.4g}",
            one.whole.direction,
            "-" if one.bare is None else f"{one.bare.ratio:.4g}",
            f"{one.sink_share:.1%}",
            one.kind,
            f"{name_token(one.top)}, {one.top_share:.1%}",
        )
        for tap, one in outliers[:MOST_ROWS]
    ]
    lines = [table(TAP_OUTLIER_HEADER, rows, len(rows))]
    if len(outliers) > MOST_ROWS:
        lines.append(f"... and {len(outliers) - MOST_ROWS} more")
    return "\n".join(lines)


def taps_in_words(survey: TapSurvey) -> str:
    """What it comes to, in one line."""
    threshold = survey.surveys[0].threshold
    found = [tap for tap, own in enumerate(survey.surveys) if own.outliers]
    count = sum(len(own.outliers) for own in survey.surveys)
    sinks = int(survey.sinks.sum())
    tokens = f"{sinks} sink token{'' if sinks == 1 else 's'}"
    if not found:
        return (
            f"no dimension of {len(survey.taps)} taps is over {threshold:g}x out of line; {tokens}"
        )
    names = enumerate_some([survey.taps.name(tap) for tap in found], 4)
    return (
        f"{count} dimension{' is' if count == 1 else 's are'} over {threshold:g}x out of line in "
        f"{len(found)} of {len(survey.taps)} taps ({names}); {tokens}"
    )


def _far(ratio: float) -> float:
    return max(ratio, 1 / ratio) if ratio > 0 else float("inf")
