"""Describe Conditioning."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..core.record.describing import describe
from ..core.record.record import RECORD_KEY
from .conditioning import entries_of
from .node import Node
from .report import shown_report
from .tapped_entries import AUTO, known_by_width, read_tapped, taps_input
from .types import CATEGORY


class Describe(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabDescribe",
            display_name="Describe Conditioning",
            category=CATEGORY,
            description="Prints what a conditioning carries: encoder, layers, tokens by role, "
            "every edit that this pack's nodes made, magnitudes, and the exact prompt.",
            search_aliases=["show conditioning", "inspect", "print prompt", "debug conditioning"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="Any conditioning; it is only looked at."
                ),
                taps_input(),
            ],
            outputs=[io.String.Output("text", display_name="text")],
        )

    @classmethod
    def execute(cls, conditioning, taps=AUTO) -> io.NodeOutput:
        parts = []
        for number, entry in enumerate(entries_of(conditioning), 1):
            hidden, record = read_tapped(entry, taps)
            lines = [f"entry {number} of {len(conditioning)}"] if len(conditioning) > 1 else []
            if RECORD_KEY not in entry[1]:
                lines.append("no record: another node made this, so every token counts as text")
                lines += filter(None, [known_by_width(hidden, record)])
            parts.append("\n".join([*lines, describe(hidden, record), *_where(entry[1])]))
        text = "\n\n".join(parts) or "no entry: this conditioning is empty"
        return io.NodeOutput(text, ui=shown_report(text))


def _where(options: dict[str, Any]) -> list[str]:
    """Where and when ComfyUI applies an entry, as stock nodes write it."""
    lines = []
    if "start_percent" in options or "end_percent" in options:
        start, end = options.get("start_percent", 0.0), options.get("end_percent", 1.0)
        lines.append(f"sampling: from {start:.4g} to {end:.4g} of it")
    if "area" in options:
        lines.append(f"area (height, width, y, x): {options['area']}")
    if "mask" in options:
        lines.append(f"mask of {tuple(options['mask'].shape)}")
    if options.get("strength", 1.0) != 1.0:
        lines.append(f"strength: {options['strength']:g}")
    return lines
