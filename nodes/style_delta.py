"""Style Delta."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from comfy_api.latest import io

from ..core.dit.view import dit_change
from ..core.edit.style_delta import HIGHEST_ALPHA, LOWEST_ALPHA, StyleResult, add_style
from ..core.encoder.image_size import PIXELS_PER_TOKEN
from ..core.record.record import (
    CONTENT_ROLES,
    PROMPT_JOINT,
    UNKNOWN_SOURCE,
    Record,
    Role,
    role_mask,
)
from .blend_entry import swapped, warn_of_swap
from .conditioning import origin, partners, positions_of, read_entry, write_entry
from .encoder import encode
from .node import Node
from .numbers import check_number
from .report import shown_report
from .types import CATEGORY

log = logging.getLogger(__name__)

READING = "image "
"""How the notes begin that VL Image Token Encode leaves on each image's size."""


class StyleDelta(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabStyleDelta",
            display_name="Style Delta",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Adds to a text what a styled image has and a neutral one has not: styled "
            "minus neutral, brought to the text's scale.",
            search_aliases=[
                "ip adapter",
                "style transfer",
                "image style",
                "style reference",
                "difference",
                "subtract conditioning",
            ],
            inputs=[
                io.Conditioning.Input("text", tooltip="What is to be styled; it keeps its tokens."),
                io.Conditioning.Input(
                    "styled",
                    tooltip="The image whose style is wanted, from VL Image Token Encode. Its "
                    "image tokens count, or all its tokens if it has none.",
                ),
                io.Conditioning.Input(
                    "neutral",
                    optional=True,
                    tooltip="What is taken away from it, encoded in the same way: a plain image of "
                    "the same size, or of the same subject. Without it: mid-grey.",
                ),
                io.Float.Input(
                    "alpha",
                    default=0.3,
                    min=LOWEST_ALPHA,
                    max=HIGHEST_ALPHA,
                    step=0.05,
                    tooltip="Std of what is added over the text's own, sink tokens apart. Over 1 "
                    "exaggerates, below 0 takes the style away.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The Qwen3-VL that read the styled image; needed only without "
                    "`neutral`: the node reads a mid-grey image of the same size with it.",
                ),
            ],
            outputs=[io.Conditioning.Output("conditioning", display_name="conditioning")],
        )

    @classmethod
    def validate_inputs(cls, alpha=None) -> bool | str:
        return check_number("alpha", alpha, LOWEST_ALPHA, HIGHEST_ALPHA)

    @classmethod
    def execute(cls, text, styled, alpha, neutral=None, clip=None) -> io.NodeOutput:
        styled = partners(text, styled, "styled")
        made_grey = neutral is None
        if made_grey:
            grey: dict[int, list] = {}  # one styled entry may serve many text entries
            for entry in styled:
                if id(entry) not in grey:
                    grey[id(entry)] = _mid_grey(clip, entry)
            neutral = [grey[id(entry)] for entry in styled]
        neutral = partners(text, neutral, "neutral")
        done, notes = [], []
        for entry, style, plain in zip(text, styled, neutral, strict=True):
            hidden, record = read_entry(entry, "the text side")
            rows = positions_of(record)  # padding is no content
            style_states, style_record = _image_tokens(style, "the styled side")
            plain_states, plain_record = _image_tokens(plain, "the neutral side")
            _require_same_kind(style_record, plain_record)
            result = add_style(hidden[:, rows], style_states, plain_states, alpha)
            states = hidden.clone()
            states[:, rows] = result.hidden
            sinks = [rows[i] for i in result.text_sinks]
            note = "; ".join(
                [
                    *_note(record, style_record, result, alpha),
                    *(_unlike_grey(style_record) if made_grey else []),
                    *([f"sinks kept: {record.names(sinks)}"] if sinks else []),
                    dit_change(hidden, states).summary(),
                ]
            )
            notes.append("\n".join([*swapped(record, style_record, "styled"), note]))
            if not torch.equal(states, hidden):
                record = record.with_edits_of(style_record, "styled")
                if not made_grey:
                    record = record.with_edits_of(plain_record, "neutral")
                record = record.with_edit(note)
            done.append(write_entry(entry, states, record))
        warn_of_swap("Style Delta", notes)
        return io.NodeOutput(done, ui=shown_report("\n\n".join(notes)))


