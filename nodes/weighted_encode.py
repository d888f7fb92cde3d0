"""Weighted Encode."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..core.checks import require_choice
from ..core.dit.view import dit_change
from ..core.encoder.prompt import build_prompt
from ..core.prompt_weights.parsing import parse_weights
from ..core.prompt_weights.weighing import (
    FILLER,
    METHODS,
    WeightedWords,
    fill,
    place_weights,
    visible,
    weigh_words,
)
from ..core.tables import table
from .capture import check_layer, layer_input
from .conditioning import read_entry, write_entry
from .encoder import Encoding, encode, encode_beside, tokenize
from .node import Node
from .report import shown_report
from .types import CATEGORY

MOST_SHOWN = 40
"""Words in the report's table."""


class WeightedEncode(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabWeightedEncode",
            display_name="Weighted Encode",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Encodes a prompt with weights like (red:1.4) that reach Z-Image: each "
            "token moves away from, or towards, what it is without those words. Without weights "
            "it equals Qwen3 Encode bit for bit.",
            search_aliases=[
                "prompt",
                "text encode",
                "prompt weights",
                "emphasis",
                "attention weights",
                "qwen3",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="Qwen3-4B: CLIPLoader, type lumina2."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="(red:1.4) is stronger, (red:0.6) weaker, (red:0) left out; (red) is "
                    "1.1, [red] 1/1.1. Parentheses of the text itself: \\( and \\).",
                ),
                layer_input(-2),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    tooltip="What the prompt without the words is. masked: what comes behind does "
                    f"not see their place. replaced: it sees the word '{FILLER.strip()}' there. "
                    "All positions are kept.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="Ordinary CONDITIONING; its record names the words and weights.",
                ),
                io.String.Output(
                    "prompt",
                    display_name="prompt",
                    tooltip="Exactly what was encoded, without the weights.",
                ),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, text=None, layer=None, method=None) -> bool | str:
        """Whatever is connected comes as None, and is checked when the node runs."""
        try:
            if method is not None:
                require_choice("method", method, METHODS)
            if text is not None:
                parse_weights(text)
        except ValueError as error:
            return str(error)
        return check_layer(layer)

    @classmethod
    def execute(cls, clip, text, layer, method) -> io.NodeOutput:
        require_choice("method", method, METHODS)
        stretches = parse_weights(text)
        plain = "".join(one.text for one in stretches)
        prompt = build_prompt(plain)
        placed = []
        if any(one.weight != 1 for one in stretches):
            tokens = tokenize(clip, prompt)
            start = build_prompt("").index("<|im_end|>")
            placed = place_weights(stretches, start, tokens.ids, tokens.decode)
        if not placed:
            [encoding] = encode(clip, prompt, [layer], once=True)
            return _answer(encoding, encoding.conditioning, "no weights: as Qwen3 Encode")
        filler = tokenize(clip, FILLER).ids
        rows = [tokens.ids, *(fill(tokens.ids, words, filler) for words in placed)]
        sections = [[(number, 1.0) for number in row] for row in rows]
        seen = visible(placed, len(tokens.ids), method)
        encoding, others = encode_beside(clip, sections, layer, seen)
        named = ", ".join(f"{words.text.strip()!r} x{words.weight:g}" for words in placed)
        edit = f"weighted ({method}): {named}"
        weighed, reports = [], []
        for entry, without in zip(encoding.conditioning, others, strict=True):
            states, record = read_entry(entry)
            after = weigh_words(states, without, placed)
            weighed.append(write_entry(entry, after, record.with_edit(edit)))
            reports.append(_report(states, without, after, placed))
        return _answer(encoding, weighed, "\n\n".join([f"{edit}", *reports]))


def _answer(encoding: Encoding, conditioning: list[Any], report: str) -> io.NodeOutput:
    record = encoding.record
    report = f"{len(record)} tokens at layer {record.layer}, {report}\n{encoding.prompt}"
    return io.NodeOutput(conditioning, encoding.prompt, report, ui=shown_report(report))


def _report(states: Tensor, without: Tensor, after: Tensor, placed: list[WeightedWords]) -> str:
    rows = []
    for other, words in zip(without, placed, strict=True):
        alone = dit_change(states, weigh_words(states, other[None], [words])).relative_l2[0]
        own = torch.zeros_like(alone, dtype=torch.bool)
        own[list(words.tokens)] = True
        behind = alone[words.first :][~own[words.first :]]
        rows.append(
            (
                repr(words.text.strip()),
                f"{words.weight:g}",
                str(len(words.tokens)),
                f"{float(alone[own].mean()):.4f}",
                f"{float(behind.mean()):.4f}",
            )
        )
    header = ("words", "weight", "tokens", "their change", "change of those behind")
    return "\n".join(
        [
            "Each weight by itself, relative L2 after RMSNorm:",
            table(header, rows, MOST_SHOWN),
            f"All together, {dit_change(states, after).summary()}",
        ]
    )
