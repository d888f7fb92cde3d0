"""Outliers as text: the table that nodes and the command line print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..measure.dimension_stats import Place
from ..tables import table
from .detection import Outlier

OUTLIER_HEADER = (
    "dim",
    "std (no sinks)",
    "reference",
    "ratio (no sinks)",
    "inverse (no sinks)",
    "sinks carry",
    "class",
    "carried most by",
)
"""Header of an outlier table; "(no sinks)": the figure without sink tokens."""


def outlier_row(outlier: Outlier, name_token: Callable[[Place], str]) -> tuple[str, ...]:
    """One outlier under :data:`OUTLIER_HEADER`; ``name_token`` puts a place into words."""
    ratio, bare = outlier.ratio, outlier.ratio_without_sinks
    return (
        str(outlier.dimension),
        f"{outlier.std:.4g} ({outlier.std_without_sinks:.4g})",
        f"{outlier.reference_std:.4g}",
        f"{ratio:.4g} ({bare:.3g})",
        f"{_inverse(ratio):.4g} ({_inverse(bare):.3g})",
        f"{outlier.sink_share:.1%}",
        f"{outlier.direction}, {outlier.kind_in_words}",
        f"{name_token(outlier.top)}: {outlier.top_share:.1%}",
    )


def _inverse(ratio: float) -> float:
    return 1.0 / ratio if ratio > 0 else math.inf


def outlier_table(
    outliers: Sequence[Outlier], name_token: Callable[[Place], str], limit: int = 20
) -> str:
    """A plain-text table of the first ``limit`` outliers, columns aligned."""
    return table(OUTLIER_HEADER, [outlier_row(one, name_token) for one in outliers], limit)