def _image_tokens(entry: list, what: str) -> tuple[torch.Tensor, Record]:
    """The image tokens of an entry, or all but padding if it has none."""
    hidden, record = read_entry(entry, what)
    roles = (Role.IMAGE,) if Role.IMAGE in record.roles else CONTENT_ROLES
    kept = positions_of(record, roles)
    return hidden[:, kept], record.take(kept)


def _unlike_grey(styled: Record) -> list[str]:
    """What was done to the styled side after reading, which a mid-grey made here has not had."""
    edits = sum(not edit.startswith(READING) for edit in styled.edits)
    if not edits:
        return []
    log.warning("Style Delta: the styled side was edited, the mid-grey image was not.")
    return [f"the styled side was edited {edits} times, the mid-grey image was not"]


def _mid_grey(clip: Any, styled: list) -> list:
    """The entry of the prompt that read ``styled``, with every image of it mid-grey."""
    _, record = read_entry(styled, "the styled side")
    if clip is None:
        raise ValueError(
            "there is nothing to take away from the styled side: connect `neutral`, or `clip` (the "
            "Qwen3-VL that read the styled image), and the node makes a mid-grey image's"
        )
    if not record.images or not record.prompt:
        raise ValueError(
            f"the styled side ({record.source}) says of no image how it was read, so no mid-grey "
            "one can be read in the same way: connect `neutral`, or encode the styled image with "
            "VL Image Token Encode"
        )
    if PROMPT_JOINT in record.prompt:
        raise ValueError(
            "the styled side has the tokens of several prompts, so a mid-grey image cannot be read "
            "in the same way: connect `neutral`, or use Style Delta before you append"
        )
    _, tokens = _image_tokens(styled, "the styled side")
    if tokens.layer is None:
        raise ValueError(
            f"the styled side's image tokens are of {tokens.layer_in_words}, so a mid-grey image "
            "cannot be read at the same one: connect `neutral`"
        )
    images = [
        torch.full((1, rows * PIXELS_PER_TOKEN, columns * PIXELS_PER_TOKEN, 3), 0.5)
        for rows, columns in record.images
    ]
    [encoding] = encode(clip, record.prompt, [tokens.layer], images, once=True)
    [entry] = encoding.conditioning
    # Where only the prompt's text is left of the styled side, it is compared with text.
    kept = role_mask(encoding.record.roles, tokens.roles).nonzero().flatten().tolist()
    return write_entry(entry, entry[0][:, kept], encoding.record.take(kept), kept)


def _require_same_kind(styled: Record, neutral: Record) -> None:
    """A difference means something only between states of one layer of one model."""
    known = [{*record.token_layers()} - {None} for record in (styled, neutral)]
    if all(known) and known[0] != known[1]:
        raise ValueError(
            f"styled is of {styled.layer_in_words} and neutral of {neutral.layer_in_words}: encode "
            "both at the same layer"
        )
    prints = (styled.fingerprint, neutral.fingerprint)
    if all(prints) and prints[0] != prints[1]:
        raise ValueError(
            f"styled comes from {styled.source} (fingerprint {prints[0]}) and neutral from "
            f"{neutral.source} (fingerprint {prints[1]}): read both images with the same model"
        )


def _note(text: Record, styled: Record, result: StyleResult, alpha: float) -> list[str]:
    parts = [
        f"style delta: alpha {alpha:g}, {result.styled_tokens} styled minus "
        f"{result.neutral_tokens} neutral tokens of {origin(styled)}"
    ]
    known = UNKNOWN_SOURCE not in (text.source, styled.source)
    if known and {*text.token_layers()} != {*styled.token_layers()}:
        parts.append(f"the text is of {text.layer_in_words}")
    if text.fingerprint and styled.fingerprint and text.fingerprint != styled.fingerprint:
        parts.append(f"the text comes from another model, {text.source}")
    if result.delta_rms == 0:
        log.warning("Style Delta: the styled and the neutral side are equal; nothing is added.")
        parts.append("the two sides are equal, nothing is added")
    elif math.isinf(result.delta_rms):
        parts.append("the styled side is all zeros")
    else:
        parts.append(f"their difference has {result.delta_rms:.3g} of the styled side's rms")
    return parts
