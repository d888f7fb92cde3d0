"""Style delta: what a styled image adds to a neutral one, added to text states.

llm-dit's formula, ``text + alpha * delta * std(text) / std(delta)`` (facts of the seed's system),
with the stds taken without sink tokens: one sink inflates the text's several times.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import (
    as_states,
    require_finite_number,
    require_finite_states,
    require_same_width,
)
from ..measure.moments import to_dtype
from ..measure.scaling import mean_and_std
from ..measure.sinks import find_sinks
from .pairing import PAIRINGS

LOWEST_ALPHA, HIGHEST_ALPHA = -4.0, 4.0
ROUNDING = 1e-6
"""A difference below this part of the sides' rms is float32 rounding, not a style."""


class StyleResult(NamedTuple):
    """What :func:`add_style` did.

    Attributes:
        hidden: (batch, tokens, width) in the text's dtype and on its device; the text itself where
            alpha is 0 or the two sides do not differ by more than rounding.
        text_sinks: positions of the text's sink tokens, which stay as they are.
        styled_tokens, neutral_tokens: ordinary tokens of each side.
        delta_rms: root mean square of the difference over that of the styled side, before scaling;
            0 where the two sides do not differ, inf where the styled one is all zeros.
    """

    hidden: Tensor
    text_sinks: list[int]
    styled_tokens: int
    neutral_tokens: int
    delta_rms: float


def add_style(text: Tensor, styled: Tensor, neutral: Tensor, alpha: float = 0.3) -> StyleResult:
    """``text + alpha * delta``, with ``delta`` = styled - neutral brought to the text's std.

    The neutral side is resampled to the styled one's length, their difference to the text's, by
    area means. Sink tokens are not styled: the text's pass through, the others' are left
    out.

    Args:
        text, styled, neutral: (batch, tokens, width), any float dtype; the latter two may have a
            batch of one.
        alpha: std of what is added over the text's std; negative takes the style away.

    Raises:
        ValueError: widths or batches that do not fit, alpha outside -4..4, nothing but sinks.
        NonFiniteError: if a side holds NaN or infinity.

    >>> text = torch.arange(12.0).reshape(1, 3, 4)
    >>> styled = text + torch.tensor([1.0, 0.0, 0.0, 0.0])
    >>> added = add_style(text, styled, neutral=text, alpha=0.5).hidden - text
    >>> round(float(added.std() / text.std()), 3)
    0.5
    """
    alpha = require_finite_number("alpha", alpha, LOWEST_ALPHA, HIGHEST_ALPHA)
    text = as_states(text, "the text side")
    require_finite_states(text, "the text side")
    sinks = find_sinks(text).any(0)
    rows = (~sinks).nonzero().flatten()
    styled = _ordinary(styled, "the styled side", text)
    neutral = _ordinary(neutral, "the neutral side", text)
    if len(rows) == 0:
        raise ValueError("every token of the text side counts as a sink: nothing can be styled")
    own = text[:, rows].to(styled.dtype)
    delta = styled - PAIRINGS["area"](neutral, styled.shape[1]).whole()
    styled_rms, neutral_rms, delta_rms = _rms(styled), _rms(neutral), _rms(delta)
    delta = PAIRINGS["area"](delta, len(rows)).whole()
    _, text_std = mean_and_std(own, (1, 2))
    _, delta_std = mean_and_std(delta, (1, 2))
    text_std, delta_std = text_std.to(own), delta_std.to(own)
    differ = delta_std > ROUNDING * torch.maximum(styled_rms, neutral_rms)
    hidden, share = text, 0.0
    if bool(differ.any()):
        share = float(delta_rms.square().mean().sqrt() / styled_rms.square().mean().sqrt())
        if alpha != 0:
            scale = torch.where(differ, text_std / delta_std.clamp(min=1e-30), 0.0)
            hidden = text.clone()
            hidden[:, rows] = to_dtype(own + alpha * scale * delta, text.dtype)
    return StyleResult(
        hidden, sinks.nonzero().flatten().tolist(), styled.shape[1], neutral.shape[1], share
    )


def _ordinary(side: Tensor, name: str, text: Tensor) -> Tensor:
    """``side`` without its sink tokens, float32 or better, in the text's batch and place."""
    side = as_states(side, name)
    require_same_width(text, side, name)
    if side.shape[0] not in (1, text.shape[0]):
        raise ValueError(
            f"the text side has a batch of {text.shape[0]} and {name} of {side.shape[0]}"
        )
    require_finite_states(side, name)
    kept = ~find_sinks(side).any(0)
    if not bool(kept.any()):
        raise ValueError(f"every token of {name} counts as a sink: nothing is left to compare")
    working = torch.promote_types(text.dtype, torch.float32)
    return side[:, kept].to(text.device, working).expand(text.shape[0], -1, -1)


def _rms(values: Tensor) -> Tensor:
    """(batch, 1, 1) float64."""
    return values.double().square().mean(dim=(1, 2), keepdim=True).sqrt()
