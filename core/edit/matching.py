"""Bring the vision side of a blend to the text side's scale.

After Z-Image's per-token RMSNorm only a token's direction counts, so between two sides of
different rms the louder one outweighs its share. Equal rms per token is the one match under which
the share of a blend is the share that survives.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..measure.scaling import SAFE_SCALE, Z_LIMIT, mean_and_std, rescale, token_rms


def _match_global(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """The text's overall mean and std (moments over tokens and dimensions)."""
    return rescale(vision, *mean_and_std(vision, (1, 2)), *mean_and_std(text, (1, 2)))


def _match_per_dimension(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """llm-dit's per_dim: each dimension's mean and std, values limited to 3 std."""
    return rescale(vision, *mean_and_std(vision, (1,)), *mean_and_std(text, (1,)), Z_LIMIT)


def _match_hybrid(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    each = _match_per_dimension(vision, text, rms)
    return _match_global(vision, text, rms).add_(each).mul_(0.5)


def _match_rms(vision: Tensor, text: Tensor, rms: Tensor) -> Tensor:
    """A text token of zeros has no scale to give: its vision token keeps its own."""
    own = token_rms(vision)
    vision = vision.to(own.dtype)
    known = (rms > 0) & (own > 0)
    factor = torch.where(known, rms / torch.where(own > 0, own, 1.0), 1.0)
    if bool(((factor > 1 / SAFE_SCALE) & (factor < SAFE_SCALE)).all()):
        return vision * factor
    # The quotient of a huge number and a tiny one is no float32.
    return torch.where(known, vision / torch.where(own > 0, own, 1.0) * rms, vision)


MATCHES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "none": lambda vision, text, rms: vision,
    "global": _match_global,
    "per dimension": _match_per_dimension,
    "hybrid": _match_hybrid,
    "rms per token": _match_rms,
}
"""``match(vision, text, rms)``: (batch, tokens, width) of each side, and the rms that "rms per
token" is to give each vision token, (batch, tokens or 1, 1)."""
