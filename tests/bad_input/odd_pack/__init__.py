"""Odd values by name, and a node that hands them over: what a broken node pack may connect.

Imported by the tests for their own process, and installed into the throw-away server for HTTP. Its
output has the type "*", which ComfyUI lets into any input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

WIDTH = 2560
"""Of Z-Image's captions."""


def randn(*shape: int) -> torch.Tensor:
    """The same standard normal values every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def states(tokens: int = 8, width: int = WIDTH, batch: int = 1) -> torch.Tensor:
    """(batch, tokens, width) float32, like an encoder's and without a sink."""
    return 10 * randn(batch, tokens, width)


def conditioning(hidden: Any) -> list:
    """A conditioning of one entry without a record, as other packs make it."""
    return [[hidden, {}]]


def with_value(value: float, dtype: torch.dtype = torch.float32) -> list:
    """States that hold one such value, at token 3, dimension 5."""
    hidden = states().to(dtype)
    hidden[0, 3, 5] = value
    return conditioning(hidden)


def picture(*shape: int, value: float = 0.5) -> torch.Tensor:
    return torch.full(shape, value)


CONDITIONINGS: dict[str, Callable[[], Any]] = {
    "good states": lambda: conditioning(states()),
    "states with NaN": lambda: with_value(float("nan")),
    "states with Inf": lambda: with_value(float("inf")),
    "float16 states with -Inf": lambda: with_value(float("-inf"), torch.float16),
    "states of a whole number type": lambda: conditioning(states().long()),
    "complex states": lambda: conditioning(states().to(torch.complex64)),
    "states on the meta device": lambda: conditioning(states().to("meta")),
    "sparse states": lambda: conditioning(states().to_sparse()),
    "states without a token": lambda: conditioning(states()[:, :0]),
    "states without a width": lambda: conditioning(states()[..., :0]),
    "states with four axes": lambda: conditioning(states()[None]),
    "states with one axis": lambda: conditioning(states()[0, 0]),
    "a text for states": lambda: conditioning("a red fox"),
    "None for states": lambda: conditioning(None),
    "an entry without a dictionary": lambda: [[states()]],
    "an entry with None for its dictionary": lambda: [[states(), None]],
    "an entry that is a tensor": lambda: [states()],
    "a tensor for a conditioning": states,
    "a conditioning without entries": lambda: [],
    "narrow states": lambda: conditioning(states(width=64)),
    "states of a batch of 3": lambda: conditioning(states(batch=3)),
    "three entries": lambda: conditioning(states()) * 3,
    "states of 1 token": lambda: conditioning(states(1)),
    "states of 5,000 tokens": lambda: conditioning(states(5000)),
    "denormal states": lambda: conditioning(states() * 1e-40),
    "huge states": lambda: conditioning(states() * 1e36),
    "states of zeros": lambda: conditioning(states() * 0),
    "float16 states at their limit": lambda: conditioning(
        torch.full((1, 8, WIDTH), 65504.0, dtype=torch.float16)
    ),
}
"""For CONDITIONING."""

IMAGES: dict[str, Callable[[], Any]] = {
    "an image with NaN": lambda: picture(1, 32, 32, 3, value=float("nan")),
    "an image with Inf": lambda: picture(1, 32, 32, 3, value=float("inf")),
    "an image with 2 channels": lambda: picture(1, 32, 32, 2),
    "an image with three axes": lambda: picture(32, 32, 3),
    "an image without pixels": lambda: picture(1, 0, 32, 3),
    "a batch of no image": lambda: picture(0, 32, 32, 3),
    "an image of 1 x 500 pixels": lambda: picture(1, 1, 500, 3),
    "an image of 1 x 1 pixel": lambda: picture(1, 1, 1, 3),
    "an image of whole numbers": lambda: torch.full((1, 32, 32, 3), 200, dtype=torch.uint8),
    "an image on the meta device": lambda: picture(1, 32, 32, 3).to("meta"),
    "a huge finite image": lambda: picture(1, 32, 32, 3, value=1e38),
}
"""For IMAGE."""

LATENTS: dict[str, Callable[[], Any]] = {
    "a good latent": lambda: {"samples": torch.zeros(1, 16, 8, 8)},
    "a latent without samples": lambda: {},
    "a latent that is a tensor": lambda: torch.zeros(1, 16, 8, 8),
    "a latent with NaN": lambda: {"samples": torch.full((1, 16, 8, 8), float("nan"))},
    "a latent with a text for samples": lambda: {"samples": "noise"},
    "a latent with two axes": lambda: {"samples": torch.zeros(8, 8)},
    "a latent of no image": lambda: {"samples": torch.zeros(0, 16, 8, 8)},
    "a latent with 5 channels": lambda: {"samples": torch.ones(1, 5, 8, 8)},
}
"""For LATENT."""

PLAIN: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "2.5": lambda: 2.5,
    "10**400": lambda: 10**400,
    "True": lambda: True,
    "a number": lambda: 7,
    "the text 'seven'": lambda: "seven",
    "an empty text": lambda: "",
    "a list of two numbers": lambda: [1, 2],
    "a tensor of two numbers": lambda: torch.tensor([1.0, 2.0]),
    "a dictionary": dict,
    "half of a surrogate pair": lambda: "a \ud83d fox",
    "<|image_pad|>": lambda: "a <|image_pad|> fox",
    "a path above": lambda: "../../etc/passwd",
}
"""For anything."""

ODD = {**CONDITIONINGS, **IMAGES, **LATENTS, **PLAIN}


class OddValue:
    CATEGORY = "testing"
    FUNCTION = "give"
    RETURN_TYPES = ("*",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"name": ("STRING", {"default": ""})}}

    def give(self, name: str) -> tuple:
        return (ODD[name](),)


NODE_CLASS_MAPPINGS = {"LayerLabTestOddValue": OddValue}
