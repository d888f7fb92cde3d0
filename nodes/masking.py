"""Outlier Mask."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..core.checks import require_choice, require_flag
from ..core.dit.view import DitChange, dit_change
from ..core.edit.masking import MODES, SINK_MODES, MaskResult, kept_tokens, mask_states
from ..core.outliers.detection import DIRECTIONS, ratio_in_words
from ..core.outliers.table import outlier_table
from ..core.record.record import CONTENT_ROLES, Record, Role, role_mask
from ..core.tables import enumerate_some
from .conditioning import (
    entries_of,
    reference_for,
    reference_remarks,
    write_entry,
)
from .layer_references import connected_references, more_references_input, of_layer
from .node import Node
from .numbers import check_threshold, threshold_input
from .report import shown_report
from .tapped_entries import AUTO, read_tapped, taps_input
from .types import CATEGORY, Reference

SELECTIONS = ("auto", "all", "image", "text")
SUGGESTION = "suggested_value"
"""What is sent to the page beside the report: an input and the value that would help."""


class OutlierMask(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabOutlierMask",
            display_name="Outlier Mask",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Finds dimensions whose spread is out of line with a reference, or sink "
            "tokens, and masks them. The report lists outliers in both directions, the token that "
            "carries each, and how much of the change the image model sees.",
            search_aliases=[
                "artifact",
                "glitch",
                "dimension 396",
                "massive activation",
                "attention sink",
                "mask embedding",
            ],
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="From any text encoder, of any width."
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="zero",
                    tooltip="zero: set the dimension to 0. clamp: limit its values to reference "
                    "mean +- threshold x reference std. scale: bring its spread to the limit, "
                    "about its mean. mean: set it to the reference mean. drop sinks: remove sink "
                    "tokens. sink to mean: replace them by the mean of the other tokens.",
                ),
                threshold_input(),
                io.Combo.Input(
                    "direction",
                    options=list(DIRECTIONS),
                    default="loud",
                    tooltip="Which outliers are masked. Both directions are always reported.",
                ),
                io.Combo.Input(
                    "tokens",
                    options=list(SELECTIONS),
                    default="auto",
                    tooltip="Which tokens are measured and masked. auto: image tokens where there "
                    "are any, else all.",
                ),
                io.Boolean.Input(
                    "exclude_sinks",
                    default=False,
                    tooltip="Judge dimensions by statistics without attention-sink tokens.",
                ),
                Reference.Input(
                    "reference",
                    optional=True,
                    tooltip="What is normal. Without one: the published Qwen3-4B figures for "
                    "width 2560 at layer -2, else the median std of these very states.",
                ),
                taps_input(),
                more_references_input(),
            ],
            outputs=[
                io.Conditioning.Output("conditioning", display_name="conditioning"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, threshold=None, more_references=None) -> bool | str:
        """``more_references`` is not looked at: the host hands it over whether asked to or not."""
        return check_threshold(threshold)

    @classmethod
    def execute(
        cls,
        conditioning,
        mode,
        threshold,
        direction,
        tokens,
        exclude_sinks,
        reference=None,
        taps=AUTO,
        more_references=None,
    ) -> io.NodeOutput:
        masked, reports, verdicts, other_ways, any_masked = [], [], [], [], False
        exclude_sinks = require_flag("exclude_sinks", exclude_sinks)
        require_choice("tokens", tokens, SELECTIONS)
        references = connected_references(reference, more_references)
        for entry in entries_of(conditioning):
            hidden, record = read_tapped(entry, taps)
            chosen, selected = _select(record, tokens)
            settings = {
                "mode": mode,
                "threshold": threshold,
                "direction": direction,
                "selected": selected,
                "exclude_sinks": exclude_sinks,
            }
            if record.taps is not None:
                from .tap_masking import mask_by_tap

                done = mask_by_tap(hidden, record, references, chosen, settings)
                masked.append(write_entry(entry, done.hidden, done.record, done.kept))
                reports.append(done.report)
                verdicts.append(done.verdict)
                other_ways.append(done.other_way)
                any_masked |= done.any_masked
                continue
            measured = of_layer(references, record) or reference_for(hidden, record)
            result = mask_states(hidden, **settings, reference=measured)
            change = dit_change(kept_tokens(hidden, result.kept), result.hidden)
            unchanged = not bool(change.changed.any()) and torch.equal(result.hidden, hidden)
            did = _what_was_done(result, mode, direction, record, unchanged)
            new_record = record.take(result.kept)
            if not unchanged:
                new_record = new_record.with_edit(
                    f"outlier mask: {mode}, threshold {threshold:g}, {direction}, tokens {chosen}: "
                    f"{did}"
                )
            masked.append(write_entry(entry, result.hidden, new_record, result.kept))
            other_ways.append(_other_way(result, mode))
            any_masked |= bool(result.masked)
            sinks = result.stats.sinks.tokens > 0
            remarks = reference_remarks(measured, record, sinks)
            reports.append(
                _report(
                    hidden, record, chosen, selected, result, did, other_ways[-1], remarks, change
                )
            )
            verdicts.append(
                _only_the_other_way(result, other_ways[-1])
                if other_ways[-1]
                else f"{_done_in_short(result, mode, did, hidden.shape[-1])}; {change.in_short()}"
            )
        report = "\n\n".join(reports)
        shown = shown_report(report, _verdict(verdicts, conditioning))
        if found := next(filter(None, other_ways), None):
            shown[SUGGESTION] = ["direction", "both" if any_masked else found]
        return io.NodeOutput(masked, report, ui=shown)


def _select(record: Record, tokens: str) -> tuple[str, Tensor]:
    """The selection's own name ("auto" resolved) and its (tokens,) mask."""
    if tokens == "auto":
        tokens = "image" if Role.IMAGE in record.roles else "all"
    roles = {"all": CONTENT_ROLES, "image": (Role.IMAGE,), "text": (Role.TEXT,)}[tokens]
    selected = role_mask(record.roles, roles)
    if not bool(selected.any()):
        raise ValueError(
            f"tokens '{tokens}' selects nothing: this conditioning ({record.source}) has none of "
            "them. Choose 'all' or 'auto'"
        )
    return tokens, selected


