"""Outlier Report of a conditioning that holds several layers."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..core.measure.dimension_stats import Place
from ..core.measure.reference import Reference
from ..core.outliers.tap_survey import (
    TapSurvey,
    survey_taps,
    tap_outlier_table,
    tap_survey_table,
    taps_in_words,
)
from ..core.record.record import CONTENT_ROLES, Record, role_mask
from ..core.tables import enumerate_some
from .conditioning import reference_remarks
from .layer_references import of_taps
from .tap_reading import TapReading
from .tapped_entries import known_by_width


def report_by_tap(
    hidden: Tensor,
    record: Record,
    references: tuple[Reference, ...],
    threshold: float,
    reading: TapReading | None,
) -> tuple[np.ndarray, str, str]:
    """Picture, section and verdict of one entry.

    Args:
        reading: the image model's first layers, if a MODEL is connected.
    """
    from ..core.draw.tap_heat_picture import tap_heat_picture

    keep = role_mask(record.roles, CONTENT_ROLES)
    keep = keep if bool(keep.any()) else None
    own = of_taps(references, record)
    survey = survey_taps(hidden, record.taps, own, threshold, keep)
    title = f"{record.source}, {record.layer_in_words}: {_tokens(hidden, record)}"
    section = "\n".join([title, *_lines(hidden, record, survey, own, reading)])
    return tap_heat_picture(survey, title), section, taps_in_words(survey)


def _lines(
    hidden: Tensor,
    record: Record,
    survey: TapSurvey,
    references: list[Reference | None],
    reading: TapReading | None,
) -> list[str]:
    def name_token(place: Place) -> str:
        of_batch = f" of sequence {place.prompt + 1}" if len(hidden) > 1 else ""
        return record.describe(place.position) + of_batch

    lines = [known_by_width(hidden, record)] if known_by_width(hidden, record) else []
    lines += _measured_against(record, survey, references)
    sinks = [name_token(Place(*place)) for place in survey.sinks.nonzero().tolist()]
    lines.append(f"sink tokens of at least one tap: {enumerate_some(sinks, 10) or 'none'}")
    if record.edits:
        lines.append(f"edits so far: {'; '.join(record.edits)}")
    if survey.surveys[0].stats.all.tokens < 2:
        return [*lines, "one token has no spread: there is nothing to compare"]
    more = [] if reading is None else [(f"{reading.kind}: {reading.column}", reading.values)]
    lines.append(tap_survey_table(survey, more))
    dimensions = survey.dimensions
    if not dimensions:
        return [*lines, "no dimension of any tap is out of line"]
    lines += ["", tap_outlier_table(survey, name_token)]
    if reading is not None:
        zeroed = hidden.clone()
        zeroed[..., dimensions] = 0
        seen = reading.change(hidden, zeroed).summary(reading.where)
        lines.append(f"if these {len(dimensions)} dimensions were zero: {seen}")
    else:
        lines.append("connect a MODEL to see what its own first layers leave of them")
    return lines


def _measured_against(
    record: Record, survey: TapSurvey, references: list[Reference | None]
) -> list[str]:
    """Which taps are measured against what, and what may be wrong with it."""
    lines = []
    for reference in {id(one): one for one in references if one is not None}.values():
        taps = [tap for tap, one in enumerate(references) if one is reference]
        names = ", ".join(map(record.taps.name, taps))
        lines.append(f"{names}: measured against {reference.name}")
        for tap in taps[:1]:
            sinks = survey.surveys[tap].stats.sinks.tokens > 0
            lines += reference_remarks(reference, record.of_tap(tap), sinks)
    if None in references:
        which = "every tap" if not any(references) else "every other tap"
        lines.append(f"{which}: measured against the median std of its own dimensions")
    return lines


def _tokens(hidden: Tensor, record: Record) -> str:
    return f"{hidden.shape[1]} tokens x {len(record.taps)} taps of {record.taps.width} dimensions"
