"""Outliers as text: the table that nodes and the command line print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..measure.carriers import Carried
from ..measure.dimension_stats import Place
from ..tables import table
from .detection import SINK_BORNE_SHARE, Outlier

LEAST_SHARE = 0.05
"""Positions and tokens that carry less of a dimension are not named."""
OUTLIER_COLUMNS = {
    "dim": "the dimension's number, from 0",
    "std (no sinks)": "its standard deviation over all tokens and, in brackets here as in the next "
    "columns, over the tokens that are no sinks",
    "reference": "the std that it is measured against",
    "ratio (no sinks)": "its std over the reference: 20 is twenty times too large",
    "inverse (no sinks)": "the reference over its std: 20 is twenty times too small",
    "sinks carry": "the share of its variance that is owed to sink tokens",
    "class": "loud (too large) or quiet (too small), and sink-borne if sink tokens carry at least "
    f"{SINK_BORNE_SHARE:.0%} of its variance, else channel-wide; constant if the tokens that are "
    "no sinks have much the same value there, else varying",
    "carried by": "the positions and the tokens that carry at least "
    f"{LEAST_SHARE:.0%} of its variance, each with its share; a token's share counts it wherever "
    "it stands, so that shares may overlap",
}
"""What each column of an outlier table says, in plain words."""
OUTLIER_HEADER = tuple(OUTLIER_COLUMNS)


def outlier_row(outlier: Outlier, carried_by: str) -> tuple[str, ...]:
    """One outlier, and what carries it in words, under :data:`OUTLIER_HEADER`."""
    ratio, bare = outlier.ratio, outlier.ratio_without_sinks
    return (
        str(outlier.dimension),
        f"{outlier.std:.4g} ({outlier.std_without_sinks:.4g})",
        f"{outlier.reference_std:.4g}",
        f"{ratio:.4g} ({bare:.3g})",
        f"{_inverse(ratio):.4g} ({_inverse(bare):.3g})",
        f"{outlier.sink_share:.1%}",
        f"{outlier.direction}, {outlier.kind_in_words}",
        carried_by,
    )


def named_carriers(carried: Carried, token_text: Callable[[Place], str]) -> list[tuple[str, float]]:
    """The positions, then the tokens, that carry at least LEAST_SHARE of a dimension's variance.

    Such as ``("position 0 ('<bos>')", 0.806)`` and ``("token ','", 0.11)``. A token that stands
    nowhere but at a position that is named is not named again.

    Args:
        token_text: the text of the token at a place.
    """
    named = {
        position: share for position, share in enumerate(carried.positions) if share >= LEAST_SHARE
    }
    found = []
    for position, share in named.items():
        place = carried.places[position]
        text = "" if place is None else f" ({token_text(place)!r})"
        found.append((f"position {position}{text}", share))
    for token in carried.tokens:
        elsewhere = token.share - named.get(token.place.position, 0.0)
        if min(token.share, elsewhere) >= LEAST_SHARE:
            found.append((f"token {token_text(token.place)!r}", token.share))
    return found


def carriers_in_words(carried: Carried, token_text: Callable[[Place], str]) -> str:
    """:func:`named_carriers` as one cell of a table."""
    named = named_carriers(carried, token_text)
    return (
        ", ".join(f"{name}: {share:.1%}" for name, share in named) or "no position, no token alone"
    )


def _inverse(ratio: float) -> float:
    return 1.0 / ratio if ratio > 0 else math.inf


def outlier_table(
    outliers: Sequence[Outlier], name_token: Callable[[Place], str], limit: int = 20
) -> str:
    """A plain-text table of the first ``limit`` outliers of one sequence, columns aligned.

    ``name_token`` puts the place of the token that carries most of a dimension into words.
    """
    rows = [outlier_row(one, f"{name_token(one.top)}: {one.top_share:.1%}") for one in outliers]
    return table(OUTLIER_HEADER, rows, limit)
