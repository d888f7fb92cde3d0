"""Blending one conditioning entry with another: the states, the record and the report."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.dit.caption_length import length_remarks
from ..core.dit.view import dit_change
from ..core.edit.blend_methods import require_own_alphas
from ..core.edit.blending import BlendResult, BlendSettings, blend_with
from ..core.edit.masking import kept_tokens
from ..core.edit.pairing import windows
from ..core.record.record import UNKNOWN_SOURCE, Record, Role
from ..core.record.token_values import parse_token_values, values_of_tokens
from .conditioning import attention_mask, origin, positions_of, read_entry, write_entry

log = logging.getLogger(__name__)

SWAPPED = "the connections look swapped:"
MOST_ALPHAS = 10
"""Most alphas of single tokens that a report lists."""


class TokenAlphas(NamedTuple):
    """The alphas of an entry's tokens, all of them, and how they were given."""

    of_tokens: tuple[float, ...]
    given: str


def token_alphas(text: list, given: str, settings: BlendSettings) -> list[TokenAlphas] | list[None]:
    """For every entry of ``text`` what ``given``, a list or words, says of its tokens; None where
    it says nothing.

    The errors are those of :mod:`core.record.token_values`.
    """
    parsed = parse_token_values("alphas", given)
    if parsed is None:
        return [None] * len(text)
    require_own_alphas(settings.method)
    records = [read_entry(entry, "the text side's conditioning")[1] for entry in text]
    values = values_of_tokens("alphas", parsed, records, settings.alpha)
    return [TokenAlphas(of_tokens, str(parsed)) for of_tokens in values]


def blend_entry(
    text: list, vision: list, settings: BlendSettings, alphas: TokenAlphas | None = None
) -> tuple[list, str]:
    """The ``text`` entry blended with the ``vision`` entry, and the report.

    The errors are those of :func:`core.edit.blending.blend`.
    """
    hidden, record = read_entry(text, "the text side's conditioning")
    other, other_record = read_entry(vision, "the vision side's conditioning")
    # Padding is no content: it is neither measured nor mixed.
    rows, other_rows = positions_of(record), positions_of(other_record)
    other_record = other_record.take(other_rows)
    if alphas is not None:
        settings = replace(settings, alphas=[alphas.of_tokens[i] for i in rows])
    result = blend_with(kept_tokens(hidden, rows), kept_tokens(other, other_rows), settings)
    result = result._replace(text_sinks=[rows[i] for i in result.text_sinks])
    states = _beside_padding(result.hidden, hidden, rows)
    own = states[:, : len(record)]
    did = _in_words(settings, result, alphas)
    edit = f"blend: {did}, with {origin(other_record)}"
    new_record = record
    if result.vision_tokens:
        new_record = _appended(record, other_record, result)
    elif not torch.equal(own, hidden):
        new_record = _mixed(record, other_record, (own != hidden).any(-1).any(0).tolist())
    if new_record is not record:
        new_record = new_record.with_edits_of(other_record, "vision").with_edit(edit)
    seen = dit_change(hidden, own).summary()
    if result.vision_tokens:
        seen = (
            f"what the DiT sees of the text's {len(record)} tokens does not change; it sees "
            f"{result.vision_tokens} more"
        )
    lines = [
        *swapped(record, other_record),
        f"text: {len(record)} tokens of {origin(record)}; "
        f"vision: {len(other_record)} tokens of {origin(other_record)}",
        *_sides_differ(record, other_record),
        *_sink_remarks(record, other_record, result),
        *_no_spread(settings, len(rows), len(other_rows)),
        *_what_was_done(settings, result),
        *_own_alphas(record, settings, alphas),
        *length_remarks(len(new_record)),
        seen,
    ]
    added = None
    if result.vision_tokens:
        added = attention_mask(vision, [other_rows[i] for i in _stand_for(other_record, result)])
    entry = write_entry(text, states, new_record, added=added)
    return entry, "\n".join(lines)


def _beside_padding(blended: Tensor, hidden: Tensor, rows: list[int]) -> Tensor:
    """``blended``, which begins with the tokens ``rows`` of ``hidden``, with its other tokens put
    back; itself where there are none."""
    if len(rows) == hidden.shape[1]:
        return blended
    own = hidden.clone()
    own[:, rows] = blended[:, : len(rows)]
    return torch.cat([own, blended[:, len(rows) :]], dim=1)


def swapped(text: Record, other: Record, name: str = "vision") -> list[str]:
    """The first line of a report on inputs that look exchanged.

    The text side then has image tokens, and the side called ``name`` none that a record tells of.
    """
    if Role.IMAGE not in text.roles or Role.IMAGE in other.roles:
        return []
    images = text.roles.count(Role.IMAGE)
    return [
        f"{SWAPPED} the text side has {images} image tokens and the {name} side none; exchange "
        f"text and {name}"
    ]


def blend_verdict(reports: list[str]) -> str:
    """What the first report comes to: a swap, if there is one, and what the DiT sees."""
    if not reports:
        return "no entry: this conditioning is empty"
    lines = reports[0].split("\n")
    swap = [line for line in lines if line.startswith(SWAPPED)]
    more = f" (of {len(reports)}, the first)" if reports[1:] else ""
    return "; ".join([*swap, lines[-1]]) + more


def warn_of_swap(node: str, reports: list[str]) -> None:
    """Log it once, in the name of the ``node``, where one of its reports says so."""
    lines = "\n".join(reports).split("\n")
    line = next((line for line in lines if line.startswith(SWAPPED)), None)
    if line:
        log.warning("%s: %s.", node, line)


