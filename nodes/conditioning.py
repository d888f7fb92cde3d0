"""Reading and replacing the states of CONDITIONING entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..core.checks import as_states
from ..core.measure.reference import Reference
from ..core.outliers.detection import default_reference
from ..core.record.record import (
    CONTENT_ROLES,
    RECORD_KEY,
    UNKNOWN_SOURCE,
    Record,
    Role,
    current_record,
    role_mask,
)


def entries_of(conditioning: Any, what: str = "the conditioning") -> list:
    """``conditioning`` itself, after a look at its form; ``what`` names it in messages.

    Raises:
        ValueError: if it is no list of [states, options].
    """
    if not isinstance(conditioning, (list, tuple)):
        raise ValueError(
            f"{what} is {type(conditioning).__name__}, not a list of entries: connect a text "
            "encoder's output"
        )
    for number, entry in enumerate(conditioning, 1):
        pair = isinstance(entry, (list, tuple)) and len(entry) == 2
        if not pair or not isinstance(entry[1], Mapping):
            raise ValueError(
                f"entry {number} of {what} is not states and their options: look at the node that "
                "made it, or connect a text encoder's output"
            )
    return conditioning


def read_entry(entry: list, what: str = "the conditioning") -> tuple[Tensor, Record]:
    """The (batch, tokens, width) states of one entry and its record (a plain one if it has none).

    Raises:
        ValueError: if the entry holds no states of that shape; ``what`` names it.
    """
    if not isinstance(entry[0], Tensor):
        raise ValueError(f"{what} holds no tensor: connect a text encoder's output")
    hidden = as_states(entry[0], what)
    return hidden, current_record(entry[1].get(RECORD_KEY), hidden)


def positions_of(record: Record, roles: Iterable[Role] = CONTENT_ROLES) -> list[int]:
    """Positions of the tokens with one of the ``roles``: by default all but padding.

    Raises:
        ValueError: if there is none.
    """
    kept = role_mask(record.roles, roles).nonzero().flatten().tolist()
    if not kept:
        raise ValueError(
            f"the conditioning of {record.source} holds padding only: encode a prompt that does "
            "not begin with <|endoftext|>"
        )
    return kept


def reference_for(hidden: Tensor, record: Record) -> Reference | None:
    """The published Qwen3-4B figures for states they may be of: width 2560, at layer -2 or where
    nothing is known of the encoder (another pack's or a stock node's conditioning)."""
    unknown = record.layer is None and record.source == UNKNOWN_SOURCE
    return default_reference(hidden.shape[-1], None) if record.layer == -2 or unknown else None


def require_reference(reference: Any, what: str = "reference") -> Reference:
    """``reference``; ValueError, which names the input ``what``, if it is none."""
    if not isinstance(reference, Reference):
        raise ValueError(
            f"{what} is {type(reference).__name__}, not reference statistics: connect Build or "
            "Load Reference Stats"
        )
    return reference


def reference_remarks(
    reference: Reference | None, record: Record, has_sinks: bool, by_dimension: bool = True
) -> list[str]:
    """What may be wrong with measuring the states of ``record`` against ``reference``, one line
    each, as :meth:`.Reference.remarks`."""
    if reference is None:
        return []
    states = record.fingerprint, record.source
    return reference.remarks(record.layer, has_sinks, *states, by_dimension)


def origin(record: Record) -> str:
    """The encoder and its layer, in words."""
    return f"{record.source} at {record.layer_in_words}"


def partners(text: list, other: list, name: str) -> list:
    """One entry of ``other`` for each text entry; a single one serves them all.

    Raises:
        ValueError: if their numbers do not fit, or there is no text entry.
    """
    entries_of(text, "text"), entries_of(other, name)
    if not text or len(other) not in (1, len(text)):
        raise ValueError(
            f"the text side has {len(text)} conditioning entries and {name} has {len(other)}: give "
            f"at least one text entry, and one {name} entry or one for each text entry"
        )
    return other * len(text) if len(other) == 1 else other


def write_entry(
    entry: list,
    hidden: Tensor,
    record: Record,
    kept: Sequence[int] | None = None,
    added: Tensor | None = None,
) -> list:
    """A new entry with other states, and the host's per-token ``attention_mask`` for them.

    Args:
        kept: for each of the first tokens, the position of the old one that it is or stands for;
            all, in their order, if not given.
        added: the mask of the tokens behind them; these are seen if it is not given.
    """
    options = {**entry[1], RECORD_KEY: record.sealed(hidden)}
    mask = attention_mask(entry, range(entry[0].shape[1]) if kept is None else kept)
    if mask is None and added is not None:
        mask = added.new_ones(1, hidden.shape[1] - added.shape[-1])
    if mask is None:
        options.pop("attention_mask", None)
        return [hidden, options]
    more = hidden.shape[1] - mask.shape[-1]
    if added is None:
        options["attention_mask"] = functional.pad(mask, (0, more), value=1)
    else:
        parts = mask.expand(len(added), -1), added.to(mask).expand(len(mask), -1)
        options["attention_mask"] = torch.cat(parts, -1)
    return [hidden, options]


def attention_mask(entry: list, positions: Sequence[int]) -> Tensor | None:
    """The host's (batch, tokens) mask of the tokens at ``positions``; None if there is none, or one
    of more tokens than the states have."""
    mask = entry[1].get("attention_mask")
    missing = -1 if mask is None else entry[0].shape[1] - mask.shape[-1]
    if missing < 0:
        return None
    # Conditioning Concat puts tokens behind those that the mask tells of.
    return functional.pad(mask, (0, missing), value=1)[..., list(positions)]
