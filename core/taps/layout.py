"""Where the hidden states of several layers lie in one state of a token.

Some image models take not one layer of their encoder but several, called taps here: Flux.2 three of
Qwen3, Krea 2 twelve of Qwen3-VL. ComfyUI hands them over as one long vector a token. Layer-major,
the first tap's dimensions come first, then the second's; interleaved (Ideogram 4), the first
dimension of every tap comes first, then the second of every tap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import shortened
from ..encoder.layers import hidden_state_index

LAYER_MAJOR, INTERLEAVED = "layer-major", "interleaved"
ORDERS = (LAYER_MAJOR, INTERLEAVED)
MOST_TAPS = 256
"""No encoder in use has as many hidden states."""
_RANGE = r"([+-]?[0-9]{1,9})\s*\.\.\s*([+-]?[0-9]{1,9})"
_NUMBER = r"[+-]?[0-9]{1,9}"


@dataclass(frozen=True)
class Taps:
    """The layout of one conditioning.

    Attributes:
        layers: hidden state of each tap as Hugging Face counts (0 the embeddings); None where it is
            not known. A layer may come twice.
        width: dimensions of one tap.
        order: one of :data:`ORDERS`.
        blocks: of the encoder; 0 if not known.
    """

    layers: tuple[int | None, ...]
    width: int
    order: str = LAYER_MAJOR
    blocks: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= MOST_TAPS:
            raise ValueError(f"there are {len(self.layers)} taps: give 1 to {MOST_TAPS}")
        if self.width < 1:
            raise ValueError(f"a tap has {self.width} dimensions: give at least 1")
        if self.order not in ORDERS:
            raise ValueError(f"the order is {self.order!r}: give {' or '.join(ORDERS)}")

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def total(self) -> int:
        """Dimensions of a token, all taps together."""
        return len(self) * self.width

    @property
    def known(self) -> bool:
        """Whether the layer of every tap is known."""
        return None not in self.layers

    def name(self, tap: int) -> str:
        """ "layer 9", "layer 9 (tap 2)" where a layer comes more than once, or "tap 2"."""
        layer = self.layers[tap]
        if layer is None:
            return f"tap {tap + 1}"
        again = f" (tap {tap + 1})" if self.layers.count(layer) > 1 else ""
        return f"layer {layer}{again}"

    @property
    def in_words(self) -> str:
        """ "layers 9, 18, 27", or "3 taps"."""
        if not self.known:
            return f"{len(self)} tap{'s' * (len(self) > 1)} of unknown layers"
        return f"layer{'s' * (len(self) > 1)} {', '.join(map(str, self.layers))}"

    def split(self, hidden: Tensor) -> list[Tensor]:
        """(batch, tokens, width) of each tap, views of ``hidden`` (batch, tokens, total).

        Raises:
            ValueError: if ``hidden`` has another number of dimensions.

        >>> [part.tolist() for part in Taps((9, 18), 2).split(torch.tensor([[[1, 2, 3, 4]]]))]
        [[[[1, 2]]], [[[3, 4]]]]
        """
        self.require(hidden)
        if self.order == INTERLEAVED:
            return list(hidden.unflatten(-1, (self.width, len(self))).unbind(-1))
        return list(hidden.unflatten(-1, (len(self), self.width)).unbind(-2))

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """(batch, tokens, total) of one (batch, tokens, width) for each tap."""
        if self.order == INTERLEAVED:
            return torch.stack(list(parts), -1).flatten(-2)
        return torch.stack(list(parts), -2).flatten(-2)

    def place(self, dimension: int) -> tuple[int, int]:
        """The tap in which ``dimension`` of the whole lies, and its number there."""
        if self.order == INTERLEAVED:
            own, tap = divmod(dimension, len(self))
            return tap, own
        return divmod(dimension, self.width)

    def dimension(self, tap: int, own: int) -> int:
        """The number in the whole of dimension ``own`` of ``tap``."""
        return own * len(self) + tap if self.order == INTERLEAVED else tap * self.width + own

    def require(self, hidden: Tensor) -> None:
        """Raise ValueError unless ``hidden`` (..., dimensions) is as wide as these taps."""
        if hidden.shape[-1] != self.total:
            raise ValueError(
                f"the conditioning has {hidden.shape[-1]} dimensions, and {len(self)} taps of "
                f"{self.width} are {self.total}: encode with the text encoder that belongs to them"
            )

    def find(self, number: int) -> list[int]:
        """The taps that ``number`` means: those of that layer (negative: from the end), or where
        the layers are not known the tap of that number, counted from 1.

        Raises:
            ValueError: if there is none; the message lists what there is.
        """
        if self.known:
            layer = number + self.blocks + 1 if number < 0 and self.blocks else number
            found = [tap for tap, own in enumerate(self.layers) if own == layer]
        else:
            found = [number - 1] if 1 <= number <= len(self) else []
        if not found:
            there = self.in_words if self.known else f"taps 1 to {len(self)}"
            raise ValueError(
                f"{number} is none of the taps of this conditioning, it has {there}: name one of "
                "them, or use Describe Conditioning to see them"
            )
        return found


def parse_taps(text: str, blocks: int) -> tuple[int, ...]:
    """The hidden states that ``text`` names, in the order written, repeated ones too.

    Args:
        text: numbers and ranges with commas between them, such as "9, 18, 27" or "12..1"; negative
            ones count from the end, -1 being hidden state ``blocks``.

    Raises:
        LayerRangeError: if this encoder has no such layer.
        ValueError: for anything else that is no such list; the message names the bad part.

    >>> parse_taps("27, 9, 9, -2", 36)
    (27, 9, 9, 35)
    """
    if not isinstance(text, str):
        raise ValueError(f"layers is {shortened(text)}: write for example 9, 18, 27")
    if not text.strip():
        raise ValueError("the list of layers is empty: write for example 9, 18, 27")
    layers: list[int] = []
    for part in (piece.strip() for piece in text.split(",")):
        if re.fullmatch(_NUMBER, part):
            layers.append(hidden_state_index(int(part), blocks))
        elif ends := re.fullmatch(_RANGE, part):
            first, last = (hidden_state_index(int(end), blocks) for end in ends.groups())
            step = 1 if first <= last else -1
            layers.extend(range(first, last + step, step))
        else:
            raise ValueError(
                f"{part[:40]!r} in the list of layers is no layer: write whole numbers such as 9, "
                "18, 27, with commas between them"
            )
    return tuple(layers)