def _mixed(record: Record, other: Record, changed: list[bool]) -> Record:
    """The record of states into which ``other`` went: no longer of one layer or one model."""
    theirs = set(other.token_layers())
    layers = [
        None if moved and theirs != {layer} else layer
        for layer, moved in zip(record.token_layers(), changed, strict=True)
    ]
    mixed = record.with_layers(layers)
    if record.fingerprint != other.fingerprint:
        mixed = replace(mixed, fingerprint="")
    if record.source != other.source:
        mixed = replace(mixed, source=f"{record.source} blended with {other.source}")
    return mixed


def _in_words(settings: BlendSettings, result: BlendResult, alphas: TokenAlphas | None) -> str:
    """The settings that had a part in it, for the record."""
    parts = [settings.method]
    if settings.method != "append":
        parts.append(f"alpha {settings.alpha:g}")
    if alphas is not None:
        parts.append(f"alphas ({alphas.given})")
    if settings.method == "graduated":
        parts.append(f"start_alpha {settings.start_alpha:g}, curve {settings.curve}")
    parts.append(f"match {settings.match}")
    if result.vision_tokens < result.vision_used and settings.method == "append":
        parts.append(f"{result.vision_used} vision tokens pooled to {result.vision_tokens}")
    if not settings.keep_sinks:
        parts.append("sinks blended too")
    return ", ".join(parts)


def _appended(record: Record, other: Record, result: BlendResult) -> Record:
    """The record of the text's tokens followed by the vision side's ordinary tokens.

    A pooled token stands for several: it has no id, and the text and role of the middle one.
    """
    ordinary = other.take(_stand_for(other, result))
    if result.vision_tokens < result.vision_used:
        ordinary = replace(ordinary, ids=(-1,) * len(ordinary))
    joined = record.followed_by(ordinary)
    if record.fingerprint != other.fingerprint:
        joined = replace(joined, fingerprint="")
    return joined


def _stand_for(other: Record, result: BlendResult) -> list[int]:
    """For each token that was appended, the position of the one of ``other`` that it is, or of the
    middle one of those that were pooled."""
    ordinary = [i for i in range(len(other)) if i not in result.vision_sinks]
    if result.vision_tokens == len(ordinary):
        return ordinary
    spans = windows("area", len(ordinary), result.vision_tokens)
    return [ordinary[i] for i in (spans.sum(1) // 2).tolist()]


def _sides_differ(text: Record, vision: Record) -> list[str]:
    """What the report says of sides from different layers or models."""
    lines = []
    known = UNKNOWN_SOURCE not in (text.source, vision.source)
    if known and set(text.token_layers()) != set(vision.token_layers()):
        lines.append(
            f"the sides are of different layers: {text.layer_in_words} and {vision.layer_in_words}"
        )
    unknown = [
        side for side, record in (("text", text), ("vision", vision)) if not record.fingerprint
    ]
    if unknown:
        sides = "both sides" if len(unknown) == 2 else f"the {unknown[0]} side"
        lines.append(f"whether the sides come from one model is unknown: {sides} does not say")
    elif text.fingerprint != vision.fingerprint:
        names = [text.source, vision.source]
        if names[0] == names[1]:
            names = [f"{r.source} (fingerprint {r.fingerprint})" for r in (text, vision)]
        lines.append(f"the sides come from different models: {names[0]} and {names[1]}")
    return lines


def _sink_remarks(text: Record, vision: Record, result: BlendResult) -> list[str]:
    lines = []
    for side, record, sinks in (
        ("text", text, result.text_sinks),
        ("vision", vision, result.vision_sinks),
    ):
        if sinks:
            verb = "passed through unblended" if side == "text" else "left out"
            lines.append(f"{side} sink tokens {verb}: {record.names(sinks)}")
    return lines


def _no_spread(settings: BlendSettings, tokens: int, other_tokens: int) -> list[str]:
    """A remark where a dimension's spread over tokens is wanted of a single token."""
    measured = [
        name
        for name in (f"match '{settings.match}'", f"method '{settings.method}'")
        if "per dimension" in name or "hybrid" in name
    ]
    if not measured or min(tokens, other_tokens) > 1:
        return []
    side = "text" if tokens == 1 else "vision"
    return [
        f"{measured[0]} measures each dimension over tokens, and the {side} side has only one: its "
        "spread counts as 0; 'rms per token' does not need it"
    ]


def _own_alphas(record: Record, settings: BlendSettings, alphas: TokenAlphas | None) -> list[str]:
    """A line for each of the first alphas that are not ``alpha``: whose it is."""
    tokens: dict[float, list[int]] = {}
    for position, alpha in enumerate(alphas.of_tokens if alphas else ()):
        if alpha != settings.alpha:
            tokens.setdefault(alpha, []).append(position)
    lines = [f"alpha {alpha:g}: {record.names(found)}" for alpha, found in tokens.items()]
    more = len(lines) - MOST_ALPHAS
    return [*lines[:MOST_ALPHAS], *([f"and {more} other alphas"] if more > 0 else [])]


def _what_was_done(settings: BlendSettings, result: BlendResult) -> list[str]:
    lines = [f"{result.vision_used} vision tokens used, {result.vision_lost} lost"]
    if result.text_unblended:
        lines.append(f"{result.text_unblended} text tokens had no vision token left to mix with")
    low, high = result.shares
    if low != high:
        lines.append(f"the share of the vision side is {low:.3g} to {high:.3g}, token by token")
    if settings.method == "append":
        lines.append(f"append: alpha {settings.alpha:g} is not used")
        if result.vision_tokens < result.vision_used:
            lines.append(
                f"{result.vision_used} vision tokens were pooled to {result.vision_tokens} to keep "
                "within max_tokens"
            )
    return lines
