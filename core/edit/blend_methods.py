"""The methods of a blend: how the two sides are paired, and what share each value takes.

Every method but slerp is a linear mix towards a target: ``text + share * (target - text)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_choice, require_finite_number, require_whole_number
from ..dit.caption_length import trained_positions
from ..measure.moments import working_dtype
from ..measure.scaling import mean_and_std, rescale, token_rms
from .matching import MATCHES
from .pairing import Paired

ATTENTION_DAMPING = 0.8
"""The most attended token keeps 1 - 0.8 of its share of vision (llm-dit's formula)."""
ATTENTION_NOISE = 1e-9
"""Attention that differs by less than this part of itself counts as equal (float64 rounding)."""
SMALLEST_SINE = 1e-5
"""Below this sine of the angle two tokens have no great circle that rounding does not choose."""
QUERIES_AT_ONCE = 512
OWN_SHARES = ("append", "graduated")
"""Methods that leave no room for an alpha of each token: they take all, or set it by position."""

CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda t: t,
    "ease in": lambda t: t**2,
    "ease out": lambda t: 1 - (1 - t) ** 2,
}


@dataclass(frozen=True)
class BlendSettings:
    """How two sides are blended, checked; what each setting does is told at :func:`.blend`.

    Raises:
        ValueError: numbers outside their range or NaN, unknown names.
    """

    alpha: float = 0.3
    method: str = "interpolate"
    match: str = "rms per token"
    keep_sinks: bool = True
    start_alpha: float = 0.0
    curve: str = "linear"
    max_tokens: int | None = None
    alphas: Sequence[float] = ()

    def __post_init__(self) -> None:
        positions = trained_positions() if self.max_tokens is None else self.max_tokens
        checked = {
            "alpha": require_finite_number("alpha", self.alpha, 0.0, 1.0),
            "start_alpha": require_finite_number("start_alpha", self.start_alpha, 0.0, 1.0),
            "max_tokens": require_whole_number("max_tokens", positions, 2, math.inf),
            "method": require_choice("method", self.method, METHODS),
            "match": require_choice("match", self.match, MATCHES),
            "curve": require_choice("curve", self.curve, CURVES),
            "alphas": tuple(require_finite_number("alphas", a, 0.0, 1.0) for a in self.alphas),
        }
        if checked["alphas"]:
            require_own_alphas(checked["method"])
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def sinks_apart(self) -> bool:
        """Whether sink tokens are kept out; llm-dit's own method samples every token."""
        return self.keep_sinks and self.method != "interpolate (llm-dit)"


def require_own_alphas(method: str) -> None:
    """Raise ValueError where a ``method`` cannot take an alpha for each token."""
    if method in OWN_SHARES:
        does = "has no share" if method == "append" else "sets each token's share by its place"
        raise ValueError(
            f"method '{method}' {does}, so alphas has no part in it: choose another method, "
            "such as interpolate, or remove alphas"
        )


