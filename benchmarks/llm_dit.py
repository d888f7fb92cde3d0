"""The plain way: llm-dit's formulas in torch, as one would write them down.

From fblissjr/llm-dit-experiments, which documents them; written anew here, vectorised over the
dimensions (a loop over them would be slower).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def std_in_two_lines(states: Tensor) -> Tensor:
    """(width,) std over the tokens as sqrt(E[x^2] - mean^2), unbiased: right as long as no mean is
    far larger than its std."""
    x = states.float()
    variance = (x * x).mean(dim=0) - x.mean(dim=0) ** 2
    return (variance * (len(x) / (len(x) - 1))).sqrt()


def detect_and_zero(
    states: Tensor,
    reference_std: Tensor,
    threshold: float = 10.0,
    std: Callable[[Tensor], Tensor] = lambda states: states.std(dim=0),
) -> Tensor:
    """(tokens, width) with every dimension over ``threshold`` times the reference's std at 0."""
    ratio = std(states) / reference_std
    masked = states.clone()
    masked[:, ratio > threshold] = 0
    return masked


def per_dimension(states: Tensor, reference_mean: Tensor, reference_std: Tensor) -> Tensor:
    """Each dimension's mean and std become the reference's, values limited to 3 std."""
    z = (states - states.mean(dim=0)) / states.std(dim=0)
    return z.clamp(-3, 3) * reference_std + reference_mean


def adain(text: Tensor, vision: Tensor, alpha: float = 0.3) -> Tensor:
    """Each token with the mean and std over the width of its vision token, mixed in."""
    own = (text - text.mean(-1, keepdim=True)) / text.std(-1, keepdim=True)
    moved = own * vision.std(-1, keepdim=True) + vision.mean(-1, keepdim=True)
    return alpha * moved + (1 - alpha) * text


def adain_per_dimension(text: Tensor, vision: Tensor, alpha: float = 0.3) -> Tensor:
    """Each dimension with the mean and std over the tokens of the vision side, mixed in."""
    own = (text - text.mean(dim=0)) / text.std(dim=0)
    moved = own * vision.std(dim=0) + vision.mean(dim=0)
    return alpha * moved + (1 - alpha) * text


def interpolate(text: Tensor, vision: Tensor, alpha: float = 0.3) -> Tensor:
    """The vision side resized to the text's length, then a linear mix."""
    resized = functional.interpolate(
        vision.T[None], size=len(text), mode="linear", align_corners=False
    )
    return torch.lerp(text, resized[0].T, alpha)
