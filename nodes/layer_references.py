"""Several references, one a layer, for a conditioning that holds several layers."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io

from ..core.measure.reference import Reference as ReferenceStats
from ..core.record.record import Record
from .conditioning import require_reference
from .types import Reference

NAMES = [f"reference{number}" for number in range(2, 14)]


def more_references_input() -> io.Autogrow.Input:
    """The input ``more_references`` of the nodes that measure against a reference."""
    return io.Autogrow.Input(
        "more_references",
        template=io.Autogrow.TemplateNames(
            Reference.Input("reference", optional=True), names=NAMES, min=0
        ),
        optional=True,
        tooltip="References of more layers, one socket each: every tap, and every entry, is "
        "measured against the one of its own layer. A new socket appears with every one that is "
        "connected.",
    )


def connected_references(
    reference: ReferenceStats | None, more_references: Mapping[str, ReferenceStats] | None
) -> tuple[ReferenceStats, ...]:
    """All that are connected, the first socket first.

    Raises:
        ValueError: if one is no reference, or two are of one layer.
    """
    sockets = {"reference": reference}
    for name in NAMES:
        sockets[f"more_references.{name}"] = (more_references or {}).get(name)
    layers: dict[str | None, str] = {}
    references = []
    for socket, one in sockets.items():
        if one is None:
            continue
        layer = require_reference(one, socket).provenance.get("layer")
        if layer in layers:
            raise ValueError(
                f"{layers[layer]} and {socket} are both of layer {layer or 'unknown'}: connect one "
                "reference a layer"
            )
        layers[layer] = socket
        references.append(one)
    return tuple(references)


def of_layer(references: tuple[ReferenceStats, ...], record: Record) -> ReferenceStats | None:
    """The one of the record's layer, else the first, else None."""
    own = (one for one in references if one.provenance.get("layer") == str(record.layer))
    return next(own, references[0] if references else None)


def of_taps(references: tuple[ReferenceStats, ...], record: Record) -> list[ReferenceStats | None]:
    """What each tap is measured against.

    A reference counts for the taps of its own layer, and the others are measured against
    themselves; where a single one is connected and no tap is of its layer, it counts for all.

    Raises:
        ValueError: if a reference is of another width than a tap.
    """
    records = [record.of_tap(tap) for tap in range(len(record.taps))]
    for one in references:
        if one.width != record.taps.width:
            raise ValueError(
                f"the reference has {one.width} dimensions, and each of the {len(records)} taps "
                f"of this conditioning {record.taps.width}: connect one of a single layer of its "
                "encoder"
            )
    # Without one: the published figures are Qwen3-4B's with sink tokens, which Krea 2 never sees.
    by_layer = {one.provenance.get("layer"): one for one in references}
    own = [by_layer.get(str(one.layer)) for one in records]
    return [references[0]] * len(own) if len(references) == 1 and not any(own) else own
