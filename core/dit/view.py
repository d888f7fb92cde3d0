"""How much an edit changes what Z-Image sees.

Its caption path begins with a per-token RMSNorm (``cap_embedder[0]``), so only a token's direction
counts: the length that makes a massive activation massive is divided out before the first matrix.
"""

from __future__ import annotations

from collections.abc import Callable
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
    x = hidden.float()
    width = x.shape[-1]
    rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / width**0.5
    if not bool(rms.isfinite().all()):
        # The square of 1e20 is no float32.
        peak = x.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
        rms = peak * (torch.linalg.vector_norm(x / peak, dim=-1, keepdim=True) / width**0.5)
    normed = x / torch.hypot(rms, rms.new_tensor(eps**0.5))
    return normed if weight is None else normed * weight.float().to(x.device)


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
    pairs = zip(strips(before), strips(after.to(before.device)), strict=True)
    figures = [_figures(*pair, weight, matrix) for pair in pairs]
    length, other, dot, difference = (torch.cat(of, 1) for of in zip(*figures, strict=True))
    # An all-zero token has no direction: unchanged if both are zero, else turned by 90 degrees.
    cosine = (dot / (length * other).clamp(min=1e-30)).clamp(-1.0, 1.0)
    relative = torch.where(
        length > 0, difference / length.clamp(min=1e-30), (difference > 0).float()
    )
    return DitChange(relative, torch.where(difference == 0, 1.0, cosine))


def _figures(
    before: Tensor, after: Tensor, weight: Tensor | None, matrix: FirstMatrix | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(batch, tokens) of some tokens: the length of each side as the DiT sees it, their dot
    product, and the length of their difference."""
    if matrix is None or matrix.after_norm:
        seen_before, seen_after = rms_norm(before, weight), rms_norm(after, weight)
    else:
        # A factor that both sides share changes nothing, and the square of 1e20 is no float32.
        both = torch.stack([before.float(), after.float()])
        peak = both.abs().amax(dim=(0, -1)).clamp(min=1.0)
        seen_before, seen_after = both / peak[..., None]
    if matrix is not None:
        seen_before, seen_after = map(matrix.project, (seen_before, seen_after))
    length, other = (torch.linalg.vector_norm(one, dim=-1) for one in (seen_before, seen_after))
    dot = torch.linalg.vecdot(seen_before, seen_after)
    difference = torch.linalg.vector_norm(seen_after.sub_(seen_before), dim=-1)
    return length, other, dot, difference
