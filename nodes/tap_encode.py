"""Tap Encode."""

from __future__ import annotations

from comfy_api.latest import io

from ..core.record.record import CONTENT_ROLES, Record, role_mask
from ..core.tables import table
from ..core.taps.gains import tap_rms, tap_shares
from ..core.taps.known import model_of_width
from ..core.taps.layout import parse_taps
from ..core.taps.template import OWN, THINK_CHOICES
from .encoder import Encoding
from .node import Node
from .report import shown_report
from .taps import encode_taps, tapped_clip
from .types import CATEGORY

LARGEST_BLOCKS = 64
"""More than any encoder's that is tapped: what a list can be checked for before one is loaded."""


class TapEncode(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabTapEncode",
            display_name="Tap Encode",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Encodes a prompt for a model that takes several layers of its text "
            "encoder (Flux.2, Krea 2, Ideogram 4), with the layers you choose. With the model's "
            "own it equals CLIP Text Encode bit for bit.",
            search_aliases=[
                "prompt",
                "text encode",
                "flux2",
                "klein",
                "krea2",
                "ideogram",
                "layers",
                "hidden states",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="CLIPLoader of type flux2, krea2 or ideogram4."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What the image shows. It goes into the model's own template.",
                ),
                io.String.Input(
                    "layers",
                    default="",
                    tooltip="As many hidden states as the model takes, in any order, also "
                    "repeated, such as 9, 18, 27. Empty: the model's own.",
                ),
                io.String.Input(
                    "system_prompt",
                    default="",
                    multiline=True,
                    advanced=True,
                    tooltip="In place of the template's own system turn. Empty: as the model has "
                    "it.",
                ),
                io.Combo.Input(
                    "think_block",
                    options=list(THINK_CHOICES),
                    default=OWN,
                    advanced=True,
                    tooltip="the model's own: as its template has it (Flux.2 Klein an empty one, "
                    "Krea 2 none). none, empty: without one, or with an empty <think> block.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="Ordinary CONDITIONING; its record names the layers.",
                ),
                io.String.Output(
                    "prompt",
                    display_name="prompt",
                    tooltip="Exactly what was encoded, special tokens included.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, layers=None) -> bool | str:
        try:
            if layers is not None and layers != "":
                _listed(layers, LARGEST_BLOCKS)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, clip, text, layers, system_prompt="", think_block=OWN) -> io.NodeOutput:
        tapped = tapped_clip(clip)
        listed = _listed(layers, tapped.taps.blocks)
        encoding = encode_taps(tapped, text, listed, system_prompt, think_block)
        shown = encoding_in_words(encoding, listed in (None, tapped.taps.layers))
        return io.NodeOutput(encoding.conditioning, encoding.prompt, ui=shown_report(shown))


def _listed(layers: str, blocks: int) -> tuple[int, ...] | None:
    """The layers that the input names, None where it is blank."""
    blank = isinstance(layers, str) and not layers.strip()
    return None if blank else parse_taps(layers, blocks)


def encoding_in_words(encoding: Encoding, own: bool) -> str:
    """What a tapped encoding is, a row for each tap, and the prompt.

    Args:
        own: whether its layers are the model's own.
    """
    hidden, record = encoding.conditioning[0][0], encoding.record
    model = model_of_width(record.taps.total)
    whose = f", {model.name}'s own" if own and model else ""
    content = role_mask(record.roles, CONTENT_ROLES)
    count = int(content.sum())
    padding = f" and {len(record) - count} of padding" if count < len(record) else ""
    first = f"{count} tokens{padding} at {record.taps.in_words}{whose}"
    return "\n".join([first, _table(hidden, record, content), encoding.prompt])


def _table(hidden, record: Record, content) -> str:
    selected = content if bool(content.any()) else None
    rms = tap_rms(hidden, record.taps, selected).tolist()
    shares = tap_shares(hidden, record.taps, selected).tolist()
    rows = [
        (record.taps.name(tap), f"{rms[tap]:.4g}", f"{shares[tap]:.1%}")
        for tap in range(len(record.taps))
    ]
    return table(("tap", "median rms", "share of a token"), rows, len(rows))
