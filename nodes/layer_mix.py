"""Layer Mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io

from ..core.checks import require_choice
from ..core.edit.layer_mix import MEAN_OF_NORMALISED, METHODS, mix_layers
from ..core.encoder.layers import hidden_state_index, parse_layer_weights, parse_layers
from ..core.encoder.prompt import build_prompt
from .capture import prompt_inputs, text_inputs
from .conditioning import read_entry, write_entry
from .encoder import Encoding, block_count, encode
from .layer_sweep import LARGEST_BLOCKS
from .node import Node
from .report import shown_report
from .tap_encode import LARGEST_BLOCKS as LARGEST_TAPPED
from .taps import TappedClip, encode_taps, tapped_clip
from .types import CATEGORY

BETWEEN_TAPS = ";"


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
                    "count; a negative weight leads away from its layer. For a model that takes "
                    "several layers, one such list for each with ; between them.",
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
                # A list for each tap may name the layers of an encoder with more blocks.
                lists = str(weights).split(BETWEEN_TAPS)
                for given in lists:
                    blocks = LARGEST_TAPPED if len(lists) > 1 else LARGEST_BLOCKS
                    parse_layer_weights(given if len(lists) > 1 else weights, blocks)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, clip, text, weights, method, system_prompt="", think_block="none"
    ) -> io.NodeOutput:
        require_choice("method", method, METHODS)
        if isinstance(weights, str) and BETWEEN_TAPS in weights:
            return _mix_taps(clip, text, weights, method, system_prompt)
        blocks = block_count(clip)
        if method == MEAN_OF_NORMALISED:
            layers, shares = parse_layers("all", blocks), ()
            named = f"{len(layers)} hidden states, {layers[0]} to {layers[-1]}"
        else:
            parsed = parse_layer_weights(weights, blocks)
            layers, shares = tuple(parsed), tuple(parsed.values())
            named = ", ".join(f"{layer}: {weight:g}" for layer, weight in parsed.items())
        edit = f"layer mix: {method}, {named}"
        encodings = encode(clip, build_prompt(text, system_prompt, think_block), layers, once=True)
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


def _mix_taps(clip: Any, text: str, weights: str, method: str, system_prompt: str) -> io.NodeOutput:
    """A mix of its own in each of the taps that the CLIP's image model takes."""
    if method == MEAN_OF_NORMALISED:
        raise ValueError(
            f"method '{method}' ignores weights, and {BETWEEN_TAPS} stands between those of "
            "several taps: choose raw or rms matched"
        )
    tapped = tapped_clip(clip)
    taps, lists = tapped.taps, weights.split(BETWEEN_TAPS)
    if len(lists) != len(taps):
        raise ValueError(
            f"weights has {len(lists)} lists with {BETWEEN_TAPS} between them, and this CLIP's "
            f"image model takes {len(taps)} layers: write {len(taps)} lists"
        )
    parsed = [
        {
            hidden_state_index(layer, taps.blocks): weight
            for layer, weight in parse_layer_weights(one, taps.blocks).items()
        }
        for one in lists
    ]
    wanted = list(dict.fromkeys(layer for one in parsed for layer in one))
    states, encoding = _states_of(tapped, text, wanted, system_prompt)
    named = "; ".join(", ".join(f"{k}: {v:g}" for k, v in one.items()) for one in parsed)
    edit = f"layer mix by tap: {method}, {named}"
    layers = tuple(next(iter(one)) if len(one) == 1 else None for one in parsed)
    mixed = []
    for entry, known in zip(encoding.conditioning, states, strict=True):
        parts = [
            mix_layers([known[layer] for layer in one], tuple(one.values()), method)
            for one in parsed
        ]
        record = replace(read_entry(entry)[1], taps=replace(taps, layers=layers))
        record = record if None not in layers else record.with_edit(edit)
        mixed.append(write_entry(entry, taps.join(parts), record))
    shown = f"{len(encoding.record)} tokens\n{edit}\n{encoding.prompt}"
    return io.NodeOutput(mixed, ui=shown_report(shown))


def _states_of(
    tapped: TappedClip, text: str, wanted: list[int], system_prompt: str
) -> tuple[list[dict[int, torch.Tensor]], Encoding]:
    """For each entry of the encoding (batch, tokens, width) of every wanted hidden state, from as
    few passes as its model's number of taps allows."""
    each = len(tapped.taps)
    states: list[dict[int, torch.Tensor]] = []
    for start in range(0, len(wanted), each):
        chunk = wanted[start : start + each]
        asked = chunk + chunk[-1:] * (each - len(chunk))
        encoding = encode_taps(tapped, text, asked, system_prompt)
        states = states or [{} for _ in encoding.conditioning]
        for known, (hidden, _) in zip(states, encoding.conditioning, strict=True):
            known.update(zip(asked, tapped.taps.split(hidden), strict=True))
    return states, encoding
