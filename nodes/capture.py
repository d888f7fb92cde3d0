"""Qwen3 Encode at Layer."""

from __future__ import annotations

from comfy_api.latest import io

from ..core.checks import shortened
from ..core.encoder.layers import LayerRangeError, whole_layer
from ..core.encoder.prompt import THINK_BLOCKS, build_prompt
from .encoder import encode
from .node import Node
from .report import shown_report
from .types import CATEGORY

DEEPEST_LAYER = 37
"""Qwen3-4B and Qwen3-VL-4B have 36 blocks, so 37 hidden states: -37..-1 or 0..36."""


def layer_input(default: int) -> io.Int.Input:
    """The ``layer`` input of every encoding node."""
    return io.Int.Input(
        "layer",
        default=default,
        min=-DEEPEST_LAYER,
        max=DEEPEST_LAYER - 1,
        tooltip="Which hidden state, as Hugging Face counts: -1 the normed output, -2 what Z-Image "
        "uses, -6 four blocks earlier, 0 the embeddings. Blocks above it are not run.",
    )


def check_layer(layer: int | None) -> bool | str:
    """Validation of a typed-in ``layer``; None is a connected one, checked when it runs."""
    try:
        if layer is None or -DEEPEST_LAYER <= whole_layer(layer) < DEEPEST_LAYER:
            return True
    except LayerRangeError as error:
        return str(error)
    return (
        f"layer {shortened(layer)} does not exist: Qwen3-4B and Qwen3-VL-4B have layers "
        f"-{DEEPEST_LAYER} to -1 (or 0 to {DEEPEST_LAYER - 1})"
    )


def text_inputs() -> list[io.Input]:
    """The ``clip`` and ``text`` inputs of the nodes that encode text."""
    return [
        io.Clip.Input("clip", tooltip="Qwen3-4B: CLIPLoader, type lumina2."),
        io.String.Input(
            "text",
            multiline=True,
            dynamic_prompts=True,
            tooltip="What the image shows. Weights like (fox:1.5) are literal text here.",
        ),
    ]


def prompt_inputs() -> list[io.Input]:
    """The ``system_prompt`` and ``think_block`` inputs of the nodes that encode text."""
    return [
        io.String.Input(
            "system_prompt",
            default="",
            multiline=True,
            advanced=True,
            tooltip="Optional system turn before the prompt. Z-Image's own pipeline writes none.",
        ),
        io.Combo.Input(
            "think_block",
            options=list(THINK_BLOCKS),
            default="none",
            advanced=True,
            tooltip="none: as Z-Image's own pipeline. empty: an empty <think> block is "
            "appended. open: <think> is opened, as Qwen3-VL's Thinking models expect.",
        ),
    ]


def answer_inputs() -> list[io.Input]:
    """The ``think_text`` and ``assistant_text`` inputs, behind all others."""
    return [
        io.String.Input(
            "think_text",
            default="",
            multiline=True,
            optional=True,
            advanced=True,
            tooltip="What the assistant thinks: the text of the <think> block, which is closed "
            "unless think_block is open. Z-Image's own pipeline writes none.",
        ),
        io.String.Input(
            "assistant_text",
            default="",
            multiline=True,
            optional=True,
            advanced=True,
            tooltip="How the assistant's answer begins, after the think block. Z-Image's own "
            "pipeline writes none.",
        ),
    ]


class Qwen3Encode(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        system_prompt, think_block = prompt_inputs()
        return io.Schema(
            node_id="LayerLabQwen3Encode",
            display_name="Qwen3 Encode at Layer",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Encodes a prompt with Z-Image's text encoder and hands over the hidden "
            "states of the layer you choose. At layer -2 it equals CLIP Text Encode bit for bit.",
            search_aliases=[
                "prompt",
                "text encode",
                "hidden states",
                "text encoder layer",
                "clip skip",
                "qwen3",
            ],
            inputs=[
                *text_inputs(),
                layer_input(-2),
                system_prompt,
                think_block,
                *answer_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="Ordinary CONDITIONING; the record of its tokens travels inside it.",
                ),
                io.String.Output(
                    "prompt",
                    display_name="prompt",
                    tooltip="Exactly what was encoded, special tokens included.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, layer=None) -> bool | str:
        return check_layer(layer)

    @classmethod
    def execute(
        cls, clip, text, layer, system_prompt, think_block, think_text="", assistant_text=""
    ) -> io.NodeOutput:
        answer = {"think_text": think_text, "assistant_text": assistant_text}
        [encoding] = encode(
            clip, build_prompt(text, system_prompt, think_block, **answer), [layer], once=True
        )
        shown = f"{len(encoding.record)} tokens at layer {encoding.record.layer}\n{encoding.prompt}"
        return io.NodeOutput(encoding.conditioning, encoding.prompt, ui=shown_report(shown))
