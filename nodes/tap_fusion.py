"""How Krea 2 weighs the twelve layers that it takes of its encoder: its ``txtfusion``."""

from __future__ import annotations

from typing import Any, NamedTuple

import comfy.model_management
import torch
from torch import Tensor, nn


class TapFusion(NamedTuple):
    """The part of a model that makes one state of several taps of a token.

    Attributes:
        model: the MODEL.
        fusion: first lets a token's taps attend to each other, then sums them by ``projector``.
        taps: hidden states of a token.
        tap_width: dimensions of each.
    """

    model: Any
    fusion: nn.Module
    taps: int
    tap_width: int

    @property
    def width(self) -> int:
        """Dimensions of a caption: the taps side by side."""
        return self.taps * self.tap_width

    def load(self) -> None:
        """Bring the model where it computes, patches applied."""
        comfy.model_management.load_models_gpu([self.model])

    def weights(self) -> Tensor:
        """(taps,) float64, what the projector multiplies each with. The model must be loaded."""
        rows = torch.eye(self.taps, device=self.model.load_device)
        return self.fusion.projector(rows)[:, 0].double().cpu()

    def attention(self, hidden: Tensor) -> Tensor:
        """(blocks, taps, taps) float64: how much each tap (row) attends to each, the mean over
        heads and tokens of ``hidden`` (batch, tokens, width). The model must be loaded.
        """
        seen: list[Tensor] = []

        def look(attend, q, k, v, heads, *args, **options):
            scores = q.double() @ k.double().transpose(-1, -2) / q.shape[-1] ** 0.5
            seen.append(scores.softmax(-1).flatten(0, 1).mean(0).cpu())
            return attend(q, k, v, heads, *args, **options)

        x = hidden.to(self.model.load_device, self.model.model.get_dtype_inference())
        x = x.reshape(-1, self.taps, self.tap_width)
        options = {"optimized_attention_override": look}
        for block in self.fusion.layerwise_blocks:
            x = block(x, transformer_options=options)
        return torch.stack(seen)


def tap_fusion(model: Any) -> TapFusion | None:
    """Krea 2's, not loaded yet; None of another model."""
    fusion = getattr(getattr(model, "model", None), "diffusion_model", None)
    fusion = getattr(fusion, "txtfusion", None)
    if fusion is None:
        return None
    diffusion = model.model.diffusion_model
    return TapFusion(model, fusion, diffusion.txtlayers, diffusion.txtdim)
