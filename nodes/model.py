"""What the pack needs to know of a MODEL: that it is Z-Image, and how its caption path begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def caption_norm_weight(model: Any, width: int, what: str = "the conditioning") -> Tensor:
    """(width,) float32, the weight of the RMSNorm that Z-Image's captions go through first.

    Raises:
        ValueError: if the model is no Z-Image, or takes states of another width.
    """
    diffusion = getattr(getattr(model, "model", None), "diffusion_model", None)
    try:
        weight = diffusion.cap_embedder[0].weight
    except (AttributeError, IndexError, TypeError):
        raise ValueError(
            f"The model ({type(diffusion).__name__}) is not Z-Image: it has no cap_embedder. "
            "Connect Load Diffusion Model with z_image_turbo_bf16.safetensors."
        ) from None
    if weight.shape != (width,):
        raise ValueError(
            f"{what} has {width} dimensions, and this model takes {weight.shape[0]}: encode with "
            "Qwen3-4B or Qwen3-VL-4B"
        )
    return weight.detach().to("cpu", torch.float32)
