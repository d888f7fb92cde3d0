"""How much an edit changes what Z-Image sees.

Its caption path begins with a per-token RMSNorm (``cap_embedder[0]``), so only a token's direction
counts: the length that makes a massive activation massive is divided out before the first matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

RMS_EPSILON = 1e-5
"""Epsilon of Z-Image's cap_embedder RMSNorm (``norm_eps`` of ComfyUI's lumina model)."""
ROUNDING = 1e-5
"""A relative L2 up to this is float32 rounding (seen: about 1e-7 from scaling a whole token)."""

STRIP = 64
"""Tokens that are compared at once on the CPU, so that what this needs stays in its cache."""


class FirstMatrix(NamedTuple):
    """The linear layer that follows the norm.

    Attributes:
        columns: (width,) the length of each of its columns.
        project: (..., width) -> (..., out), the matrix times the states, without its bias.
        after_norm: whether the model norms each token before it (Z-Image does, Flux.2 does not).
    """

    columns: Tensor
    project: Callable[[Tensor], Tensor]
    after_norm: bool = True


class DitChange(NamedTuple):
    """Per token, after RMSNorm, and after the first matrix where it is given.

    Attributes:
        relative_l2: (batch, tokens) float32, length of the difference over length of the original;
            0 is no change, 2 the opposite direction.
        cosine: (batch, tokens) float32, 1 is no change.
    """

    relative_l2: Tensor
    cosine: Tensor

    @property
    def changed(self) -> Tensor:
        """(batch, tokens) bool: which tokens changed by more than rounding does."""
        return self.relative_l2 > ROUNDING

    def in_short(self) -> str:
        """The mean change in a few words."""
        if not bool(self.changed.any()):
            return "the DiT sees no change"
        return f"the DiT sees {100 * float(self.relative_l2.mean()):.3g} % change"

    def summary(self, where: str = "after RMSNorm") -> str:
        """One line for a report; ``where``: behind which layers, in words."""
        changed = int(self.changed.sum())
        if changed == 0:
            return f"what the DiT sees ({where}) does not change"
        return (
            f"what the DiT sees ({where}): relative L2 "
            f"{float(self.relative_l2.mean()):.4f} mean, {float(self.relative_l2.max()):.4f} at "
            f"most; cosine {float(self.cosine.mean()):.5f} mean, {float(self.cosine.min()):.5f} at "
            f"least; {changed} of {self.relative_l2.numel()} tokens change"
        )


def strips(states: Tensor) -> tuple[Tensor, ...]:
    """(batch, tokens, width) cut into :data:`STRIP` tokens each; whole on a GPU."""
    tokens = STRIP if states.device.type == "cpu" else max(states.shape[1], 1)
    return states.split(tokens, 1)


def rms_norm(hidden: Tensor, weight: Tensor | None = None, eps: float = RMS_EPSILON) -> Tensor:
    """RMSNorm of (..., width) in float32; ``weight`` (width,) is the norm's own scale."""
    x, _, divisor = _undivided(hidden, eps)
    normed = x / divisor
    return normed if weight is None else normed * weight.float().to(x.device)


def _undivided(hidden: Tensor, eps: float = RMS_EPSILON) -> tuple[Tensor, Tensor, Tensor]:
    """RMSNorm of (..., width), short of its division: the values, the length of each token of them,
    and what it is divided by, both (..., 1). In float32; the values may be ``hidden`` itself."""
    x = hidden.float()
    epsilon = torch.tensor(eps**0.5, device=x.device)
    length = _length(x)
    if not math.isfinite(float(length.square().sum())):
        # The square of 1e20 is no float32.
        peak = x.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
        x, epsilon = x / peak, epsilon / peak
        length = _length(x)
    return x, length, torch.hypot(length / x.shape[-1] ** 0.5, epsilon)


def _length(tokens: Tensor) -> Tensor:
    """(..., 1) of (..., width)."""
    return torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)


def dit_change(
    before: Tensor,
    after: Tensor,
    weight: Tensor | None = None,
    matrix: FirstMatrix | None = None,
) -> DitChange:
    """Compare two (batch, tokens, width) states token by token as the DiT sees them.

    Args:
        weight: (width,) the model's own ``cap_embedder[0].weight``; 1 everywhere if not given.
        matrix: the layer after it; without it, what goes into that layer is compared.

    >>> hidden = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    >>> dit_change(hidden, 10 * hidden).summary()
    'what the DiT sees (after RMSNorm) does not change'
    """
    if before.shape != after.shape:
        raise ValueError(f"cannot compare states of {tuple(before.shape)} and {tuple(after.shape)}")
    after = after.to(before.device)
    if weight is None and matrix is None:
        length, other_length, dot, difference = _normed_figures(before, after)
    else:
        pairs = zip(strips(before), strips(after), strict=True)
        figures = [_seen_figures(*pair, weight, matrix) for pair in pairs]
        length, other_length, dot, difference = _joined(figures)
    # An all-zero token has no direction: unchanged if both are zero, else turned by 90 degrees.
    cosine = (dot / (length * other_length).clamp(min=1e-30)).clamp(-1.0, 1.0)
    relative = torch.where(
        length > 0, difference / length.clamp(min=1e-30), (difference > 0).float()
    )
    return DitChange(relative[..., 0], torch.where(difference == 0, 1.0, cosine)[..., 0])


def _normed_figures(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(batch, tokens, 1) each: the length of each side after RMSNorm, their dot product, and the
    length of their difference.

    What a token is divided by is one number, so its figures are divided, and not its values.
    """
    x, length, divisor = _undivided(before)
    other, other_length, other_divisor = _undivided(after)
    parts = zip(strips(x), strips(other), strips(other_divisor / divisor), strict=True)
    dot, difference = _joined([_compared(*part) for part in parts])
    return (
        length / divisor,
        other_length / other_divisor,
        dot / divisor / other_divisor,
        difference / other_divisor,
    )


def _seen_figures(
    before: Tensor, after: Tensor, weight: Tensor | None, matrix: FirstMatrix | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`_normed_figures`, of what the model's own weights make of some tokens."""
    if matrix is None or matrix.after_norm:
        seen, other = rms_norm(before, weight), rms_norm(after, weight)
    else:
        # A factor that both sides share changes nothing, and the square of 1e20 is no float32.
        both = torch.stack([before.float(), after.float()])
        peak = both.abs().amax(dim=(0, -1)).clamp(min=1.0)
        seen, other = both / peak[..., None]
    if matrix is not None:
        seen, other = matrix.project(seen), matrix.project(other)
    length = _length(seen)
    return length, _length(other), *_compared(seen, other, torch.ones_like(length))


def _compared(one: Tensor, other: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, tokens, 1) each: the dot product of two tokens, and the length of ``other`` less
    ``times`` (batch, tokens, 1) ``one``."""
    dot = torch.linalg.vecdot(one, other)[..., None]
    return dot, _length(torch.addcmul(other, one, times, value=-1))


def _joined(figures: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Each figure of all tokens, (batch, tokens, 1), from those of one part of the tokens after the
    other."""
    return tuple(torch.cat(of, 1) for of in zip(*figures, strict=True))
