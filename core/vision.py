"""Images as Qwen3-VL takes them: one token per 32 x 32 pixels, within a token budget.

The size follows transformers' ``smart_resize`` (Qwen2-VL image processor, Apache-2.0): the nearest
multiples of 32, scaled to lie between a smallest and a largest area.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

PIXELS_PER_TOKEN = 32
"""Side of the square that one token covers: patches of 16 pixels, merged 2 x 2."""
SMALLEST_TOKENS = 64
"""Qwen3-VL's processor enlarges images below 65,536 pixels (``size.shortest_edge``)."""
HOST_SMALLEST_TOKENS = 4
"""ComfyUI enlarges images below 3,136 pixels (its Qwen-VL ``min_pixels``) on its own."""
WIDEST_ASPECT = 200


class FittedImage(NamedTuple):
    """``pixels`` (1, height, width, 3) float32 in 0..1, both sides multiples of 32."""

    pixels: Tensor
    tokens: int
    note: str


def token_grid(height: int, width: int, max_tokens: int) -> tuple[int, int]:
    """Rows and columns of tokens for an image of ``height`` x ``width`` pixels.

    Raises:
        ValueError: for an aspect ratio over 200 or a budget below one token.
    """
    if max_tokens < 1:
        raise ValueError(f"max_image_tokens is {max_tokens}: an image needs at least one token")
    if max(height, width) > WIDEST_ASPECT * min(height, width):
        raise ValueError(
            f"the image is {width}x{height} pixels: Qwen3-VL takes no aspect ratio over "
            f"{WIDEST_ASPECT}; crop it first"
        )
    rows, columns = height / PIXELS_PER_TOKEN, width / PIXELS_PER_TOKEN
    fit_rows, fit_columns = round(rows), round(columns)  # 0 counts as too small an area
    smallest = min(SMALLEST_TOKENS, max_tokens)
    if fit_rows * fit_columns > max_tokens:
        shrink = math.sqrt(rows * columns / max_tokens)
        fit_rows, fit_columns = (max(1, math.floor(side / shrink)) for side in (rows, columns))
    elif fit_rows * fit_columns < smallest:
        grow = math.sqrt(smallest / (rows * columns))
        fit_rows, fit_columns = (math.ceil(side * grow) for side in (rows, columns))
    # The longer side gives way where a thin image or a tiny budget still overshoots.
    if fit_rows >= fit_columns:
        fit_columns = min(fit_columns, max_tokens)
        fit_rows = min(fit_rows, max_tokens // fit_columns)
    else:
        fit_rows = min(fit_rows, max_tokens)
        fit_columns = min(fit_columns, max_tokens // fit_rows)
    if fit_rows * fit_columns < HOST_SMALLEST_TOKENS <= max_tokens:
        if max(height, width) < 3 * min(height, width):
            return 2, 2
        return (4, 1) if height > width else (1, 4)
    return fit_rows, fit_columns


def fit_images(images: Tensor, max_tokens: int) -> list[FittedImage]:
    """Every image of a ComfyUI batch at a size that Qwen3-VL divides evenly, within the budget.

    Args:
        images: (batch, height, width, channels) float in 0..1; 1 channel is taken as grey, of 4
            the last (alpha) is dropped.
        max_tokens: budget of each image.

    Raises:
        ValueError: for an empty batch, other channel counts, NaN or infinity, or a size that
            :func:`token_grid` refuses.
    """
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"the image batch has shape {tuple(images.shape)}; it must be (batch, height, width, "
            "channels) with at least one image"
        )
    batch, height, width, channels = images.shape
    if channels not in (1, 3, 4):
        raise ValueError(f"the images have {channels} channels; 1, 3 or 4 can be used")
    if not bool(images.isfinite().all()):
        raise ValueError("the image holds NaN or infinity: look at the node that made it")
    alpha = ", alpha dropped" if channels == 4 else ""
    rows, columns = token_grid(height, width, max_tokens)
    size = (rows * PIXELS_PER_TOKEN, columns * PIXELS_PER_TOKEN)
    fitted = []
    for number in range(batch):
        pixels = images[number : number + 1, :, :, :3].float()
        pixels = pixels.expand(-1, -1, -1, 3) if channels == 1 else pixels
        if size != (height, width):
            resized = functional.interpolate(
                pixels.movedim(-1, 1), size=size, mode="bicubic", antialias=True
            )
            pixels = resized.movedim(1, -1).clamp(0.0, 1.0)
        note = f"image {number + 1}: {width}x{height}"
        if size != (height, width):
            note += f" resized to {size[1]}x{size[0]}"
        fitted.append(
            FittedImage(pixels, rows * columns, f"{note}, {rows * columns} tokens{alpha}")
        )
    return fitted
