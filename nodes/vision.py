"""VL Image Token Encode."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..core.checks import require_choice, require_flag
from ..core.dit.caption_length import length_remarks
from ..core.encoder.image_size import (
    DEFAULT_TOKENS,
    HOST_LARGEST_TOKENS,
    HOST_SMALLEST_TOKENS,
    PREPROCESSING,
    FittedImage,
    fit_images,
    require_budget,
    single_images,
)
from ..core.encoder.prompt import THINK_BLOCKS, build_prompt, require_text_beside_image
from ..core.record.record import Role, role_mask
from .capture import answer_inputs, check_layer, layer_input, prompt_inputs
from .conditioning import write_entry
from .encoder import Encoding, encode
from .lists import only, runs
from .node import Node
from .report import shown_report
from .types import CATEGORY

log = logging.getLogger(__name__)

SELECTIONS: dict[str, tuple[Role, ...]] = {
    "all": tuple(Role),
    "image": (Role.IMAGE,),
    "image + markers": (Role.IMAGE, Role.VISION_MARKER),
    "text": (Role.TEXT,),
}
TEXTS = ("text", "system_prompt", "think_text", "assistant_text")
TEXT_PLACES = ("after the images", "before the images")
TOGETHER, EACH = "one prompt", "one prompt each"
CHOICES: dict[str, tuple[str, ...]] = {
    "tokens": tuple(SELECTIONS),
    "think_block": tuple(THINK_BLOCKS),
    "text_place": TEXT_PLACES,
    "preprocessing": PREPROCESSING,
    "several_images": (TOGETHER, EACH),
}


class VLEncode(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        system_prompt, think_block = prompt_inputs()
        return io.Schema(
            node_id="LayerLabVLEncode",
            display_name="VL Image Token Encode",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Reads images with Qwen3-VL and hands over the hidden states of their "
            "tokens, to be blended with text states or given to Z-Image directly.",
            search_aliases=[
                "ip adapter",
                "image prompt",
                "image reference",
                "qwen3-vl",
                "vision tokens",
                "vision encode",
            ],
            is_input_list=True,
            inputs=[
                io.Clip.Input(
                    "clip", tooltip="Qwen3-VL-4B with its vision tower: CLIPLoader, type lumina2."
                ),
                io.Image.Input(
                    "image",
                    tooltip="One image, a batch, or a list of images of any sizes: all are read in "
                    "one prompt, in their order.",
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="Optional text in the same turn as the images.",
                ),
                layer_input(-6),
                *token_inputs(),
                think_block,
                system_prompt,
                io.Combo.Input(
                    "text_place",
                    options=list(TEXT_PLACES),
                    default=TEXT_PLACES[0],
                    optional=True,
                    advanced=True,
                    tooltip="Where the text stands. Tokens see only what is before them: image "
                    "tokens know the text only if it comes first.",
                ),
                io.Boolean.Input(
                    "two_layers",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Off: `layer` for all tokens. On: `image_layer` for the images' tokens "
                    "and `text_layer` for all others, from the same forward pass.",
                ),
                _layer("image_layer", -6, "image tokens"),
                _layer("text_layer", -2, "all other tokens"),
                io.Combo.Input(
                    "preprocessing",
                    options=list(PREPROCESSING),
                    default="exact",
                    optional=True,
                    advanced=True,
                    tooltip="exact: resized as transformers does for the same file (antialiased "
                    "bicubic). host: as ComfyUI does (bilinear, without antialias).",
                ),
                io.Combo.Input(
                    "several_images",
                    options=[TOGETHER, EACH],
                    default=TOGETHER,
                    optional=True,
                    advanced=True,
                    tooltip="one prompt: all images together. one prompt each: a conditioning per "
                    "image, as a list.",
                ),
                *answer_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    is_output_list=True,
                    tooltip="Ordinary CONDITIONING; the role of each token travels inside it.",
                ),
                io.String.Output(
                    "prompt",
                    display_name="prompt",
                    is_output_list=True,
                    tooltip="Exactly what was encoded; <|image_pad|> stands for an image's tokens.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, layer=(), image_layer=(), text_layer=()) -> bool | str:
        typed = [*(layer or ()), *(image_layer or ()), *(text_layer or ())]
        return next((bad for bad in map(check_layer, typed) if bad is not True), True)

    @classmethod
    def execute(cls, image, **settings) -> io.NodeOutput:
        together = only("several_images", settings.get("several_images", [TOGETHER])) != EACH
        single = single_images(image)
        images = [single] if together else [[one] for one in single]
        planned = list(runs({**settings, "images": images}))
        for values in planned:
            _require_usable(values)
        done = [_encode(**values) for values in planned]
        conditionings, prompts, shown = zip(*done, strict=True)
        return io.NodeOutput(
            list(conditionings), list(prompts), ui=shown_report("\n\n".join(shown))
        )


def token_inputs() -> list[io.Input]:
    """The ``tokens`` and ``max_image_tokens`` inputs of the nodes that read images."""
    return [
        io.Combo.Input(
            "tokens",
            options=list(SELECTIONS),
            default="all",
            tooltip="Which tokens to hand over. What the image says sits in its image tokens; text "
            "alone throws it away.",
        ),
        io.Int.Input(
            "max_image_tokens",
            default=DEFAULT_TOKENS,
            min=HOST_SMALLEST_TOKENS,
            max=HOST_LARGEST_TOKENS,
            tooltip="Budget of each image: one token per 32x32 pixels, so 1024 is 1024x1024. A "
            "larger image is scaled down; Describe Conditioning says to what.",
        ),
    ]


def _layer(name: str, default: int, tokens: str) -> io.Int.Input:
    """An optional layer input that counts only with ``two_layers``."""
    given = layer_input(default)
    given.id, given.optional, given.advanced = name, True, True
    given.tooltip = f"With two_layers: the hidden state of {tokens}, counted as `layer` is."
    return given


def _require_usable(values: Mapping[str, Any]) -> None:
    """Raise ValueError for what a connected input may bring: the host checks typed ones only."""
    for name, known in CHOICES.items():
        if name in values:
            require_choice(name, values[name], known)
    require_budget("max_image_tokens", values["max_image_tokens"])
    if "two_layers" in values:
        require_flag("two_layers", values["two_layers"])
    for name in TEXTS:
        require_text_beside_image(name, values.get(name, ""))


def _encode(
    clip: Any,
    images: Sequence[torch.Tensor],
    text: str,
    layer: int,
    tokens: str,
    max_image_tokens: int,
    think_block: str,
    system_prompt: str,
    text_place: str = TEXT_PLACES[0],
    two_layers: bool = False,
    image_layer: int = -6,
    text_layer: int = -2,
    preprocessing: str = "exact",
    several_images: str = TOGETHER,
    think_text: str = "",
    assistant_text: str = "",
) -> tuple[list, str, str]:
    """One prompt: its conditioning, the exact prompt, and what is shown."""
    fitted = fit_images(images, max_image_tokens, preprocessing)
    prompt = build_prompt(
        text,
        system_prompt,
        think_block,
        len(fitted),
        text_first=text_place == TEXT_PLACES[1],
        think_text=think_text,
        assistant_text=assistant_text,
    )
    layers = [image_layer, text_layer] if two_layers else [layer]
    encodings = encode(clip, prompt, layers, [fit.pixels for fit in fitted], once=True)
    encoding = _joined(*encodings) if two_layers else encodings[0]
    encoding = keep_tokens(encoding, fitted, tokens)
    record = encoding.record
    off, notes = image_remarks("VL Image Token Encode", fitted, len(record))
    lines = [*off, f"{len(record)} tokens at {record.layer_in_words}", *notes, encoding.prompt]
    return encoding.conditioning, encoding.prompt, "\n".join(lines)


def keep_tokens(encoding: Encoding, fitted: Sequence[FittedImage], tokens: str) -> Encoding:
    """``encoding`` with the tokens of one of :data:`SELECTIONS` alone, and what was done to its
    images in the record.

    Raises:
        ValueError: if the prompt has no such token.
    """
    record = encoding.record
    for fit in fitted:
        record = record.with_edit(fit.note)
    kept = role_mask(record.roles, SELECTIONS[tokens]).nonzero().flatten().tolist()
    if not kept:
        raise ValueError(
            f"tokens '{tokens}' selects nothing: the prompt has no such token. Type a text, or "
            "choose 'all' or 'image'"
        )
    record = record.take(kept)
    conditioning = [
        write_entry(entry, entry[0][:, kept], record, kept) for entry in encoding.conditioning
    ]
    return encoding._replace(conditioning=conditioning, record=record)


def image_remarks(
    node: str, fitted: Sequence[FittedImage], kept: int
) -> tuple[list[str], list[str]]:
    """What is wrong with the images, and what was done to them and how long ``kept`` tokens are.
    All but what was done is logged too."""
    off = [fit.remark for fit in fitted if fit.remark]
    for remark in off:
        log.warning("%s: %s.", node, remark)
    remarks = length_remarks(kept)
    for remark in remarks:
        log.warning("%s: %s; lower max_image_tokens or use Fit Tokens.", node, remark)
    return off, [*(fit.note for fit in fitted), *remarks]


def _joined(image: Encoding, text: Encoding) -> Encoding:
    """The image tokens of one layer and all other tokens of another."""
    mask = role_mask(image.record.roles, [Role.IMAGE])
    layers = [image.record.layer if chosen else text.record.layer for chosen in mask.tolist()]
    record = text.record.with_layers(layers)
    conditioning = []
    for (image_states, _), entry in zip(image.conditioning, text.conditioning, strict=True):
        rows = mask[:, None].to(image_states.device)
        conditioning.append(write_entry(entry, torch.where(rows, image_states, entry[0]), record))
    return Encoding(conditioning, text.prompt, record)