def _what_was_done(
    result: MaskResult, mode: str, direction: str, record: Record, unchanged: bool
) -> str:
    if mode in SINK_MODES:
        if not result.touched_sinks:
            return "no sink token in the selection, nothing changed"
        verb = "dropped" if mode == "drop sinks" else "set to the mean of the others:"
        return f"{verb} token {', '.join(record.describe(i) for i in result.touched_sinks)}"
    if not result.masked:
        return f"no {'' if direction == 'both' else direction + ' '}outlier, nothing changed"
    if unchanged:
        return f"{mode} on the outliers found changes no value: they lie within its limits"
    shown = enumerate_some([str(dimension) for dimension in result.masked], 12)
    return f"{mode} on {len(result.masked)} dimensions: {shown}"


def _done_in_short(result: MaskResult, mode: str, did: str, width: int) -> str:
    """What was done, with numbers instead of names."""
    if mode in SINK_MODES and result.touched_sinks:
        number = len(result.touched_sinks)
        what = f"{number} sink token{'' if number == 1 else 's'}"
        return f"{what} {'dropped' if mode == 'drop sinks' else 'set to the mean of the others'}"
    if result.masked:
        return f"{len(result.masked)} of {width:,} dimensions masked"
    return did


def _verdict(verdicts: list[str], conditioning: list) -> str:
    """The first entry's, and that there are more."""
    if not verdicts:
        return "no entry: this conditioning is empty"
    more = len(conditioning) - 1
    return verdicts[0] + (f" (and {more} more entries)" if more else "")


def _other_way(result: MaskResult, mode: str) -> str | None:
    """The direction of all outliers where nothing was masked because another was asked for."""
    outliers = result.measured.outliers
    if mode in SINK_MODES or result.masked or not outliers:
        return None
    return outliers[0].direction


def _only_the_other_way(result: MaskResult, found: str) -> str:
    """The report's first line where nothing was masked and all outliers are ``found``."""
    asked = {"loud": "quieter", "quiet": "louder"}[found]
    words = {"loud": "louder", "quiet": "quieter"}
    count = len(result.measured.outliers)
    number = "1 dimension is" if count == 1 else f"{count} dimensions are"
    return (
        f"nothing was masked: {number} over {result.measured.threshold:g}x {words[found]} than the "
        f"reference and none {asked}; set direction to {found} to mask what was found"
    )


def _report(
    hidden: Tensor,
    record: Record,
    chosen: str,
    selected: Tensor,
    result: MaskResult,
    did: str,
    other_way: str | None,
    remarks: list[str],
    change: DitChange,
) -> str:
    measured = result.measured
    sinks = result.stats.sink_tokens.any(0).nonzero().flatten().tolist()
    times = f"{measured.threshold:g}x"
    lines = [
        *([_only_the_other_way(result, other_way)] if other_way else []),
        f"{record.source}, {record.layer_in_words}: "
        f"{hidden.shape[1]} tokens x {hidden.shape[2]} dimensions; "
        f"measured on {int(selected.sum())} ({chosen}) against {measured.expected.name}",
        *remarks,
        "sink tokens: " + (", ".join(record.describe(i) for i in sinks) or "none"),
    ]
    if int(selected.sum()) < 2:
        lines.append("one token has no spread: there is nothing to compare")
    elif measured.outliers:
        loud = sum(outlier.direction == "loud" for outlier in measured.outliers)
        farthest = measured.outliers[0]
        lines.append(
            f"{loud} dimensions over {times} louder, {len(measured.outliers) - loud} over "
            f"{times} quieter than the reference; farthest is dimension "
            f"{farthest.dimension}, {ratio_in_words(farthest.judged_ratio)}"
        )
        lines.append(
            outlier_table(measured.outliers, lambda place: record.describe(place.position))
        )
    else:
        lines.append(f"no dimension is over {times} louder or quieter than the reference")
    removed = hidden.shape[1] - len(result.kept)
    lines.append(did)
    lines.append(change.summary() + (f"; {removed} tokens are gone" if removed else ""))
    return "\n".join(lines)