def _shares(text: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros on the text's device, float32 or better."""
    return torch.zeros(shape, dtype=working_dtype(text.dtype), device=text.device)


def _constant_share(text: Tensor, settings: BlendSettings) -> Tensor:
    return _shares(text, (1, 1, 1)).fill_(settings.alpha)


def _style_share(text: Tensor, settings: BlendSettings) -> Tensor:
    """llm-dit's style_only: the last third of the dimensions."""
    width = text.shape[-1]
    share = _shares(text, (1, 1, width))
    share[..., width * 2 // 3 :] = settings.alpha
    return share


def _graduated_share(text: Tensor, settings: BlendSettings) -> Tensor:
    tokens = text.shape[1]
    if tokens == 1:
        return _constant_share(text, settings)
    t = torch.arange(tokens, dtype=torch.float64) / (tokens - 1)
    rise = CURVES[settings.curve](t)
    share = (1 - rise) * settings.start_alpha + rise * settings.alpha
    return _shares(text, (1, tokens, 1)).copy_(share[None, :, None])


def _attention_share(text: Tensor, settings: BlendSettings) -> Tensor:
    received = attention_received(text)
    low, high = received.amin(1, keepdim=True), received.amax(1, keepdim=True)
    spread = high - low
    rank = torch.where(spread > ATTENTION_NOISE * high, (received - low) / spread, 0.0)
    shares = settings.alpha * (1 - ATTENTION_DAMPING * rank)
    return shares.to(text.device, working_dtype(text.dtype))[..., None]


def attention_received(hidden: Tensor) -> Tensor:
    """(batch, tokens) float64: the mean over queries j of ``softmax_i(q_j . k_i / sqrt(width))``.

    q and k are both the RMS-normed states of (batch, tokens, width) ``hidden``: there are no
    projections and every token attends to every other. That is this pack's choice. llm-dit takes
    the weights from outside, and none of its callers gives any.
    """
    states = hidden.double()
    normed = states / token_rms(states).clamp(min=1e-30)
    received = normed.new_zeros(normed.shape[:2])
    for queries in normed.split(QUERIES_AT_ONCE, dim=1):
        scores = queries @ normed.mT / normed.shape[-1] ** 0.5
        received += scores.softmax(dim=-1).sum(dim=1)
    return received / normed.shape[1]


Target = Callable[[slice], Tensor]
"""What the tokens of a slice move towards, (batch, rows, width)."""


def _paired_tokens(text: Tensor, vision: Paired) -> Target:
    return vision.take


def adain(text: Tensor, vision: Paired) -> Target:
    """Each text token with the mean and std over the width of its own vision token."""

    def target(part: slice) -> Tensor:
        own = text[:, part]
        return rescale(own, *mean_and_std(own, (2,)), *mean_and_std(vision.take(part), (2,)))

    return target


def adain_per_dimension(text: Tensor, vision: Paired) -> Target:
    """Each dimension of the text with its mean and std over all tokens of the vision side."""
    measured = *mean_and_std(text, (1,)), *mean_and_std(vision.whole(), (1,))
    return lambda part: rescale(text[:, part], *measured)


def slerp(text: Tensor, vision: Tensor, share: Tensor | float, out: Tensor) -> Tensor:
    """``share`` of the way along the great circle of each token pair; length changes linearly.

    Tokens that are nearly parallel, nearly opposite or zero have no such circle: they are mixed
    linearly.
    """
    one, other = text.double(), vision.double()
    share = torch.as_tensor(share, device=text.device).double()
    length = torch.linalg.vector_norm(one, dim=-1, keepdim=True)
    other_length = torch.linalg.vector_norm(other, dim=-1, keepdim=True)
    unit, other_unit = one / length.clamp(min=1e-300), other / other_length.clamp(min=1e-300)
    # The arc cosine would lose small angles; this does not (Kahan's formula).
    apart = torch.linalg.vector_norm(unit - other_unit, dim=-1, keepdim=True)
    along = torch.linalg.vector_norm(unit + other_unit, dim=-1, keepdim=True)
    angle = 2 * torch.atan2(apart, along)
    sine = angle.sin()
    direction = ((1 - share) * angle).sin() * unit + (share * angle).sin() * other_unit
    arc = direction / sine.clamp(min=SMALLEST_SINE) * torch.lerp(length, other_length, share)
    bent = (sine > SMALLEST_SINE) & (length > 0) & (other_length > 0)
    return out.copy_(torch.where(bent, arc, torch.lerp(one, other, share)))


class Method(NamedTuple):
    """One way to blend (batch, tokens, width) float sides.

    Attributes:
        pairing: a key of :data:`.pairing.PAIRINGS`.
        target: ``(text, matched vision)`` to what the text moves towards, a few tokens at a time.
        share: how far each value moves, 0..1, broadcastable to the text.
        mix: ``(text, target, share, out=...)``, the share one number or a tensor that broadcasts.
    """

    pairing: str = "area"
    target: Callable[[Tensor, Paired], Target] = _paired_tokens
    share: Callable[[Tensor, BlendSettings], Tensor] = _constant_share
    mix: Callable[..., Tensor] = torch.lerp


METHODS: dict[str, Method] = {
    "interpolate": Method(),
    "interpolate (llm-dit)": Method("two-point"),
    "linear": Method("first"),
    "append": Method("whole"),
    "adain": Method(target=adain),
    "adain per dimension": Method("whole", target=adain_per_dimension),
    "style dims": Method(share=_style_share),
    "graduated": Method(share=_graduated_share),
    "attention weighted": Method(share=_attention_share),
    "slerp": Method(mix=slerp),
}
