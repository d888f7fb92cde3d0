"""Entries of a conditioning that hold several layers, and the input that says how many."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io
from torch import Tensor

from ..core.checks import require_choice
from ..core.record.record import UNKNOWN_SOURCE, Record, Role
from ..core.taps.known import model_of_width
from ..core.taps.layout import Taps
from .conditioning import read_entry

AUTO = "auto"
COUNTS = (AUTO, "1", "2", "3", "4", "6", "8", "12", "13")


def taps_input() -> io.Combo.Input:
    """The ``taps`` input of every node that works tap by tap."""
    return io.Combo.Input(
        "taps",
        options=list(COUNTS),
        default=AUTO,
        optional=True,
        advanced=True,
        tooltip="How many layers lie side by side in each token's state: auto, 1, 2, 3, 4, 6, 8, "
        "12 or 13. auto: as its record says or, without one, as its width tells (Flux.2, Krea 2, "
        "Ideogram 4). 1: all dimensions as one layer.",
    )


def read_tapped(
    entry: list, taps: str = AUTO, what: str = "the conditioning"
) -> tuple[Tensor, Record]:
    """As :func:`.conditioning.read_entry`; the record's ``taps`` are what ``taps`` asks for.

    Where it has none of its own, tokens that the host's attention mask leaves out are padding.

    Raises:
        ValueError: if the width cannot be divided by so many taps.
    """
    require_choice("taps", taps, COUNTS)
    hidden, record = read_entry(entry, what)
    layout = _layout(hidden.shape[-1], record, taps, what)
    if layout == record.taps:
        return hidden, record
    if layout is None:
        return hidden, replace(record, taps=None)
    mask = entry[1].get("attention_mask")
    if record.source == UNKNOWN_SOURCE and mask is not None:
        seen = mask[0].bool().tolist()
        if len(seen) == len(record) and any(seen):
            roles = tuple(
                role if one else Role.PAD for role, one in zip(record.roles, seen, strict=True)
            )
            record = replace(record, roles=roles)
    return hidden, replace(record, taps=layout, layer=None, layers=())


def known_by_width(hidden: Tensor, record: Record) -> str:
    """A remark on taps that nothing but the width tells of; empty where there is more."""
    model = model_of_width(hidden.shape[-1])
    if model is None or record.source != UNKNOWN_SOURCE or record.taps != model.taps:
        return ""
    return f"{hidden.shape[-1]} dimensions are {model.name}'s: taken for its {len(model.taps)} taps"


def _layout(width: int, record: Record, taps: str, what: str) -> Taps | None:
    """The layout that ``taps`` asks for, None for one layer."""
    model = model_of_width(width)
    if taps == AUTO:
        unknown = record.source == UNKNOWN_SOURCE
        return model.taps if model and unknown and record.taps is None else record.taps
    count = int(taps)
    if count == 1:
        return None
    for known in (record.taps, model and model.taps):
        if known is not None and len(known) == count:
            return known
    if width % count:
        raise ValueError(
            f"{what} has {width} dimensions, which are not {count} taps of equal width: set taps "
            f"to {AUTO}"
        )
    return Taps((None,) * count, width // count)
