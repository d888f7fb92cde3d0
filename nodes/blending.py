"""Embedding Blend."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..core.blending import MATCHES, METHODS, BlendResult, blend
from ..core.dit_view import dit_change
from ..core.tokens import Record
from .conditioning import read_entry, write_entry
from .numbers import check_number
from .types import CATEGORY


class Blend(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabBlend",
            display_name="Embedding Blend",
            category=CATEGORY,
            description="Mixes text states with the states of Qwen3-VL image tokens.",
            search_aliases=["mix conditioning", "image prompt", "vl conditioning", "average"],
            inputs=[
                io.Conditioning.Input("text", tooltip="The side that keeps its tokens."),
                io.Conditioning.Input(
                    "vision",
                    tooltip="The side that is mixed in: one entry for all text entries, or as "
                    "many as the text has.",
                ),
                io.Float.Input(
                    "alpha",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of the vision side: 0 is the text, 1 the matched vision side. "
                    "append uses both whole and ignores it.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="interpolate",
                    tooltip="interpolate: all vision tokens averaged down to the text's length. "
                    "interpolate (llm-dit): their two-point sampling, for comparison. linear: the "
                    "first tokens pair by pair. append: text tokens, then vision tokens.",
                ),
                io.Combo.Input(
                    "match",
                    options=list(MATCHES),
                    default="rms per token",
                    tooltip="How the vision side is brought to the text's scale first. With rms "
                    "per token, alpha is the share that survives the image model's RMSNorm.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("conditioning", display_name="conditioning"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, alpha=None) -> bool | str:
        return check_number("alpha", alpha, 0.0, 1.0)

    @classmethod
    def execute(cls, text, vision, alpha, method, match) -> io.NodeOutput:
        if len(vision) not in (1, len(text)):
            raise ValueError(
                f"the text side has {len(text)} conditioning entries and the vision side "
                f"{len(vision)}: give one vision entry, or one for each text entry"
            )
        partners = vision * len(text) if len(vision) == 1 else vision
        blended, reports = [], []
        for entry, partner in zip(text, partners, strict=True):
            hidden, record = read_entry(entry)
            other, other_record = read_entry(partner)
            result = blend(hidden, other, alpha, method, match)
            share = "" if method == "append" else f" alpha {alpha:g},"
            edit = f"blend: {method},{share} match {match}, with {_origin(other_record)}"
            new_record = record if torch.equal(result.hidden, hidden) else record.with_edit(edit)
            if result.vision_tokens:
                new_record = _appended(new_record, other_record, result)
            kept = list(range(hidden.shape[1]))
            blended.append(write_entry(entry, result.hidden, new_record, kept))
            lines = [
                f"text: {len(record)} tokens of {_origin(record)}; "
                f"vision: {len(other_record)} tokens of {_origin(other_record)}",
                *_remarks(record, other_record, result, method, alpha),
                dit_change(hidden, result.hidden[:, : hidden.shape[1]]).summary(),
            ]
            reports.append("\n".join(lines))
        report = "\n\n".join(reports)
        return io.NodeOutput(blended, report, ui=ui.PreviewText(report))


def _origin(record: Record) -> str:
    layer = "unknown layer" if record.layer is None else f"layer {record.layer}"
    return f"{record.source} at {layer}"


def _appended(record: Record, other: Record, result: BlendResult) -> Record:
    """The record of the text's tokens followed by the vision side's content tokens."""
    content = other.take([i for i in range(len(other)) if i not in result.vision_sinks])
    return Record(
        layer=record.layer if record.layer == other.layer else None,
        source=record.source,
        ids=record.ids + content.ids,
        texts=record.texts + content.texts,
        roles=record.roles + content.roles,
        edits=record.edits,
    )


def _remarks(
    text: Record, vision: Record, result: BlendResult, method: str, alpha: float
) -> list[str]:
    lines = []
    if text.layer != vision.layer:
        lines.append(
            f"the sides are of different layers ({text.layer} and {vision.layer}, None: unknown)"
        )
    for side, record, sinks in (
        ("text", text, result.text_sinks),
        ("vision", vision, result.vision_sinks),
    ):
        if sinks:
            verb = "passed through unblended" if side == "text" else "left out"
            named = ", ".join(record.describe(i) for i in sinks[:5])
            lines.append(f"{side} sink tokens {verb}: {named}")
    lines.append(f"{result.vision_used} vision tokens used, {result.vision_lost} lost")
    if result.text_unblended:
        lines.append(f"{result.text_unblended} text tokens had no vision token left to mix with")
    if method == "append":
        lines.append(f"append keeps both sides whole: alpha {alpha:g} is not used")
    return lines
