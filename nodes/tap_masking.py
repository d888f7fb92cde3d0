"""Outlier Mask of a conditioning that holds several layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.dit.view import dit_change
from ..core.edit.masking import SINK_MODES, kept_tokens
from ..core.edit.tap_masking import TapMaskResult, mask_taps
from ..core.measure.reference import Reference
from ..core.outliers.detection import ratio_in_words
from ..core.record.record import Record
from ..core.tables import enumerate_some, table
from .conditioning import reference_remarks
from .layer_references import of_taps
from .tapped_entries import known_by_width


class MaskedTaps(NamedTuple):
    """Attributes:
    hidden, record, kept: of the new entry.
    report, verdict: what was found and done.
    other_way: the direction of all outliers where nothing was masked because another was asked for.
    any_masked: whether a dimension was masked.
    """

    hidden: Tensor
    record: Record
    kept: list[int]
    report: str
    verdict: str
    other_way: str | None
    any_masked: bool


def mask_by_tap(
    hidden: Tensor,
    record: Record,
    references: tuple[Reference, ...],
    chosen: str,
    settings: Mapping[str, Any],
) -> MaskedTaps:
    """Mask one entry.

    Args:
        chosen: the tokens' name.
        settings: of :func:`core.edit.masking.mask_states`.
    """
    own = of_taps(references, record)
    done = mask_taps(hidden, record.taps, own, **settings)
    mode, direction, threshold = (settings[name] for name in ("mode", "direction", "threshold"))
    did = _what_was_done(done, record, mode, direction)
    unchanged = torch.equal(done.hidden, hidden)
    edit = f"outlier mask by tap: {mode}, threshold {threshold:g}, {direction}, tokens {chosen}"
    new_record = record.take(done.kept)
    if not unchanged:
        new_record = new_record.with_edit(f"{edit}: {did}")
    change = dit_change(kept_tokens(hidden, done.kept), done.hidden)
    gone = hidden.shape[1] - len(done.kept)
    lines = [
        f"{record.source}, {record.layer_in_words}: {hidden.shape[1]} tokens x "
        f"{len(record.taps)} taps of {record.taps.width} dimensions; measured on "
        f"{int(settings['selected'].sum())} ({chosen})",
        *filter(None, [known_by_width(hidden, record)]),
        *_remarks(done, record, own),
        _table(done, record),
        did,
        change.summary("all taps together, whatever the token's length")
        + (f"; {gone} tokens are gone" if gone else ""),
    ]
    masked = any(result.masked for result in done.results)
    return MaskedTaps(
        done.hidden,
        new_record,
        done.kept,
        "\n".join(lines),
        f"{did}; {change.in_short()}",
        _other_way(done, mode, masked),
        masked,
    )


def _what_was_done(done: TapMaskResult, record: Record, mode: str, direction: str) -> str:
    if mode in SINK_MODES:
        if not done.touched_sinks:
            return "no sink token in the selection of any tap, nothing changed"
        names = enumerate_some(map(record.describe, done.touched_sinks), 6)
        if mode == "drop sinks":
            return f"dropped from all taps, as the sink of one: token {names}"
        return f"set to the mean of the others in the taps whose sink it is: token {names}"
    masked = [
        f"{record.taps.name(tap)}: {enumerate_some(map(str, result.masked), 6)}"
        for tap, result in enumerate(done.results)
        if result.masked
    ]
    if not masked:
        wanted = "" if direction == "both" else f"{direction} "
        return f"no {wanted}outlier in any tap, nothing changed"
    count = sum(len(result.masked) for result in done.results)
    dimensions = f"{count} dimension{'' if count == 1 else 's'}"
    return f"{mode} on {dimensions} ({enumerate_some(masked, 6)})"


def _other_way(done: TapMaskResult, mode: str, masked: bool) -> str | None:
    found = [one for result in done.results for one in result.measured.outliers]
    return None if mode in SINK_MODES or masked or not found else found[0].direction


def _table(done: TapMaskResult, record: Record) -> str:
    rows = []
    for tap, result in enumerate(done.results):
        outliers = result.measured.outliers
        loud = sum(one.direction == "loud" for one in outliers)
        farthest = "-"
        if outliers:
            one = outliers[0]
            farthest = (
                f"{one.dimension}, {ratio_in_words(one.judged_ratio)}; carried most by "
                f"{record.describe(one.top.position)}"
            )
        rows.append(
            (
                record.taps.name(tap),
                str(loud),
                str(len(outliers) - loud),
                str(len(result.masked)),
                ", ".join(map(str, result.touched_sinks)) or "-",
                farthest,
            )
        )
    header = ("tap", "loud", "quiet", "masked", "sinks changed", "farthest dimension")
    return table(header, rows, len(rows))


def _remarks(done: TapMaskResult, record: Record, references: list[Reference | None]) -> list[str]:
    lines: list[str] = []
    for tap, (result, reference) in enumerate(zip(done.results, references, strict=True)):
        sinks = result.measured.stats.sinks.tokens > 0
        lines += reference_remarks(reference, record.of_tap(tap), sinks)
    return list(dict.fromkeys(lines))
