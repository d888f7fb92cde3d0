"""A gain for each tap of a conditioning, one tap alone, or all but some."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from ..checks import shortened
from ..measure.moments import to_dtype, wide
from .layout import Taps

LARGEST_GAIN = 1e6
"""Beyond it the other taps are lost in float32's rounding."""
_NOT = r"(?si)not\b\s*(.*)"


def parse_gains(text: str, taps: Taps) -> list[float]:
    """The gain of each tap: 1, or what ``text`` gives it, such as "23: 2.5, 26: 5".

    Numbers are layers, or taps counted from 1 where the layers are not known. Empty: 1 everywhere.

    Raises:
        ValueError: for what is no such list, names no tap of these or one twice; it says which.

    >>> parse_gains("27: 2", Taps((9, 18, 27), 4))
    [1.0, 1.0, 2.0]
    """
    gains: dict[int, float] = {}
    if not isinstance(text, str):
        raise ValueError(f"weights is {shortened(text)}: write for example 23: 2.5, 26: 5")
    for part in filter(str.strip, text.split(",")):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        if not colon:
            raise ValueError(
                f"{part.strip()[:40]!r} in weights is no weight of a tap: write LAYER: WEIGHT with "
                "commas between them, such as 23: 2.5, 26: 5"
            )
        for tap in taps.find(_whole(name, "weights")):
            if tap in gains:
                raise ValueError(f"weights names {taps.name(tap)} twice: give it one weight")
            gains[tap] = _gain(number)
    return [gains.get(tap, 1.0) for tap in range(len(taps))]


def parse_solo(text: str, taps: Taps) -> list[bool]:
    """Which taps stay: those that ``text`` names, such as "23" or "20, 23"; with "not" before the
    list, all others; all where it is empty.

    Raises:
        ValueError: as :func:`parse_gains`, and if no tap would stay.

    >>> parse_solo("not 18", Taps((9, 18, 27), 4))
    [True, False, True]
    """
    if not isinstance(text, str):
        raise ValueError(f"solo is {shortened(text)}: write for example 23, or not 23")
    listed = text.strip()
    if not listed:
        return [True] * len(taps)
    without = re.fullmatch(_NOT, listed)
    numbers = (without[1] if without else listed).split(",")
    named = {tap for number in numbers for tap in taps.find(_whole(number.strip(), "solo"))}
    stays = [(tap in named) != bool(without) for tap in range(len(taps))]
    if not any(stays):
        raise ValueError(f"solo {shortened(listed)} leaves no tap: name fewer, or use none")
    return stays


def weigh(hidden: Tensor, taps: Taps, gains: list[float], keep_rms: bool = True) -> Tensor:
    """``hidden`` (batch, tokens, total) with each tap times its gain.

    Args:
        keep_rms: afterwards bring every token, all its taps together, back to the rms that it had:
            only the balance between taps changes, and one gain for all of them nothing. A token
            that the gains make 0 stays 0.

    Raises:
        ValueError: if the widths or the number of gains do not fit.
    """
    if len(gains) != len(taps):
        raise ValueError(f"there are {len(gains)} gains for {len(taps)} taps")
    taps.require(hidden)
    if all(gain == 1 for gain in gains) or (keep_rms and len(set(gains)) == 1 and gains[0] > 0):
        return hidden
    exact = wide(hidden)
    weighed = taps.join([part * gain for part, gain in zip(taps.split(exact), gains, strict=True)])
    if keep_rms:
        before, after = (
            torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (exact, weighed)
        )
        weighed = weighed * torch.where(after > 0, before / after, 0.0)
    return to_dtype(weighed, hidden.dtype)


def tap_shares(hidden: Tensor, taps: Taps, selected: Tensor | None = None) -> Tensor:
    """(taps,) float64: the mean over tokens of each tap's share of the token's squared length.

    Args:
        selected: (tokens,) bool; the others (padding) do not count.
    """
    parts = torch.stack([wide(part).square().sum(-1) for part in taps.split(hidden)], -1)
    whole = parts.sum(-1, keepdim=True)
    shares = torch.where(whole > 0, parts / whole, 0.0)
    if selected is not None:
        shares = shares[:, selected.to(shares.device)]
    return shares.flatten(0, 1).mean(0).cpu()


def tap_rms(hidden: Tensor, taps: Taps, selected: Tensor | None = None) -> Tensor:
    """(taps,) float64: the median over tokens of each tap's rms."""
    kept = slice(None) if selected is None else selected.to(hidden.device)
    return torch.stack(
        [
            wide(part[:, kept]).square().mean(-1).sqrt().flatten().quantile(0.5).cpu()
            for part in taps.split(hidden)
        ]
    )


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise ValueError(
            f"{text[:40]!r} in {what} is no number of a tap: write for example 23, as the report "
            "lists them"
        )
    return int(text)


def _gain(text: str) -> float:
    try:
        gain = float(text)
    except ValueError:
        gain = math.nan
    if not math.isfinite(gain) or abs(gain) > LARGEST_GAIN:
        raise ValueError(
            f"{text[:40]!r} in weights is no weight: write a number such as 2.5, at most "
            f"{LARGEST_GAIN:g}"
        )
    return gain
