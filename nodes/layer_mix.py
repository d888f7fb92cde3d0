"""Layer Mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from comfy_api.latest import io

from ..core.checks import require_choice
from ..core.edit.layer_mix import MEAN_OF_NORMALISED, METHODS, mix_layers
from ..core.encoder.layers import parse_layer_weights, parse_layers
from ..core.encoder.prompt import build_prompt
from .capture import prompt_inputs, text_inputs
from .conditioning import read_entry, write_entry
from .encoder import block_count, encode
from .layer_sweep import LARGEST_BLOCKS
from .node import Node
from .report import shown_report
from .types import CATEGORY


class LayerMix(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabLayerMix",
            display_name="Layer Mix",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Encodes a prompt once and mixes the hidden states of several layers of "
            "the text encoder into one conditioning.",
            search_aliases=[
                "prompt",
                "blend layers",
                "average layers",
                "hidden states",
                "layer weights",
                "qwen3",
            ],
            inputs=[
                *text_inputs(),
                io.String.Input(
                    "weights",
                    default="-2: 0.5, -6: 0.5",
                    tooltip="LAYER: WEIGHT with commas between them. Only their proportions "
                    "count; a negative weight leads away from its layer.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="rms matched",
                    tooltip="raw: the weighted mean as it is. rms matched: each token first gets "
                    "the scale it has at the first layer with a weight. mean of normalised layers: "
                    "all layers of the encoder, each token normalised, same share; ignores "
                    "weights.",
                ),
                *(_optional(given) for given in prompt_inputs()),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="Ordinary CONDITIONING; its record names the layers and weights.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, weights=None, method=None) -> bool | str:
        """Whatever is connected comes as None, and is checked when the node runs."""
        try:
            if method is not None:
                require_choice("method", method, METHODS)
            if weights is not None and method not in (None, MEAN_OF_NORMALISED):
                parse_layer_weights(weights, LARGEST_BLOCKS)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, clip, text, weights, method, system_prompt="", think_block="none"
    ) -> io.NodeOutput:
        require_choice("method", method, METHODS)
        blocks = block_count(clip)
        if method == MEAN_OF_NORMALISED:
            layers, shares = parse_layers("all", blocks), ()
            named = f"{len(layers)} hidden states, {layers[0]} to {layers[-1]}"
        else:
            parsed = parse_layer_weights(weights, blocks)
            layers, shares = tuple(parsed), tuple(parsed.values())
            named = ", ".join(f"{layer}: {weight:g}" for layer, weight in parsed.items())
        edit = f"layer mix: {method}, {named}"
        encodings = encode(clip, build_prompt(text, system_prompt, think_block), layers)
        # Several entries where the host schedules a LoRA: the k-th of every layer go together.
        mixed = [
            _mix(entries, shares, method, edit)
            for entries in zip(*(encoding.conditioning for encoding in encodings), strict=True)
        ]
        [first, *_] = encodings
        shown = f"{len(first.record)} tokens\n{edit}\n{first.prompt}"
        return io.NodeOutput(mixed, ui=shown_report(shown))


def _optional(given: io.Input) -> io.Input:
    given.optional = True
    return given


def _mix(entries: Sequence[list], shares: Sequence[float], method: str, edit: str) -> list:
    """One entry from the same entry at each layer."""
    states = [hidden for hidden, _ in entries]
    hidden = mix_layers(states, shares, method)
    for entry, state in zip(entries, states, strict=True):
        if torch.equal(hidden, state):
            return entry  # All the weight is on one layer: nothing was mixed.
    record = replace(read_entry(entries[0])[1], layer=None).with_edit(edit)
    return write_entry(entries[0], hidden, record)
