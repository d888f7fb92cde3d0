"""Tap Weights."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..core.checks import require_finite_states, require_flag
from ..core.dit.view import dit_change
from ..core.record.record import CONTENT_ROLES, Record, role_mask
from ..core.tables import table
from ..core.taps.gains import parse_gains, parse_solo, tap_shares, weigh
from .conditioning import entries_of, write_entry
from .node import Node
from .report import shown_report
from .tap_reading import TapReading, read_taps_with
from .tapped_entries import AUTO, known_by_width, read_tapped, taps_input
from .types import CATEGORY


class TapWeights(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabTapWeights",
            display_name="Tap Weights",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Gives each of several layers that lie side by side in a conditioning "
            "(Flux.2, Krea 2, Ideogram 4) a weight, lets one of them through alone, or leaves one "
            "out. The report says what of it the image model's own first layers leave.",
            search_aliases=[
                "rebalance",
                "layer weights",
                "krea2",
                "klein",
                "flux2",
                "solo",
                "gain",
            ],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="Of Tap Encode or CLIP Text Encode with a model that takes several "
                    "layers.",
                ),
                io.String.Input(
                    "weights",
                    default="23: 2.5, 26: 5",
                    tooltip="LAYER: WEIGHT with commas between them; the other layers keep 1. "
                    "Empty: all 1.",
                ),
                io.String.Input(
                    "solo",
                    default="",
                    tooltip="Layers that stay alone, such as 23; not 23: all but that one. Empty: "
                    "all.",
                ),
                io.Boolean.Input(
                    "keep_rms",
                    default=True,
                    tooltip="Bring every token, all its layers together, back to the size that it "
                    "had, so that only the balance between layers changes.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="Flux.2, Krea 2 or Ideogram 4: the report then says what its own "
                    "first layers leave of the change.",
                ),
                taps_input(),
            ],
            outputs=[
                io.Conditioning.Output("conditioning", display_name="conditioning"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def execute(cls, conditioning, weights, solo, keep_rms, model=None, taps=AUTO) -> io.NodeOutput:
        keep_rms = require_flag("keep_rms", keep_rms)
        weighed, reports = [], []
        for entry in entries_of(conditioning):
            hidden, record = read_tapped(entry, taps)
            if record.taps is None:
                raise ValueError(
                    f"the conditioning has {hidden.shape[-1]} dimensions and counts as one layer: "
                    "connect Tap Encode, or set taps to the number of layers side by side in it"
                )
            require_finite_states(hidden, "the conditioning")
            gains = parse_gains(weights, record.taps)
            stays = parse_solo(solo, record.taps)
            gains = [gain if stay else 0.0 for gain, stay in zip(gains, stays, strict=True)]
            reading = None if model is None else read_taps_with(model, record.taps)
            after = weigh(hidden, record.taps, gains, keep_rms)
            words = _in_words(record, gains, keep_rms)
            new = record if after is hidden else record.with_edit(f"tap weights: {words}")
            weighed.append(write_entry(entry, after, new))
            reports.append(_report(hidden, after, record, gains, keep_rms, words, reading))
        report = "\n\n".join(reports)
        return io.NodeOutput(weighed, report, ui=shown_report(report or "no entry"))


def _in_words(record: Record, gains: list[float], keep_rms: bool) -> str:
    kept = [tap for tap, gain in enumerate(gains) if gain != 0]
    changed = [
        f"{record.taps.name(tap)} x{gain:g}" for tap, gain in enumerate(gains) if gain not in (0, 1)
    ]
    left_out = [record.taps.name(tap) for tap, gain in enumerate(gains) if gain == 0]
    if len(kept) == 1:
        words = f"{record.taps.name(kept[0])} alone"
    elif len(set(gains)) == 1 and gains[0] != 1:
        words = f"every tap x{gains[0]:g}"
    else:
        without = [f"without {', '.join(left_out)}"] if left_out else []
        words = ", ".join([*changed, *without]) or "every tap x1"
    return f"{words}{'; every token keeps its rms' if keep_rms else ''}"


def _report(
    hidden: Tensor,
    after: Tensor,
    record: Record,
    gains: list[float],
    keep_rms: bool,
    words: str,
    reading: TapReading | None,
) -> str:
    content = role_mask(record.roles, CONTENT_ROLES)
    selected = content if bool(content.any()) else None
    before, behind = (tap_shares(one, record.taps, selected) for one in (hidden, after))
    rows = [
        (
            record.taps.name(tap),
            f"{gain:g}",
            f"{float(before[tap]):.1%}",
            f"{float(behind[tap]):.1%}",
            *([reading.values[tap]] if reading else []),
        )
        for tap, gain in enumerate(gains)
    ]
    header = ["tap", "weight", "share of a token before", "after"]
    if reading:
        header.append(f"{reading.kind}: {reading.column}")
    shown = slice(None) if selected is None else selected.to(hidden.device)
    kept, given = hidden[:, shown], after[:, shown]
    if reading is not None:
        seen = reading.change(kept, given).summary(f"{reading.kind}, {reading.where}")
    else:
        seen = dit_change(kept, given).summary("all taps together, whatever the token's length")
        seen += "; connect a MODEL to see what its own first layers leave of it"
    lines = [
        words,
        f"{record.source}, {record.layer_in_words}: {len(record)} tokens",
        *filter(None, [known_by_width(hidden, record)]),
        table(header, rows, len(rows)),
        seen,
    ]
    if len(set(gains)) == 1 and gains[0] not in (0, 1):
        lines.append(
            "one weight for every tap changes nothing but the size of each token"
            + (", which keep_rms takes back" if keep_rms else "")
        )
    return "\n".join(lines)
