"""Bring the vision side of a blend to the text side's scale.

After Z-Image's per-token RMSNorm only a token's direction counts, so between two sides of
different rms the louder one outweighs its share. Equal rms per token is the one match under which
the share of a blend is the share that survives.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Z_LIMIT = 3.0
"""Per-dimension matching limits values to this many standard deviations (llm-dit's formula)."""


def token_peak(hidden: Tensor) -> Tensor:
    """(..., 1) the largest magnitude of each token, 1 for a token of zeros."""
    peak = hidden.abs().amax(dim=-1, keepdim=True)
    return torch.where(peak > 0, peak, 1.0)


def token_rms(hidden: Tensor) -> Tensor:
    """(..., 1) root mean square of each token; no square overflows or vanishes."""
    peak = token_peak(hidden)
    return (hidden / peak).pow(2).mean(dim=-1, keepdim=True).sqrt() * peak


def moments(hidden: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased std over ``dims``, kept as size 1; std 0 for a single value.

    Args:
        hidden: (batch, tokens, width) float32 or float64; the moments have its dtype.
    """
    count = 1
    for dim in dims:
        count *= hidden.shape[dim]
    mean = hidden.mean(dim=dims, keepdim=True)
    square = (hidden - mean).double().pow(2).sum(dim=dims, keepdim=True) / max(count - 1, 1)
    std = square.sqrt().to(hidden.dtype)
    # A spread below the rounding of the values themselves is none.
    noise = 1e-6 * hidden.abs().amax(dim=dims, keepdim=True)
    return mean, torch.where(std > noise, std, 0.0)


def standardised(hidden: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """z-scores; 0 where nothing varies."""
    return torch.where(std > 0, (hidden - mean) / std.clamp(min=1e-30), 0.0)


def _match_global(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """The text's overall mean and std (moments over tokens and dimensions)."""
    mean, std = moments(vision, (1, 2))
    text_mean, text_std = moments(text, (1, 2))
    return standardised(vision, mean, std) * text_std + text_mean


def _match_per_dimension(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """llm-dit's per_dim: each dimension's mean and std, values limited to 3 std."""
    mean, std = moments(vision, (1,))
    text_mean, text_std = moments(text, (1,))
    z = standardised(vision, mean, std).clamp(-Z_LIMIT, Z_LIMIT)
    return z * text_std + text_mean


def _match_hybrid(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    return 0.5 * (_match_global(vision, text, rms) + _match_per_dimension(vision, text, rms))


def _match_rms(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """A text token of zeros has no scale to give: its vision token keeps its own."""
    own = token_rms(vision)
    return vision * torch.where((rms > 0) & (own > 0), rms / torch.where(own > 0, own, 1.0), 1.0)


MATCHES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "none": lambda vision, text, rms: vision,
    "global": _match_global,
    "per dimension": _match_per_dimension,
    "hybrid": _match_hybrid,
    "rms per token": _match_rms,
}
"""``match(vision, text, rms)``: (batch, tokens, width) of each side, and the rms that "rms per
token" is to give each vision token, (batch, tokens or 1, 1)."""
