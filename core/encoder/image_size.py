"""Images as Qwen3-VL takes them: one token per 32 x 32 pixels, within a token budget.

The size follows transformers' ``smart_resize`` (Qwen2-VL image processor, Apache-2.0): the nearest
multiples of 32, scaled to lie between a smallest and a largest area. So does the resampling:
antialiased bicubic, on 8-bit values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..checks import require_choice, shortened

PIXELS_PER_TOKEN = 32
"""Side of the square that one token covers: patches of 16 pixels, merged 2 x 2."""
SMALLEST_TOKENS = 64
"""Qwen3-VL's processor enlarges images below 65,536 pixels (``size.shortest_edge``)."""
HOST_SMALLEST_PIXELS = 3136
"""ComfyUI enlarges images below that (its Qwen-VL ``min_pixels``) on its own."""
HOST_SMALLEST_TOKENS = 4
"""The fewest tokens that ComfyUI makes of an image."""
HOST_LARGEST_TOKENS = 12544
"""ComfyUI shrinks images over 12,845,056 pixels (its Qwen-VL ``max_pixels``) on its own."""
DEFAULT_TOKENS = 1024
"""The usual budget of an image: 1024 x 1024 pixels."""
WIDEST_ASPECT = 200
PREPROCESSING = ("exact", "host")


USUAL_VALUES = (-0.1, 1.1)
"""ComfyUI's images are 0 to 1; resampling and decoding overshoot that a little."""


class FittedImage(NamedTuple):
    """``pixels`` (1, height, width, 3) float32; ``tokens`` they become; ``note`` in words.

    ``remark`` says what is wrong with the pixels' values; empty if nothing is.
    """

    pixels: Tensor
    tokens: int
    note: str
    remark: str = ""


def require_budget(name: str, budget: Any) -> None:
    """Raise ValueError, naming the input, unless ComfyUI gives an image so many tokens."""
    if not isinstance(budget, int) or not HOST_SMALLEST_TOKENS <= budget <= HOST_LARGEST_TOKENS:
        raise ValueError(
            f"{name} is {shortened(budget)}: ComfyUI gives an image between "
            f"{HOST_SMALLEST_TOKENS} and {HOST_LARGEST_TOKENS} tokens"
        )


def token_grid(height: int, width: int, max_tokens: int) -> tuple[int, int]:
    """Rows and columns of tokens for an image of ``height`` x ``width`` pixels.

    Raises:
        ValueError: for an aspect ratio over 200 or a budget below one token.

    >>> token_grid(512, 768, 1024)
    (16, 24)
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


def host_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tokens that ComfyUI gives an image by itself.

    Source: ``process_qwen2vl_images`` of ComfyUI 0.33 with Qwen3-VL's patch size.
    """
    area = height * width / PIXELS_PER_TOKEN**2
    rows, columns = height / PIXELS_PER_TOKEN, width / PIXELS_PER_TOKEN
    if round(rows) * round(columns) > HOST_LARGEST_TOKENS:
        shrink = math.sqrt(area / HOST_LARGEST_TOKENS)
        return max(1, math.floor(rows / shrink)), max(1, math.floor(columns / shrink))
    smallest = HOST_SMALLEST_PIXELS / PIXELS_PER_TOKEN**2
    if round(rows) * round(columns) < smallest:
        grow = math.sqrt(smallest / area)
        return math.ceil(rows * grow), math.ceil(columns * grow)
    return round(rows), round(columns)


def fit_images(
    images: Tensor | Sequence[Tensor], max_tokens: int, preprocessing: str = "exact"
) -> list[FittedImage]:
    """Every image of a ComfyUI batch, or of several, at a size within the budget.

    Args:
        images: (batch, height, width, channels) float in 0..1, or a sequence of such batches, each
            of its own size; 1 channel is taken as grey, of 4 the last (alpha) is dropped.
        max_tokens: budget of each image.
        preprocessing: "exact" resizes as transformers does for the same 8-bit file; an image that
            needs no resizing is passed on bit for bit. "host" leaves that to ComfyUI (bilinear,
            without antialias), unless the image is over the budget: then it is scaled down so.

    Raises:
        ValueError: for an unknown preprocessing, what :func:`single_images` refuses, or a size that
            :func:`token_grid` refuses.
    """
    require_choice("preprocessing", preprocessing, PREPROCESSING)
    return [
        _fit_image(image, max_tokens, preprocessing, number)
        for number, image in enumerate(single_images(images), 1)
    ]


