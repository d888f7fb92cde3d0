"""Layer numbers, in Hugging Face's addressing.

A decoder of N blocks has N + 1 hidden states: 0 is the embeddings, k the output of block k - 1,
and N (also written -1) the *normed* output of the last block. A negative ``layer`` counts from
the end, so -2 is the un-normed output of the last block but one.
"""

from __future__ import annotations

import math


class LayerRangeError(ValueError):
    """A layer that the encoder does not have."""


def hidden_state_index(layer: int, blocks: int) -> int:
    """Index in 0..``blocks`` of ``layer`` (0..blocks, or -1..-(blocks + 1) from the end).

    Raises:
        LayerRangeError: if this encoder has no such hidden state; the message names the range.
    """
    if isinstance(layer, bool) or not math.isfinite(layer) or int(layer) != layer:
        raise LayerRangeError(f"layer {layer!r} is not a whole number")
    layer = int(layer)
    if not -(blocks + 1) <= layer <= blocks:
        raise LayerRangeError(
            f"layer {layer} does not exist: this encoder has {blocks} blocks, so layers run from "
            f"-{blocks + 1} to -1 (or 0 to {blocks}); 0 is the embeddings, -1 the normed output"
        )
    return layer if layer >= 0 else layer + blocks + 1


def negative_layer(index: int, blocks: int) -> int:
    """The negative name of hidden state ``index``: -1 for the last one, -2 for the one before."""
    return hidden_state_index(index, blocks) - blocks - 1


def is_normed(index: int, blocks: int) -> bool:
    """Whether hidden state ``index`` has been through the decoder's final norm."""
    return hidden_state_index(index, blocks) == blocks
