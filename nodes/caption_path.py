"""The first layers of an image model's caption path, with the weights that it really computes with.

A LoRA, a quantised file or one that is not loaded yet: a module's raw ``weight`` may be none of
what the model multiplies with. So the weights are not read: the model is loaded and its own layer
is asked what it makes of one dimension after the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import comfy.model_management
import torch
from torch import Tensor, nn

FLUX2_TAPS = 3
"""Hidden states of one encoder that Flux.2 takes side by side, those of three layers."""
CHUNK = 256
"""Dimensions asked for at a time."""


class CaptionPath(NamedTuple):
    """The layers that a caption of ``width`` dimensions goes through first.

    Attributes:
        model: the MODEL.
        kind: of which image model, in words.
        norm: the RMSNorm before the matrix, or None.
        matrix: the linear layer.
        width: dimensions that it takes.
        taps: so many hidden states of the encoder lie side by side in them, each of the same width.
    """

    model: Any
    kind: str
    norm: nn.Module | None
    matrix: nn.Module
    width: int
    taps: int = 1

    def name(self, dimension: int) -> str:
        """A dimension's number, and in which tap it is where there are several."""
        if self.taps == 1:
            return str(dimension)
        tap, own = divmod(dimension, self.width // self.taps)
        return f"{dimension} (tap {tap + 1}: {own})"

    def load(self) -> None:
        """Bring the model where it computes, patches applied."""
        comfy.model_management.load_models_gpu([self.model])

    def norm_weight(self) -> Tensor | None:
        """(width,) float64, what the norm multiplies each dimension with; None without a norm.

        The model must be loaded.
        """
        if self.norm is None:
            return None
        ones = torch.ones(1, self.width, device=self.model.load_device)
        # The RMS of ones is 1, so the layer gives its weight over sqrt(1 + eps).
        eps = getattr(self.norm, "eps", None) or 0.0
        return self.norm(ones)[0].double().cpu() * (1.0 + eps) ** 0.5

    def column_lengths(self) -> Tensor:
        """(width,) float64, the length of each column of the matrix. The model must be loaded."""
        lengths = torch.empty(self.width, dtype=torch.float64)
        bias = self._bias()
        for start in range(0, self.width, CHUNK):
            stop = min(start + CHUNK, self.width)
            one_hot = torch.zeros(stop - start, self.width, device=self.model.load_device)
            one_hot[torch.arange(stop - start), torch.arange(start, stop)] = 1.0
            columns = (self.matrix(one_hot) - bias).double()
            lengths[start:stop] = torch.linalg.vector_norm(columns, dim=-1).cpu()
        return lengths

    def project(self, normed: Tensor) -> Tensor:
        """(batch, tokens, out) float32 on the CPU, the matrix times ``normed`` (batch, tokens,
        width), without the bias. The model must be loaded."""
        given = normed.to(self.model.load_device, torch.float32)
        return (self.matrix(given) - self._bias()).float().cpu()

    def _bias(self) -> Tensor:
        return self.matrix(torch.zeros(1, self.width, device=self.model.load_device))


def caption_path(model: Any) -> CaptionPath:
    """The first layers of ``model`` (Z-Image, Flux.2), not loaded yet.

    Raises:
        ValueError: if it is another model.
    """
    diffusion = getattr(getattr(model, "model", None), "diffusion_model", None)
    embedder = getattr(diffusion, "cap_embedder", None)
    if isinstance(embedder, nn.Sequential) and len(embedder) == 2:
        norm, matrix = embedder
        return CaptionPath(model, "Z-Image", norm, matrix, matrix.in_features)
    matrix = getattr(diffusion, "txt_in", None)
    if hasattr(matrix, "in_features"):
        kind = type(model.model).__name__
        taps = FLUX2_TAPS if kind == "Flux2" else 1
        return CaptionPath(model, kind, None, matrix, matrix.in_features, taps)
    raise ValueError(
        f"The model ({type(diffusion).__name__}) is not Z-Image: it has no cap_embedder, nor the "
        "txt_in of Flux.2. Connect Load Diffusion Model with z_image_turbo_bf16.safetensors."
    )
