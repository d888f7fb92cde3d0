"""The optional ``images`` of the nodes that measure: one image a prompt, encoded in turn."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io

from ..core.encoder.image_size import DEFAULT_TOKENS, fit_images, range_remark, single_images
from ..core.encoder.prompt import build_prompt, require_text_beside_image
from .encoder import Encoding, encode

log = logging.getLogger(__name__)

NOT_CONNECTED = "not connected"
"""What validation is given for ``images`` that are not there; None is a connected input."""


def images_input() -> io.Image.Input:
    """The ``images`` input, which comes last."""
    return io.Image.Input(
        "images",
        optional=True,
        tooltip="Measures the image tokens of this batch instead of prompts, one image a prompt, "
        f"at most {DEFAULT_TOKENS} tokens each; clip must be a Qwen3-VL-4B. prompts is then the "
        "text after each image: none, one line for all, or one line for each.",
    )


def texts_beside(prompts: Sequence[str], images: int) -> list[str]:
    """One text for each of so many images: "" for all without ``prompts``.

    Raises:
        ValueError: if there are several prompts and not as many as images, or one holds a token
            that stands for an image.
    """
    for number, text in enumerate(prompts, 1):
        require_text_beside_image(f"prompt {number}", text)
    if len(prompts) not in (0, 1, images):
        raise ValueError(
            f"there are {len(prompts)} prompts and {images} images: give no prompt, one for all "
            "images, or one for each"
        )
    return list(prompts) if len(prompts) == images else [*prompts, ""][:1] * images


def encode_images(
    clip: Any, images: torch.Tensor, prompts: Sequence[str], layers: Sequence[int]
) -> Iterator[list[Encoding]]:
    """Encode image after image as VL Image Token Encode does, with progress; interruptible.

    Each has a prompt of its own and is resized when its turn comes.

    Raises:
        ValueError: for what is no batch of images, texts that :func:`texts_beside` refuses, or a
            ``clip`` without a vision tower.
    """
    if not isinstance(images, torch.Tensor):
        raise ValueError(
            f"images is {type(images).__name__}, not a batch of images: connect a node that gives "
            "IMAGE"
        )
    single = single_images(images)
    texts = texts_beside(prompts, len(single))
    remarks = (range_remark(image, number) for number, image in enumerate(single, 1))
    if remark := next(filter(None, remarks), ""):
        log.warning("%s.", remark)  # Of the first only: the others of a batch are alike.
    progress = comfy.utils.ProgressBar(len(single))
    for image, text in zip(single, texts, strict=True):
        comfy.model_management.throw_exception_if_processing_interrupted()
        [fitted] = fit_images(image, DEFAULT_TOKENS)
        yield encode(clip, build_prompt(text, images=1), layers, [fitted.pixels])
        progress.update(1)
    comfy.model_management.throw_exception_if_processing_interrupted()
