"""Blend text states with the states of image tokens.

Order: the vision side is brought to the text's length, then matched to the text's statistics, then
mixed. The text's sink tokens pass through, the vision side's are left out; all others
are ordinary tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_finite_states, require_same_width
from ..measure.moments import to_dtype
from ..measure.scaling import Z_LIMIT, token_rms
from ..measure.sinks import find_sinks
from .blend_methods import CURVES, METHODS, BlendSettings, Method, Target
from .matching import MATCHES
from .pairing import PAIRINGS, Paired, as_is, windows

__all__ = [
    "CURVES",
    "MATCHES",
    "METHODS",
    "Z_LIMIT",
    "BlendResult",
    "BlendSettings",
    "blend",
    "blend_with",
]

BLOCK_VALUES = 1 << 19
"""Values that are mixed at once: memory for as many is used again, not asked for anew."""


class BlendResult(NamedTuple):
    """What :func:`blend` did.

    Attributes:
        hidden: (batch, tokens, width) in the text's dtype and on its device.
        vision_tokens: number of vision tokens after the text's own (``append``), else 0. Fewer than
            ``vision_used`` if they were pooled to fit.
        vision_used: vision tokens that had an influence.
        vision_lost: ordinary vision tokens that had none.
        text_unblended: ordinary text tokens that no vision token was left for (``linear``).
        text_sinks, vision_sinks: positions of sink tokens that were kept out.
        shares: smallest and largest share of the vision side that a blended token took; (0, 0)
            for ``append``.
    """

    hidden: Tensor
    vision_tokens: int
    vision_used: int
    vision_lost: int
    text_unblended: int
    text_sinks: list[int]
    vision_sinks: list[int]
    shares: tuple[float, float] = (0.0, 0.0)


def blend(
    text: Tensor,
    vision: Tensor,
    alpha: float = 0.3,
    method: str = "interpolate",
    match: str = "rms per token",
    keep_sinks: bool = True,
    *,
    start_alpha: float = 0.0,
    curve: str = "linear",
    max_tokens: int | None = None,
    alphas: Sequence[float] = (),
) -> BlendResult:
    """``text + share * (target - text)``, token by token; a share of 0 keeps the text's bits.

    Below, t is a text token and v its vision token: vision resampled to the text's length (by area
    when it shrinks, so that every token counts, linearly when it grows), then matched.

    Args:
        text: (batch, tokens, width); vision: (batch or 1, tokens, width). Any float dtype.
        alpha: share of the vision side, 0..1.
        method: a key of :data:`METHODS`:
            "interpolate": towards v.
            "interpolate (llm-dit)": the same with their two-point sampling of all tokens, sinks
            included.
            "linear": towards the first vision tokens, pair by pair; the text's length stays.
            "append": text, then vision; alpha has no effect.
            "adain": towards t with the mean and std over the width of v. Keeps the token's shape,
            so next to nothing of it is left after the DiT's RMSNorm.
            "adain per dimension": towards t with each dimension's mean and std over all
            ordinary vision tokens, not resampled and not limited.
            "style dims": towards v, only the dimensions from ``width * 2 // 3`` up.
            "graduated": towards v, the share going from ``start_alpha`` at the first ordinary token
            to ``alpha`` at the last along ``curve`` (a single token takes ``alpha``).
            "attention weighted": towards v with share ``alpha * (1 - 0.8 * minmax(w))``, w the
            attention that a text token receives
            (:func:`~.blend_methods.attention_received`). Where all receive the same, minmax is 0.
            "slerp": along the great circle between t and v, the length changing linearly.
        match: "none", "global", "per dimension", "hybrid" (half of each), or "rms per token": each
            vision token gets the rms of the text token it is mixed with, the one match under
            which alpha is the share that survives the DiT's RMSNorm. Where tokens are not paired
            ("append", "adain per dimension") it is the text's median rms.
        keep_sinks: treat sink tokens as above; otherwise like any other token.
        start_alpha: "graduated" only, 0..1.
        curve: "graduated" only, with t from 0 to 1: "linear" t, "ease in" t^2, "ease out"
            1 - (1 - t)^2.
        max_tokens: "append" only. Where both sides together have more, the vision side is pooled by
            area to what the text leaves. None: :func:`~.caption_length.trained_positions`.
        alphas: one for each text token (a sink's is not used), in the place of ``alpha``. Not for
            "append" and "graduated".

    Raises:
        ValueError: widths or batches that do not fit, numbers outside their range or NaN, unknown
            names, a text that leaves "append" no room, alphas that do not fit.
        NonFiniteError: if a side holds NaN or infinity.

    >>> text, vision = torch.zeros(1, 2, 4), torch.ones(1, 6, 4)
    >>> blend(text, vision, alpha=0.25, match="none").hidden[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    settings = BlendSettings(
        alpha, method, match, keep_sinks, start_alpha, curve, max_tokens, alphas
    )
    return blend_with(text, vision, settings)


def blend_with(text: Tensor, vision: Tensor, settings: BlendSettings) -> BlendResult:
    """:func:`blend` with its settings as one value."""
    text, vision = _sides(text, vision)
    if settings.alphas and len(settings.alphas) != text.shape[1]:
        raise ValueError(
            f"there are {len(settings.alphas)} alphas and {text.shape[1]} text tokens: give one "
            "for each"
        )
    text_sinks = _shared_sinks(text, settings.sinks_apart)
    vision_sinks = _shared_sinks(vision, settings.sinks_apart)
    side, other = _without(text, text_sinks), _without(vision, vision_sinks).to(text.device)
    if torch.float64 in (text.dtype, vision.dtype):
        side, other = side.double(), other.double()
    if side.shape[1] == 0 or other.shape[1] == 0:
        raise ValueError(
            "every token of one side counts as a sink in some entry of the batch, so nothing is "
            "left to blend: encode the entries one at a time, or switch keep_sinks off"
        )
    other = other.expand(text.shape[0], -1, -1)
    sinks = text_sinks.nonzero().flatten().tolist(), vision_sinks.nonzero().flatten().tolist()
    if settings.method == "append":
        appended = _append(text, side, other, settings)
        used = other.shape[1]
        return BlendResult(torch.cat([text, appended], 1), appended.shape[1], used, 0, 0, *sinks)
    rows = (~text_sinks).nonzero().flatten().to(text.device)
    return _mix(text, rows, side, other, settings)._replace(
        text_sinks=sinks[0], vision_sinks=sinks[1]
    )


def _sides(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides as (batch, tokens, width), checked."""
    text, vision = as_states(text, "the text side"), as_states(vision, "the vision side")
    require_same_width(text, vision, "the vision side")
    if vision.shape[0] not in (1, text.shape[0]):
        raise ValueError(
            f"the text side has a batch of {text.shape[0]} and the vision side of "
            f"{vision.shape[0]}: give one vision side, or one for each text"
        )
    require_finite_states(text, "the text side")
    require_finite_states(vision, "the vision side")
    return text, vision


def _shared_sinks(hidden: Tensor, wanted: bool) -> Tensor:
    """(tokens,) bool: tokens that are a sink in any entry of the batch."""
    if not wanted:
        return torch.zeros(hidden.shape[1], dtype=torch.bool)
    return find_sinks(hidden).any(0).cpu()


def _without(hidden: Tensor, sinks: Tensor) -> Tensor:
    """``hidden`` without its ``sinks`` (tokens,); itself where there are none."""
    return hidden[:, ~sinks.to(hidden.device)] if bool(sinks.any()) else hidden


def _append(text: Tensor, side: Tensor, other: Tensor, settings: BlendSettings) -> Tensor:
    """The vision tokens that go after ``text``, pooled to the room that it leaves."""
    room = settings.max_tokens - text.shape[1]
    if room < 1:
        raise ValueError(
            f"the text has {text.shape[1]} tokens and max_tokens is {settings.max_tokens}, so "
            "append has no room for the vision side: raise max_tokens, shorten the prompt, or "
            "choose a method that keeps the text's length, such as interpolate"
        )
    if other.shape[1] > room:
        other = PAIRINGS["area"](other, room).whole()
    matched = MATCHES[settings.match](other, side, _median_rms(side))
    return to_dtype(matched, text.dtype)


def _mix(
    text: Tensor, rows: Tensor, side: Tensor, other: Tensor, settings: BlendSettings
) -> BlendResult:
    """Blend the tokens ``rows`` of ``text``, which are ``side``, with ``other``."""
    method = METHODS[settings.method]
    ordinary, length = other.shape[1], side.shape[1]
    aligned = PAIRINGS[method.pairing](other, length)
    partner = side if method.pairing == "whole" else side[:, : aligned.tokens]
    rows = rows[: partner.shape[1]]
    share = _share(partner, rows, method, settings)
    if bool((share > 0).any()):
        target = method.target(partner, _matched(aligned, partner, method, settings.match))
        mixed = _mixed(partner, target, share, method, text.dtype)
        hidden = mixed if len(rows) == text.shape[1] else text.index_copy(1, rows, mixed)
    else:
        hidden = text.clone(memory_format=torch.contiguous_format)
    used = _tokens_used(method.pairing, ordinary, length, share)
    return BlendResult(
        hidden=hidden,
        vision_tokens=0,
        vision_used=used,
        vision_lost=ordinary - used,
        text_unblended=length - partner.shape[1],
        text_sinks=[],
        vision_sinks=[],
        shares=_share_range(share),
    )


def _share(partner: Tensor, rows: Tensor, method: Method, settings: BlendSettings) -> Tensor:
    """How far each value of ``partner``, the text's tokens ``rows``, moves, broadcastable to it."""
    if not settings.alphas:
        return method.share(partner, settings)
    whole = method.share(partner, replace(settings, alpha=1.0))
    return whole * whole.new_tensor(settings.alphas)[rows, None]


def _matched(aligned: Paired, partner: Tensor, method: Method, match: str) -> Paired:
    """``aligned`` brought to the statistics of ``partner``: a few tokens at a time where the match
    looks at one token only."""
    bring = MATCHES[match]
    if match == "none":
        return aligned
    if match == "rms per token" and method.pairing != "whole":
        rms = token_rms(partner)
        return aligned._replace(
            take=lambda part: bring(aligned.take(part), partner[:, part], rms[:, part])
        )
    return as_is(bring(aligned.whole(), partner, _median_rms(partner)))


def _mixed(
    partner: Tensor, target: Target, share: Tensor, method: Method, dtype: torch.dtype
) -> Tensor:
    """(batch, tokens, width) in ``dtype``, a few tokens at a time, so that only the result is a
    tensor of full size. A share of 0 leaves every bit as it was, the sign of a zero too."""
    result = torch.empty(partner.shape, dtype=dtype, device=partner.device)
    limit = torch.finfo(dtype).max
    same = dtype == share.dtype
    for part in _blocks(partner):
        own = partner[:, part].to(share.dtype)
        taken = share[:, part] if share.shape[1] > 1 else share
        weight = float(taken) if taken.numel() == 1 else taken
        place = result[:, part]
        values = place if same else torch.empty_like(own)
        method.mix(own, target(part).to(share.dtype), weight, out=values).clamp_(-limit, limit)
        if isinstance(weight, Tensor):
            values = torch.where(weight > 0, values, own)
        if values is not place:
            place.copy_(values)
    return result


def _blocks(hidden: Tensor) -> list[slice]:
    """The tokens of (batch, tokens, width), so many at a time that copies of a block are small; all
    at once on a GPU."""
    batch, tokens, width = hidden.shape
    step = max(BLOCK_VALUES // (batch * width), 1) if hidden.device.type == "cpu" else tokens
    return [slice(start, min(start + step, tokens)) for start in range(0, tokens, step)]


def _median_rms(side: Tensor) -> Tensor:
    """(batch, 1, 1): the rms to match where no token is paired with another."""
    return token_rms(side).quantile(0.5, dim=1, keepdim=True)


def _tokens_used(pairing: str, tokens: int, length: int, share: Tensor) -> int:
    """How many of ``tokens`` vision tokens have a part in a token whose share is not 0."""
    taken = (share > 0).any(-1).any(0).cpu()
    if pairing == "whole":
        return tokens if bool(taken.any()) else 0
    spans = windows(pairing, tokens, length)
    first, last = spans[taken.expand(len(spans))].T
    # How many windows each token lies in: one more where one begins, one less behind its end.
    steps = torch.bincount(first, minlength=tokens + 1)
    steps -= torch.bincount(last + 1, minlength=tokens + 1)
    return int((steps.cumsum(0)[:tokens] > 0).sum())


def _share_range(share: Tensor) -> tuple[float, float]:
    of_token = share.amax(-1)
    return float(of_token.min()), float(of_token.max())
