"""Blend text states with the states of image tokens.

Order: the vision side is brought to the text's length, then matched to the text's statistics, then
mixed. Sink tokens are not content: the text's pass through, the vision side's are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .errors import as_states, require_finite_number, require_finite_states
from .masking import to_dtype
from .sinks import find_sinks

Z_LIMIT = 3.0
"""Per-dimension matching limits values to this many standard deviations (llm-dit's formula)."""


class BlendResult(NamedTuple):
    """What :func:`blend` did.

    Attributes:
        hidden: (batch, tokens, width) in the text's dtype and on its device.
        vision_tokens: number of vision tokens after the text's own (``append``), else 0.
        vision_used: vision tokens that had an influence.
        vision_lost: vision content tokens that had none.
        text_unblended: text content tokens that no vision token was left for (``linear``).
        text_sinks, vision_sinks: positions of sink tokens that were kept out.
    """

    hidden: Tensor
    vision_tokens: int
    vision_used: int
    vision_lost: int
    text_unblended: int
    text_sinks: list[int]
    vision_sinks: list[int]


def blend(
    text: Tensor,
    vision: Tensor,
    alpha: float = 0.3,
    method: str = "interpolate",
    match: str = "rms per token",
    keep_sinks: bool = True,
) -> BlendResult:
    """``(1 - alpha) * text + alpha * matched vision``, token by token.

    Args:
        text: (batch, tokens, width); vision: (batch or 1, tokens, width). Any float dtype.
        alpha: 0 returns the text bit for bit, 1 the matched vision side.
        method: "interpolate" (vision resampled to the text's length, by area when it shrinks, so
            that every token counts, linearly when it grows); "interpolate (llm-dit)" (their
            two-point sampling of all tokens, sinks included); "linear" (the first tokens, pair by
            pair; the text's length stays); "append" (text, then vision; alpha has no effect).
        match: "none", "global", "per dimension", "hybrid" (half of each), or "rms per token": each
            vision token gets the rms of the text token it is mixed with, the one match under
            which alpha is the share that survives the DiT's RMSNorm.
        keep_sinks: treat sink tokens as above; otherwise like any other token.

    Raises:
        ValueError: widths or batches that do not fit, alpha outside 0..1 or NaN, unknown names.
        NonFiniteError: if a side holds NaN or infinity.
    """
    alpha = require_finite_number("alpha", alpha, 0.0, 1.0)
    for name, value, known in (("method", method, METHODS), ("match", match, MATCHES)):
        if value not in known:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")
    text, vision = as_states(text, "the text side"), as_states(vision, "the vision side")
    if text.shape[-1] != vision.shape[-1]:
        raise ValueError(
            f"the text side has {text.shape[-1]} dimensions and the vision side "
            f"{vision.shape[-1]}: both encoders must have the same width (Qwen3-4B and Qwen3-VL-4B "
            "have 2560)"
        )
    if vision.shape[0] not in (1, text.shape[0]):
        raise ValueError(
            f"the text side has a batch of {text.shape[0]} and the vision side of {vision.shape[0]}"
        )
    require_finite_states(text, "the text side")
    require_finite_states(vision, "the vision side")
    keep_sinks = keep_sinks and method != "interpolate (llm-dit)"
    text_sinks = _shared_sinks(text, keep_sinks)
    vision_sinks = _shared_sinks(vision, keep_sinks)
    side = text[:, ~text_sinks.to(text.device)].float()
    other = vision[:, ~vision_sinks.to(vision.device)].to(text.device).float()
    if side.shape[1] == 0 or other.shape[1] == 0:
        raise ValueError(
            "every token of one side counts as a sink in some entry of the batch, so nothing is "
            "left to blend: encode the entries one at a time"
        )
    other = other.expand(text.shape[0], -1, -1)
    aligned = METHODS[method](other, side.shape[1])
    if method == "append":
        # No token is paired with another, so the rms to match is the text's typical one.
        target = _rms(side).median(dim=1, keepdim=True).values
        appended = MATCHES[match](aligned, side, target)
        hidden = torch.cat([text, to_dtype(appended, text.dtype)], dim=1)
        paired = 0
    else:
        paired = aligned.shape[1]
        partner = side[:, :paired]
        matched = MATCHES[match](aligned, partner, _rms(partner))
        hidden = text.clone()
        rows = (~text_sinks).nonzero().flatten()[:paired].to(text.device)
        if alpha > 0:
            mixed = torch.lerp(partner, matched, alpha)
            hidden[:, rows] = to_dtype(mixed, text.dtype)
    content = other.shape[1]
    used = _tokens_used(method, content, side.shape[1])
    if alpha == 0 and method != "append":
        used = 0
    return BlendResult(
        hidden=hidden,
        vision_tokens=content if method == "append" else 0,
        vision_used=used,
        vision_lost=content - used,
        text_unblended=0 if method == "append" else side.shape[1] - paired,
        text_sinks=text_sinks.nonzero().flatten().tolist(),
        vision_sinks=vision_sinks.nonzero().flatten().tolist(),
    )


def _shared_sinks(hidden: Tensor, wanted: bool) -> Tensor:
    """(tokens,) bool: tokens that are a sink in any entry of the batch."""
    if not wanted:
        return torch.zeros(hidden.shape[1], dtype=torch.bool)
    return find_sinks(hidden).any(0).cpu()


def _resample_area(vision: Tensor, length: int) -> Tensor:
    """(batch, tokens, width) to ``length`` tokens: area means when shrinking, else linear."""
    mode = {"mode": "area"} if vision.shape[1] >= length else _LINEAR
    return functional.interpolate(vision.mT, size=length, **mode).mT


def _resample_two_point(vision: Tensor, length: int) -> Tensor:
    return functional.interpolate(vision.mT, size=length, **_LINEAR).mT


_LINEAR = {"mode": "linear", "align_corners": False}

METHODS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "interpolate": _resample_area,
    "interpolate (llm-dit)": _resample_two_point,
    "linear": lambda vision, length: vision[:, :length],
    "append": lambda vision, length: vision,
}


