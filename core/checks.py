"""Checks that turn bad values into errors which name the value and the way out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .errors import LayerLabError
from .tables import enumerate_some

UPDATE = "update Z-Image Layer Lab"
"""The advice of messages about a file that a newer version wrote."""
LONGEST_SHOWN = 60
"""Most characters of a bad value that a message shows."""


class NonFiniteError(LayerLabError, ValueError):
    """A tensor holds NaN or infinity; the message names the tokens and dimensions."""


def require_finite_number(name: str, value: Any, low: float, high: float) -> float:
    """``value`` as a float inside ``low``..``high``.

    Raises:
        ValueError: for a number outside, NaN, and what is no number (text, True and False are
            refused too); the message names the input.
    """
    limit = f"between {low:g} and {high:g}" if math.isfinite(high) else f"at least {low:g}"
    try:
        number = math.nan if isinstance(value, (str, bytes, bool)) else float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large: it must be a number {limit}") from None
    except (TypeError, ValueError, RuntimeError):
        number = math.nan  # RuntimeError: a tensor of several values.
    if not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{name} is {shortened(value)}: it must be a number {limit}")
    return number


def require_whole_number(name: str, value: Any, low: int, high: float) -> int:
    """``value`` as an int inside ``low``..``high``; 2.0 is one.

    Raises:
        ValueError: as :func:`require_finite_number`, and for a number with decimals.
    """
    if type(value) is int and low <= value <= high:
        return value  # As it is: a float would cut a seed of 64 bits.
    number = require_finite_number(name, value, low, high)
    if not number.is_integer():
        raise ValueError(f"{name} is {shortened(value)}: it must be a whole number")
    return int(number)


def require_flag(name: str, value: Any) -> bool:
    """``value`` as a bool; ValueError, naming the input, unless it is True, False, 1 or 0."""
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{name} is {shortened(value)}: it must be true or false")


def require_choice(name: str, value: Any, known: Iterable[str]) -> str:
    """``value``; ValueError, naming the input and what is ``known``, if it is not among them."""
    choices = list(known)
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"{name} {shortened(value)} is not one of {', '.join(choices)}")


def shortened(value: object) -> str:
    """``value`` as a message shows it, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."


def require_finite_states(hidden: Tensor, what: str) -> None:
    """Raise NonFiniteError if ``hidden`` (batch, tokens, width) holds NaN or infinity."""
    # If the sum is finite, so is every value, and summing runs at memory speed. In half precision
    # the sum of finite values may overflow, so a sum that is not finite decides nothing.
    if math.isfinite(float(hidden.sum())):
        return
    finite = hidden.isfinite()
    if bool(finite.all()):
        return
    places = (~finite).nonzero()
    named = (
        f"token {token} dimension {dimension} is {float(hidden[batch, token, dimension])}"
        for batch, token, dimension in places[:5].tolist()
    )
    raise NonFiniteError(
        f"{what} holds {len(places)} non-finite values: "
        f"{enumerate_some(named, 5, len(places))}. The encoder overflowed, or "
        "an earlier node divided by zero; encode again in a wider dtype"
    )


def as_states(embeddings: Tensor, what: str = "embeddings") -> Tensor:
    """``embeddings`` as (batch, tokens, width); a 2-D tensor gets a batch of one.

    Raises:
        ValueError: for other shapes or an empty one, a dtype that is no float, and a tensor without
            values (meta) or with some left out (sparse).
    """
    if embeddings.is_meta or embeddings.layout is not torch.strided:
        kind = "on the meta device" if embeddings.is_meta else f"of layout {embeddings.layout}"
        raise ValueError(
            f"{what} is a tensor {kind}, which holds no values to read: look at the node that made "
            "it, or encode again"
        )
    if not embeddings.is_floating_point():
        raise ValueError(
            f"{what} is of {embeddings.dtype}, and hidden states have a float dtype: look at the "
            "node that made it, or encode again"
        )
    hidden = embeddings.unsqueeze(0) if embeddings.ndim == 2 else embeddings
    if hidden.ndim != 3 or 0 in hidden.shape:
        raise ValueError(
            f"{what} has shape {tuple(embeddings.shape)}; it must be (tokens, width) or "
            "(batch, tokens, width) with at least one token"
        )
    return hidden


def require_same_width(text: Tensor, side: Tensor, name: str) -> None:
    """Raise ValueError, naming both widths, unless ``side`` is as wide as ``text``."""
    if side.shape[-1] != text.shape[-1]:
        raise ValueError(
            f"the text side has {text.shape[-1]} dimensions and {name} {side.shape[-1]}: both "
            "encoders must have the same width (Qwen3-4B and Qwen3-VL-4B have 2560)"
        )
