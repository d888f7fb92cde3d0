"""Apply Concept."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from comfy_api.latest import io
from torch import Tensor

from ..core.checks import require_choice, require_flag
from ..core.concept.applying import (
    ADD,
    HIGHEST_STRENGTH,
    LOWEST_STRENGTH,
    MODES,
    ConceptResult,
    apply_concept,
)
from ..core.dit.view import dit_change
from ..core.record.record import CONTENT_ROLES, Record, Role, role_mask
from ..core.tables import table
from .concept_file import require_concept
from .conditioning import entries_of, origin, write_entry
from .node import Node
from .numbers import check_number
from .report import shown_report
from .tapped_entries import read_tapped
from .types import CATEGORY, Concept

log = logging.getLogger(__name__)

SELECTIONS = {
    "auto": (Role.TEXT, Role.IMAGE),
    "all": CONTENT_ROLES,
    "image": (Role.IMAGE,),
    "text": (Role.TEXT,),
}


class ApplyConcept(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabApplyConcept",
            display_name="Apply Concept",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Adds a concept to a prompt, amplifies what the prompt has of it, or takes "
            "it out. A strength means the same for every prompt.",
            search_aliases=[
                "concept slider",
                "steer",
                "steering vector",
                "control vector",
                "remove concept",
                "erase concept",
                "negative prompt",
            ],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="Of the text encoder that the concept is of, at the same layer; from "
                    "any node. Every entry is moved.",
                ),
                Concept.Input("concept", tooltip="From Concept Direction or Load Concept."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=ADD,
                    tooltip="add: every token moves towards the concept by the same share of its "
                    "length. amplify: what each token has of it becomes 1 + strength times as "
                    "much. remove: 1 - strength times as much, so 1 takes it out.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=LOWEST_STRENGTH,
                    max=HIGHEST_STRENGTH,
                    step=0.1,
                    tooltip="add: 1 changes a token, after RMSNorm, by as much as the concept's "
                    "own prompts differ on average; Concept Direction's report says how much that "
                    "is. Below 0: away from it. 0 changes nothing.",
                ),
                io.Combo.Input(
                    "tokens",
                    options=list(SELECTIONS),
                    default="auto",
                    tooltip="Which tokens move. auto: text and image tokens, not the template. "
                    "all: the template too.",
                ),
                io.Boolean.Input(
                    "keep_sinks",
                    default=True,
                    tooltip="Leave attention-sink tokens as they are.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("conditioning", display_name="conditioning"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, strength=None) -> bool | str:
        return check_number("strength", strength, LOWEST_STRENGTH, HIGHEST_STRENGTH)

    @classmethod
    def execute(cls, conditioning, concept, mode, strength, tokens, keep_sinks) -> io.NodeOutput:
        require_concept(concept)
        require_choice("tokens", tokens, SELECTIONS)
        keep_sinks = require_flag("keep_sinks", keep_sinks)
        moved, reports = [], []
        for entry in entries_of(conditioning):
            hidden, record = read_tapped(entry)
            if record.taps is None and hidden.shape[-1] == concept.dimensions:
                record = replace(record, taps=concept.taps)
            layers = _layers(record)
            parts = concept.parts_for(hidden.shape[-1], record.taps, layers)
            selected = _selected(record, tokens)
            whole = role_mask(record.roles, CONTENT_ROLES)
            result = apply_concept(
                hidden, parts, mode, strength, selected, whole, keep_sinks, record.taps
            )
            states = record.fingerprint, record.source
            remarks = concept.remarks(record.taps, layers, *states)
            for remark in remarks:
                log.warning("Apply Concept: %s.", remark)
            words = f"{mode} at strength {strength:g}, tokens {tokens}: {concept.name}"
            if not torch.equal(result.hidden, hidden):
                record = record.with_edit("; ".join([f"concept: {words}", *remarks]))
            moved.append(write_entry(entry, result.hidden, record))
            change = dit_change(hidden, result.hidden)
            where = "after RMSNorm"
            if record.taps is not None:
                where = "all taps together, whatever the token's length"
            kept = [f"sinks kept: {record.names(result.sinks)}"] if result.sinks else []
            lines = [
                f"{mode} at strength {strength:g}: {change.in_short()}",
                words,
                f"{origin(record)}: {int(selected.sum())} of {len(record)} tokens",
                *kept,
                *remarks,
                *_components(hidden, result, record),
                change.summary(where),
            ]
            reports.append("\n".join(lines))
        report = "\n\n".join(reports)
        return io.NodeOutput(moved, report, ui=shown_report(report or "no entry"))


def _layers(record: Record) -> list[int | None]:
    """The layer of each tap."""
    if record.taps is None:
        return [record.layer]
    return [record.of_tap(tap).layer for tap in range(len(record.taps))]


def _selected(record: Record, tokens: str) -> Tensor:
    selected = role_mask(record.roles, SELECTIONS[tokens])
    if not bool(selected.any()):
        raise ValueError(
            f"tokens '{tokens}' selects nothing: this conditioning ({record.source}) has none of "
            "them. Choose 'all'"
        )
    return selected


def _components(hidden: Tensor, result: ConceptResult, record: Record) -> list[str]:
    """What the moved tokens have of the concept, before and after."""
    scale = "0: the mean token without the concept; 1: the concept's own size more"
    if record.taps is None:
        [before], [after] = result.before, result.after
        if before is None:
            return ["every token that was chosen is a sink and stays as it is"]
        return [f"component, mean of the tokens: {before:.3f} before, {after:.3f} after ({scale})"]
    rows = []
    taps = record.taps
    pairs = zip(taps.split(hidden), taps.split(result.hidden), strict=True)
    for tap, (old, new) in enumerate(pairs):
        before, after = result.before[tap], result.after[tap]
        change = float(dit_change(old, new).relative_l2.mean())
        cells = ["-", "-"] if before is None else [f"{before:.3f}", f"{after:.3f}"]
        rows.append((taps.name(tap), *cells, f"{change:.4f}"))
    return [table(("tap", "component before", "after", "relative L2"), rows, len(rows)), scale]