def _tokens_used(method: str, content: int, length: int) -> int:
    """How many of ``content`` vision tokens reach a text side of ``length`` tokens."""
    if method == "linear":
        return min(content, length)
    if method != "interpolate (llm-dit)":
        return content
    # Two neighbours of each sampling point (align_corners=False).
    points = ((torch.arange(length) + 0.5) * content / length - 0.5).clamp(min=0)
    low = points.floor().long()
    high = (low + 1).clamp(max=content - 1)
    high = torch.where(points == low, low, high)
    return len(torch.cat([low, high]).unique())


def _rms(hidden: Tensor) -> Tensor:
    """(batch, tokens, 1) root mean square of each token, in float32, safe for large values."""
    peak = hidden.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
    return (hidden / peak).pow(2).mean(dim=-1, keepdim=True).sqrt() * peak


def _match_global(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """The text's overall mean and std (moments over tokens and dimensions)."""
    mean, std = _moments(vision, (1, 2))
    text_mean, text_std = _moments(text, (1, 2))
    return _standardised(vision, mean, std) * text_std + text_mean


def _match_per_dimension(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """llm-dit's per_dim: each dimension's mean and std, values limited to 3 std."""
    mean, std = _moments(vision, (1,))
    text_mean, text_std = _moments(text, (1,))
    z = _standardised(vision, mean, std).clamp(-Z_LIMIT, Z_LIMIT)
    return z * text_std + text_mean


def _standardised(hidden: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """z-scores; 0 where nothing varies."""
    return torch.where(std > 0, (hidden - mean) / std.clamp(min=1e-30), 0.0)


def _match_hybrid(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    return 0.5 * (_match_global(vision, text, rms) + _match_per_dimension(vision, text, rms))


def _match_rms(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    return vision * (rms / _rms(vision).clamp(min=1e-12))


def _moments(hidden: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased std over ``dims``, kept as size 1; std 0 for a single value."""
    count = 1
    for dim in dims:
        count *= hidden.shape[dim]
    mean = hidden.mean(dim=dims, keepdim=True)
    square = (hidden - mean).double().pow(2).sum(dim=dims, keepdim=True) / max(count - 1, 1)
    std = square.sqrt().float()
    # A spread below the rounding of the values themselves is none.
    noise = 1e-6 * hidden.abs().amax(dim=dims, keepdim=True)
    return mean, torch.where(std > noise, std, 0.0)


MATCHES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "none": lambda vision, text, rms: vision,
    "global": _match_global,
    "per dimension": _match_per_dimension,
    "hybrid": _match_hybrid,
    "rms per token": _match_rms,
}
