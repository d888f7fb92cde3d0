"""A conditioning in words: its encoder, tokens, magnitudes, sink tokens, edits and prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import Tensor

from ..dit.caption_length import length_remarks
from ..encoder.image_size import PIXELS_PER_TOKEN
from ..measure.scaling import token_rms
from ..measure.sinks import find_sinks
from ..tables import table
from ..taps.gains import tap_rms, tap_shares
from .record import CONTENT_ROLES, UNKNOWN_SOURCE, Record, Role, role_mask

LISTED_SINKS = 10


def describe(hidden: Tensor, record: Record) -> str:
    """A report of several lines on ``hidden`` (batch, tokens, width), any float dtype.

    NaN and infinity are reported as such; nothing is raised.
    """
    batch, tokens, width = hidden.shape
    shape = f"{tokens} tokens x {width} dimensions" + (f", batch of {batch}" if batch > 1 else "")
    lines = [
        f"encoder: {record.source}",
        f"{record.layer_in_words}; {shape}, {str(hidden.dtype).removeprefix('torch.')}",
        *_layers_by_role(record),
        f"tokens: {_counts(role.value for role in record.roles)}",
        *(
            f"image {number}: {rows} x {columns} tokens "
            f"({columns * PIXELS_PER_TOKEN}x{rows * PIXELS_PER_TOKEN} pixels)"
            for number, (rows, columns) in enumerate(record.images, 1)
        ),
        *length_remarks(tokens),
        *_magnitudes(hidden, record),
        *_taps(hidden, record),
        *_edits(record),
    ]
    lines.append(f"prompt:\n{record.prompt}" if record.prompt else "prompt: not known")
    return "\n".join(lines)


def _counts(names: Iterable[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(names).items())


def _layers_by_role(record: Record) -> list[str]:
    """One line per layer, with the roles of its tokens, where the tokens' layers differ."""
    if not record.layers:
        return []
    roles: dict[int | None, list[Role]] = {}
    for layer, role in zip(record.layers, record.roles, strict=True):
        roles.setdefault(layer, []).append(role)
    return [
        f"  {'unknown layer' if layer is None else f'layer {layer}'}: "
        + _counts(role.value for role in found)
        for layer, found in roles.items()
    ]


def _magnitudes(hidden: Tensor, record: Record) -> list[str]:
    """Lines on the rms of each token and on the sink tokens."""
    finite = hidden.isfinite()
    if not bool(finite.all()):
        count = int((~finite).sum())
        return [f"rms: not measured, {count} values are NaN or infinite; encode in a wider dtype"]
    rms = token_rms(hidden.float())[..., 0]
    loudest = rms.amax(0)
    largest = int(loudest.argmax())
    lines = [
        f"rms per token: median {float(rms.quantile(0.5)):.4g}, smallest {float(rms.min()):.4g}, "
        f"largest {float(rms.max()):.4g} at {record.describe(largest)}"
    ]
    is_sink = find_sinks(hidden, role_mask(record.roles, CONTENT_ROLES)).any(0).cpu()
    sinks = is_sink.nonzero().flatten().tolist()
    lines.append(f"sink tokens: {record.names(sinks, LISTED_SINKS) or 'none'}")
    if 0 < len(sinks) < len(record):
        others = float(loudest.cpu()[~is_sink].max())
        lines.append(f"rms without them: largest {others:.4g}")
    return lines


def _taps(hidden: Tensor, record: Record) -> list[str]:
    """A table, a row for each of several layers that lie side by side."""
    if record.taps is None or not bool(hidden.isfinite().all()):
        return []
    content = role_mask(record.roles, CONTENT_ROLES)
    selected = content if bool(content.any()) else None
    rms, shares = (measure(hidden, record.taps, selected) for measure in (tap_rms, tap_shares))
    rows = []
    for tap, part in enumerate(record.taps.split(hidden)):
        sinks = find_sinks(part, content).any(0).cpu().nonzero().flatten().tolist()
        rows.append(
            (
                record.taps.name(tap),
                f"{float(rms[tap]):.4g}",
                f"{float(shares[tap]):.1%}",
                f"{float(part.abs().max()):.4g}",
                record.names(sinks, 2) or "none",
            )
        )
    head = f"{record.taps.order}, {record.taps.width} dimensions each"
    header = ("tap", "median rms", "share of a token", "largest |x|", "sink tokens")
    return [head, table(header, rows, len(rows))]


def _edits(record: Record) -> list[str]:
    if not record.edits:
        known = record.source != UNKNOWN_SOURCE
        return ["edits: none" if known else "edits: not known"]
    return ["edits:", *(f"  {number}. {edit}" for number, edit in enumerate(record.edits, 1))]
