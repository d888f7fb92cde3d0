"""Normalize Embedding."""

from __future__ import annotations

import logging

import torch
from comfy_api.latest import io
from torch import Tensor

from ..core.checks import require_flag
from ..core.dit.view import dit_change
from ..core.edit.normalizing import METHODS, NEEDS_REFERENCE, NormalizeResult, normalize
from ..core.measure.reference import Reference as ReferenceStats
from ..core.record.record import CONTENT_ROLES, Record, role_mask
from .conditioning import entries_of, reference_for, reference_remarks, write_entry
from .layer_references import connected_references, more_references_input, of_layer, of_taps
from .node import Node
from .report import shown_report
from .tapped_entries import AUTO, read_tapped, taps_input
from .types import CATEGORY, Reference

log = logging.getLogger(__name__)

UNCHANGED = "normalize: nothing changed"


class Normalize(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabNormalize",
            display_name="Normalize Embedding",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Brings the states of a conditioning to the scale of reference statistics, "
            "or all of its tokens to one scale. Attention-sink tokens can stay as they are.",
            search_aliases=["rms norm", "standardize", "match statistics", "scale conditioning"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="From any text encoder, of any width. Every entry is normalized by its "
                    "own statistics.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="rms per token",
                    tooltip="global: mean and std of all values together become the reference's. "
                    "per dimension: each dimension's do, values limited to 3 std. hybrid: half of "
                    "each. rms per token: every token gets the same length.",
                ),
                Reference.Input(
                    "reference",
                    optional=True,
                    tooltip="What to aim at. Without one: rms per token takes the tokens' own "
                    "median, per dimension the median std of the dimensions; global and hybrid "
                    "take the published Qwen3-4B figures, which need keep_sinks off.",
                ),
                io.Boolean.Input(
                    "keep_sinks",
                    default=True,
                    tooltip="Leave attention-sink tokens untouched and out of the statistics. Off: "
                    "they are treated like all others.",
                ),
                taps_input(),
                more_references_input(),
            ],
            outputs=[io.Conditioning.Output("conditioning", display_name="conditioning")],
        )

    @classmethod
    def execute(
        cls,
        conditioning,
        method,
        keep_sinks,
        reference=None,
        taps=AUTO,
        more_references=None,
    ) -> io.NodeOutput:
        normalized, notes = [], []
        keep_sinks = require_flag("keep_sinks", keep_sinks)
        references = connected_references(reference, more_references)
        for entry in entries_of(conditioning):
            hidden, record = read_tapped(entry, taps)
            if record.taps is not None:
                hidden_after, note = _by_tap(hidden, record, method, keep_sinks, references)
                if note != UNCHANGED:
                    record = record.with_edit(note)
                normalized.append(write_entry(entry, hidden_after, record))
                notes.append(note)
                continue
            measured = _reference(of_layer(references, record), hidden, record, method, keep_sinks)
            selected = role_mask(record.roles, CONTENT_ROLES)
            result = normalize(hidden, method, measured, keep_sinks, selected)
            note = _note(hidden, record, method, result)
            # Sinks are on the same side of both here: no remark on them.
            by_dimension = method != "global"
            for remark in reference_remarks(measured, record, False, by_dimension):
                log.warning("Normalize Embedding: %s.", remark)
                note += f"; {remark}"
            if torch.equal(result.hidden, hidden):
                note = UNCHANGED
            else:
                record = record.with_edit(note)
            normalized.append(write_entry(entry, result.hidden, record))
            notes.append(note)
        return io.NodeOutput(normalized, ui=shown_report("\n\n".join(notes)))


def _reference(
    reference: ReferenceStats | None, hidden: Tensor, record: Record, method: str, keep_sinks: bool
) -> ReferenceStats | None:
    """The connected reference; without one the published figures, where they fit the method."""
    if reference is not None:
        return reference
    if method not in NEEDS_REFERENCE:
        return None
    published = reference_for(hidden, record)
    if published is not None and keep_sinks:
        # Their spread is that of the sinks, which stay out of the states' own here.
        raise ValueError(
            f"method '{method}' needs a reference without sink tokens, and the published Qwen3-4B "
            "figures include them: connect Build Reference Stats, turn keep_sinks off, or choose "
            "'rms per token'"
        )
    return published


def _note(hidden: Tensor, record: Record, method: str, result: NormalizeResult) -> str:
    sinks = ""
    if result.sinks:
        sinks = f", sinks kept: {record.names(result.sinks)}"
    seen = dit_change(hidden, result.hidden).summary()
    return f"normalize: {method} to {result.target}{sinks}; {seen}"


def _by_tap(
    hidden: Tensor,
    record: Record,
    method: str,
    keep_sinks: bool,
    references: tuple[ReferenceStats, ...],
) -> tuple[Tensor, str]:
    """Every tap normalized by its own statistics; the states and what was done."""
    taps = record.taps
    selected = role_mask(record.roles, CONTENT_ROLES)
    parts, targets, remarks = [], [], []
    for tap, (part, own) in enumerate(
        zip(taps.split(hidden), of_taps(references, record), strict=True)
    ):
        alone = record.of_tap(tap)
        needed = method in NEEDS_REFERENCE or bool(references)
        measured = _reference(own if needed else None, part, alone, method, keep_sinks)
        result = normalize(part, method, measured, keep_sinks, selected)
        parts.append(result.hidden)
        sinks = f", sinks kept: {record.names(result.sinks)}" if result.sinks else ""
        targets.append(f"{taps.name(tap)} to {result.target}{sinks}")
        remarks += reference_remarks(measured, alone, False, method != "global")
    for remark in dict.fromkeys(remarks):
        log.warning("Normalize Embedding: %s.", remark)
    normalized = taps.join(parts)
    if torch.equal(normalized, hidden):
        return hidden, UNCHANGED
    seen = dit_change(hidden, normalized).summary("all taps together, whatever the token's length")
    return normalized, "; ".join([f"normalize by tap: {method}", *targets, seen, *remarks])
