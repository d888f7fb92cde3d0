"""Fit Tokens."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..core.edit.token_fit import METHODS, FitResult, fit_tokens
from ..core.record.record import CONTENT_ROLES, Record, role_mask
from .conditioning import entries_of, read_entry, write_entry
from .node import Node
from .numbers import check_number
from .report import shown_report
from .types import CATEGORY

LARGEST = 16384


class FitTokens(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabFitTokens",
            display_name="Fit Tokens",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Shortens a conditioning to a number of tokens: cut off, sampled or "
            "pooled. Shorter ones pass through untouched.",
            search_aliases=["token budget", "truncate conditioning", "token pooling", "too long"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="From any text encoder, of any width. Every entry is fitted by itself.",
                ),
                io.Int.Input(
                    "max_tokens",
                    default=512,
                    min=1,
                    max=LARGEST,
                    tooltip="The most tokens an entry may have.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="truncate",
                    tooltip="truncate: the first tokens. interpolate: linear samples; tokens "
                    "between them are lost. pool: means over equal spans; every token counts. "
                    "attention pool: like pool, but each span gathers the tokens most like it; "
                    "those unlike every span are lost.",
                ),
            ],
            outputs=[io.Conditioning.Output("conditioning", display_name="conditioning")],
        )

    @classmethod
    def validate_inputs(cls, max_tokens=None) -> bool | str:
        return check_number("max_tokens", max_tokens, 1, LARGEST)

    @classmethod
    def execute(cls, conditioning, max_tokens, method) -> io.NodeOutput:
        fitted, notes = [], []
        for entry in entries_of(conditioning):
            hidden, record = read_entry(entry)
            selected = role_mask(record.roles, CONTENT_ROLES)
            result = fit_tokens(hidden, max_tokens, method, selected)
            if result.hidden is hidden:
                fitted.append(entry)
                notes.append(f"fit: {len(record)} tokens fit into {max_tokens}, nothing changed")
                continue
            note = _note(record, method, result)
            is_old = (hidden[:, result.sources] == result.hidden).all(-1).all(0).tolist()
            new_record = _shortened(record, result.sources, is_old).with_edit(note)
            fitted.append(write_entry(entry, result.hidden, new_record, result.sources))
            notes.append(note)
        return io.NodeOutput(fitted, ui=shown_report("\n\n".join(notes)))


def _shortened(record: Record, sources: list[int], is_old: list[bool]) -> Record:
    """The record of the tokens left; one made from several has no id of its own."""
    taken = record.take(sources)
    ids = (number if old else -1 for number, old in zip(taken.ids, is_old, strict=True))
    return replace(taken, ids=tuple(ids))


def _note(record: Record, method: str, result: FitResult) -> str:
    parts = [f"fit: {method}, {len(record)} to {len(result.sources)} tokens"]
    if result.padding:
        parts.append(f"{result.padding} padding tokens left out")
    if result.sinks:
        parts.append(f"sinks kept: {record.names(result.sinks)}")
    parts.append(f"{result.lost} tokens lost" if result.lost else "no token lost")
    return ", ".join(parts)