def fit_bytes(image: Tensor, max_tokens: int) -> Tensor:
    """One 8-bit image at a size within the budget: what :func:`fit_images` does with it, "exact".

    Args:
        image: (height, width, 3) uint8.

    Returns:
        (height, width, 3) uint8, both sides multiples of 32.

    Raises:
        ValueError: for a size that :func:`token_grid` refuses.
    """
    grid = token_grid(*image.shape[:2], max_tokens)
    size = tuple(side * PIXELS_PER_TOKEN for side in grid)
    if size == tuple(image.shape[:2]):
        return image
    return _resize_bytes(image.movedim(-1, 0)[None], size)[0].movedim(0, -1)


def single_images(images: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Every image of one batch, or of several, as a batch of one, in their order.

    Raises:
        ValueError: for an empty list, something in it that is no image (its place is named), an
            empty batch, other channel counts, NaN or infinity.
    """
    batches = [images] if isinstance(images, Tensor) else list(images)
    if not batches:
        raise ValueError("image is an empty list: give at least one image")
    for number, batch in enumerate(batches, 1):
        if not isinstance(batch, Tensor):
            raise ValueError(
                f"image {number} of {len(batches)} is {type(batch).__name__}, not an image: look "
                "at the node that made it"
            )
        _require_images(batch)
    return [batch[i : i + 1] for batch in batches for i in range(batch.shape[0])]


def _require_images(batch: Tensor) -> None:
    if batch.ndim != 4 or 0 in batch.shape:
        raise ValueError(
            f"the image batch has shape {tuple(batch.shape)}; it must be (batch, height, width, "
            "channels) with at least one image"
        )
    if batch.shape[-1] not in (1, 3, 4):
        raise ValueError(f"the images have {batch.shape[-1]} channels: it must be 1, 3 or 4")
    if batch.is_meta:
        raise ValueError("the image holds no values (meta device): look at the node that made it")
    if not bool(batch.isfinite().all()):
        raise ValueError("the image holds NaN or infinity: look at the node that made it")


def _fit_image(image: Tensor, max_tokens: int, preprocessing: str, number: int) -> FittedImage:
    _, height, width, channels = image.shape
    rows, columns = token_grid(height, width, max_tokens)
    by_host = False
    if preprocessing == "host":
        own = host_grid(height, width)
        by_host = own[0] * own[1] <= max_tokens
        rows, columns = own if by_host else (rows, columns)
    size = (rows * PIXELS_PER_TOKEN, columns * PIXELS_PER_TOKEN)
    pixels = image[..., :3].float()
    pixels = pixels.expand(-1, -1, -1, 3) if channels == 1 else pixels
    note = f"image {number}: {width}x{height}"
    if size != (height, width):
        note += f" resized to {size[1]}x{size[0]}" + (" by ComfyUI" if by_host else "")
        if not by_host:
            pixels = _resize(pixels, size, preprocessing)
    alpha = ", alpha dropped" if channels == 4 else ""
    note = f"{note}, {rows * columns} tokens{alpha}"
    return FittedImage(pixels, rows * columns, note, range_remark(image, number))


def range_remark(image: Tensor, number: int) -> str:
    """What is wrong with the values of an image; empty if they are about 0 to 1.

    ``image``: float of any shape; ``number`` is how the remark calls it.
    """
    low, high = float(image.min()), float(image.max())
    if USUAL_VALUES[0] <= low and high <= USUAL_VALUES[1]:
        return ""
    way_out = "divide it by 255" if high > 2.0 else "bring it to 0 to 1"
    return (
        f"image {number} has values from {low:.4g} to {high:.4g}, and images are 0 to 1 here, so "
        f"the encoder sees it wrongly: {way_out} first"
    )


def _resize(pixels: Tensor, size: tuple[int, int], preprocessing: str) -> Tensor:
    """(1, height, width, 3) to ``size``."""
    planes = pixels.movedim(-1, 1)
    if preprocessing == "host":
        resized = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    else:
        bytes_ = (planes.cpu() * 255).round().clamp(0, 255).to(torch.uint8)
        resized = (_resize_bytes(bytes_, size).float() / 255).to(pixels.device)
    return resized.movedim(1, -1)


def _resize_bytes(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """(batch, channels, height, width) uint8 to ``size``, as transformers resizes."""
    return functional.interpolate(planes, size=size, mode="bicubic", antialias=True)
