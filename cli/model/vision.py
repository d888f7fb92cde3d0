"""Images through a Qwen3-VL of transformers: what is needed of it, and one pass of the whole model.

The whole model, not only its decoder: what the vision tower makes of an image goes in among the
embeddings, and its DeepStack features are added after the first blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.encoder.capture import capture_hidden_states
from ...core.encoder.image_size import PIXELS_PER_TOKEN
from ...core.encoder.prompt import IMAGE_PAD, VISION_END, VISION_START
from .errors import ModelError
from .files import ModelFiles
from .folder_source import FolderSource
from .language_model import LoadedDecoder
from .prompt_tokenizer import PromptTokenizer

MODEL_TYPES = ("qwen3_vl", "qwen3_vl_moe")
PATCH, MERGE, FRAMES = 16, 2, 2
"""Pixels a side of a patch, patches a side of a token, and how often a still image is repeated."""
GREY = 127.5
"""What becomes 0: images go in as -1..1."""
MARKS = ("<|im_start|>", "<|im_end|>", VISION_START, IMAGE_PAD, VISION_END)
"""Special tokens of the prompt that an image stands in."""


def require_vision(files: ModelFiles, config: Any) -> None:
    """Raise ModelError unless ``config`` is of a model that reads images as Qwen3-VL does."""
    advice = "give a Qwen3-VL folder, such as Qwen3-VL-4B-Instruct, or leave --images out"
    if not isinstance(files.source, FolderSource):
        raise ModelError(f"{files.path}: images cannot be read with a single file here; {advice}")
    kind = getattr(config, "model_type", "")
    if kind not in MODEL_TYPES:
        raise ModelError(
            f"{files.path} cannot read images: it is a model of the type {kind!r}; {advice}"
        )
    vision = config.vision_config
    found = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    if found != (PATCH, MERGE, FRAMES) or vision.in_channels != 3:
        raise ModelError(
            f"{files.path}: its vision tower has patches of {vision.patch_size} pixels, merged "
            f"{vision.spatial_merge_size} x {vision.spatial_merge_size}, and Qwen3-VL's are of "
            f"{PATCH}, merged {MERGE} x {MERGE}: {advice}"
        )


def require_image_tokens(files: ModelFiles, tokenizer: PromptTokenizer, config: Any) -> int:
    """The id of ``<|image_pad|>``.

    Raises:
        ModelError: unless the tokenizer has each special token of the prompt as one, and this one
            under the number that config.json gives it.
    """
    ids = {mark: tokenizer.plain_ids(mark) for mark in MARKS}
    for mark, found in ids.items():
        if len(found) != 1 or tokenizer.text(found[0]) != mark:
            raise ModelError(
                f"{files.path}: its tokenizer does not know {mark}, which belongs to the prompt of "
                "an image: copy the tokenizer files of Qwen3-VL into it"
            )
    [pad] = ids[IMAGE_PAD]
    if pad != config.image_token_id:
        raise ModelError(
            f"{files.path}: {IMAGE_PAD} is token {pad} of its tokenizer and {config.image_token_id}"
            " in config.json: they are of different models; copy the tokenizer files again"
        )
    return pad


def patches(image: Tensor) -> tuple[Tensor, Tensor]:
    """An image as Qwen3-VL's vision tower takes it.

    Args:
        image: (height, width, 3) uint8, both sides multiples of 32 pixels.

    Returns:
        (patches, 3 * 2 * 16 * 16) float32 in -1..1, the four patches of a token side by side, and
        the (1, 3) grid: one frame, rows and columns of patches.
    """
    rows, columns = (side // PIXELS_PER_TOKEN for side in image.shape[:2])
    pixels = (image.float() - GREY) / GREY
    split = pixels.reshape(rows, MERGE, PATCH, columns, MERGE, PATCH, 3)
    # To (row, column, row within the token, column within it, channel, height, width).
    ordered = split.permute(0, 3, 1, 4, 6, 2, 5).flatten(0, 3)
    frames = ordered.unsqueeze(2).expand(-1, -1, FRAMES, -1, -1)
    return frames.flatten(1), torch.tensor([[1, rows * MERGE, columns * MERGE]])


@torch.no_grad()
def stream_image_states(
    loaded: LoadedDecoder,
    ids: Sequence[int],
    image: Tensor,
    layers: Sequence[int],
    receive: Callable[[int, Tensor], None],
) -> None:
    """One pass over a prompt with one image that keeps no hidden state.

    Args:
        loaded: a Qwen3-VL, loaded with its vision tower.
        ids: the prompt's tokens, with one ``<|image_pad|>`` per 32 x 32 pixels.
        image: (height, width, 3) uint8, both sides multiples of 32 pixels.
        layers: hidden state indices.
        receive: ``receive(index, states)`` is called for each of them while the pass goes on;
            ``states`` is (1, tokens, width), DeepStack features included.
    """
    row = torch.tensor([list(ids)], device=loaded.device)
    pixels, grid = patches(image.to(loaded.device))
    with capture_hidden_states(loaded.decoder, layers, receive):
        # Without the head, whose scores of every token for every word nobody asks for.
        loaded.model.base_model(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            mm_token_type_ids=(row == loaded.model.config.image_token_id).int(),
            pixel_values=pixels,
            image_grid_thw=grid.to(loaded.device),
            use_cache=False,
        )
