"""Layer numbers, in Hugging Face's addressing.

A decoder of N blocks has N + 1 hidden states: 0 is the embeddings, k the output of block k - 1,
and N (also written -1) the *normed* output of the last block. A negative ``layer`` counts from
the end, so -2 is the un-normed output of the last block but one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Real
from typing import Any

from ..checks import LayerLabError, shortened

_NUMBER = r"([+-]?[0-9]{1,18})"
_RANGE = rf"{_NUMBER}\s*\.\.\s*{_NUMBER}"

CANCELLED = 1e-6
"""Weights cancel out when their sum is this small a part of the sum of their sizes (a choice)."""


class LayerRangeError(LayerLabError, ValueError):
    """A layer that the encoder does not have."""


def hidden_state_index(layer: int, blocks: int) -> int:
    """Index in 0..``blocks`` of ``layer`` (0..blocks, or -1..-(blocks + 1) from the end).

    Raises:
        LayerRangeError: if this encoder has no such hidden state; the message names the range.

    >>> hidden_state_index(-2, 36)
    35
    """
    layer = whole_layer(layer)
    if not -(blocks + 1) <= layer <= blocks:
        raise LayerRangeError(
            f"layer {shortened(layer)} does not exist: this encoder has {blocks} blocks, so layers "
            f"run from -{blocks + 1} to -1 (or 0 to {blocks}); 0 is the embeddings, -1 the normed "
            "output"
        )
    return layer if layer >= 0 else layer + blocks + 1


def whole_layer(layer: Any) -> int:
    """``layer`` as an int; LayerRangeError if it is no whole number (2.5, NaN, text, True)."""
    # The rest of NaN and of infinity is NaN, which is not 0.
    if isinstance(layer, bool) or not isinstance(layer, Real) or layer % 1 != 0:
        raise LayerRangeError(
            f"layer {shortened(layer)} is not a whole number: give one such as -2"
        )
    return int(layer)


def negative_layer(index: int, blocks: int) -> int:
    """The negative name of hidden state ``index``: -1 for the last one, -2 for the one before."""
    return hidden_state_index(index, blocks) - blocks - 1


def is_normed(index: int, blocks: int) -> bool:
    """Whether hidden state ``index`` has been through the decoder's final norm."""
    return hidden_state_index(index, blocks) == blocks


def parse_layers(text: str, blocks: int) -> tuple[int, ...]:
    """The layers that ``text`` names, as negative numbers, each once, in the order written.

    Args:
        text: numbers and ranges between commas, such as "-2, -6, -10..-20". A range holds both
            its ends and may run either way. "all" is every hidden state, embeddings first.
        blocks: number of blocks of the encoder.

    Raises:
        LayerRangeError: if this encoder has no such layer.
        ValueError: for anything else that is no such list; the message names the bad part.

    >>> parse_layers("-2, -10..-8, 0", 36)
    (-2, -10, -9, -8, -37)
    """
    parts = _parts(text, "layers", "-2, -6, -10..-20, or all")
    if [part.lower() for part in parts] == ["all"]:
        return tuple(negative_layer(index, blocks) for index in range(blocks + 1))
    indices: list[int] = []
    for part in parts:
        if single := re.fullmatch(_NUMBER, part):
            indices.append(hidden_state_index(int(single[1]), blocks))
        elif ends := re.fullmatch(_RANGE, part):
            first, last = (hidden_state_index(int(end), blocks) for end in ends.groups())
            step = 1 if first <= last else -1
            indices.extend(range(first, last + step, step))
        else:
            raise ValueError(
                f"{part!r} is no layer: write a whole number such as -2, or a range such as "
                "-10..-20, with commas between them"
            )
    return tuple(negative_layer(index, blocks) for index in dict.fromkeys(indices))


def parse_layer_weights(text: str, blocks: int) -> dict[int, float]:
    """Weight per negative layer number, in the order written, from "-2: 0.7, -6: 0.3".

    Weights need not add up to 1 and may be negative.

    Raises:
        LayerRangeError: if this encoder has no such layer.
        ValueError: for anything else that is no such list, a layer named twice, and weights that
            :func:`check_weights` refuses.

    >>> parse_layer_weights("-2: 0.7, -6: 0.3", 36)
    {-2: 0.7, -6: 0.3}
    """
    weights: dict[int, float] = {}
    for part in _parts(text, "weights", "-2: 0.7, -6: 0.3"):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        if not colon or not re.fullmatch(_NUMBER, name):
            raise ValueError(
                f"{part!r} is no weight of a layer: write LAYER: WEIGHT with commas between them, "
                "such as -2: 0.7, -6: 0.3"
            )
        layer = negative_layer(int(name), blocks)
        if layer in weights:
            raise ValueError(f"{part!r} names layer {layer} again: give each layer one weight")
        try:
            weights[layer] = float(number)
        except ValueError:
            raise ValueError(
                f"{number!r} in {part!r} is no number: write a weight such as 0.7"
            ) from None
    check_weights(list(weights.values()))
    return weights


def check_weights(weights: Sequence[float]) -> None:
    """Raise ValueError unless the weights are finite numbers with a sum to divide by."""
    for weight in weights:
        if not math.isfinite(weight):
            raise ValueError(f"a weight is {weight}: it must be a finite number")
    largest = max((abs(weight) for weight in weights), default=0.0)
    # Divided first: the sum of weights of 1e308 would be infinite.
    parts = [weight / largest for weight in weights] if largest else []
    if abs(sum(parts)) <= CANCELLED * sum(map(abs, parts)):
        raise ValueError(
            "the weights add up to 0, so nothing is left to divide by: change one of them, or "
            "give one layer a weight above 0"
        )


def _parts(text: str, what: str, example: str) -> list[str]:
    """``text`` between its commas."""
    if not isinstance(text, str):
        raise ValueError(
            f"the list of {what} is {shortened(text)}, which is no text: write for example "
            f"{example}"
        )
    if not text.strip():
        raise ValueError(f"the list of {what} is empty: write for example {example}")
    parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        raise ValueError(
            f"{text.strip()!r} has nothing before or after one of its commas: remove that comma, "
            f"or write for example {example}"
        )
    return parts
