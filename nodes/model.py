"""What the pack's nodes need to know of a MODEL before they sample with it."""

from __future__ import annotations

from typing import Any


def require_z_image(model: Any, width: int, what: str = "the conditioning") -> None:
    """Refuse a model that is no Z-Image, or takes states of another width.

    Raises:
        ValueError: saying what to connect.
    """
    diffusion = getattr(getattr(model, "model", None), "diffusion_model", None)
    try:
        taken = diffusion.cap_embedder[1].in_features
    except (AttributeError, IndexError, TypeError):
        raise ValueError(
            f"The model ({type(diffusion).__name__}) is not Z-Image: it has no cap_embedder. "
            "Connect Load Diffusion Model with z_image_turbo_bf16.safetensors."
        ) from None
    if taken != width:
        raise ValueError(
            f"{what} has {width} dimensions, and this model takes {taken}: encode with "
            "Qwen3-4B or Qwen3-VL-4B"
        )


def require_model(model: Any) -> None:
    """Refuse what is no MODEL.

    Raises:
        ValueError: saying what to connect.
    """
    if getattr(getattr(model, "model", None), "diffusion_model", None) is None:
        raise ValueError(
            f"model is {type(model).__name__}, not a MODEL: connect Load Diffusion Model with "
            "z_image_turbo_bf16.safetensors"
        )
