"""The prompt strings that Z-Image's and Qwen3-VL's own pipelines write (ChatML)."""

from __future__ import annotations

import re
from typing import Any

from ..checks import require_choice

THINK_BLOCKS = {"none": "", "empty": "<think>\n\n</think>\n\n", "open": "<think>\n"}
"""What may follow the assistant's header: Z-Image's own pipeline writes none, Qwen3's template
(``enable_thinking=False``) and ComfyUI's Qwen3-VL tokenizer the empty block, and the template of
Qwen3-VL's Thinking models opens one."""

IMAGE_PAD = "<|image_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
VISION_BLOCK = f"{VISION_START}{IMAGE_PAD}{VISION_END}"
RESERVED = {
    IMAGE_PAD: "stands for an image and would take its place",
    VISION_START: "stands before an image and would count as one of its markers",
    VISION_END: "stands behind an image and would count as one of its markers",
}
"""Special tokens that no text beside an image may hold, and why."""
_ONE_TURN = (
    r"(?s)(?:<\|im_start\|>system\n.*?)?<\|im_start\|>user\n((?:(?!<\|im_start\|>).)*)<\|im_end\|>\n"
    r"<\|im_start\|>assistant\n(?:<think>\s*(?:</think>\s*)?)?"
)


def build_prompt(
    text: str,
    system_prompt: str = "",
    think_block: str = "none",
    images: int = 0,
    text_first: bool = False,
    think_text: str = "",
    assistant_text: str = "",
) -> str:
    """The whole prompt: optional system turn, user turn, assistant header, think block, answer.

    In the user's turn the images come before the text, or after it with ``text_first``. A
    ``think_text`` fills the think block, which ``think_block`` "open" leaves open and every other
    closes, as Qwen3's template writes an earlier answer's thoughts. ``assistant_text`` begins the
    answer; no ``<|im_end|>`` ends it.

    With no system prompt, no images and no think block it is the string of Diffusers' and
    ComfyUI's Z-Image pipelines.

    Raises:
        ValueError: if ``think_block`` is not one of :data:`THINK_BLOCKS`, a text is no string, or
            an answer would stand in an open think block.

    >>> build_prompt("a fox")
    '<|im_start|>user\\na fox<|im_end|>\\n<|im_start|>assistant\\n'
    """
    texts = {"text": text, "system_prompt": system_prompt}
    texts |= {"think_text": think_text, "assistant_text": assistant_text}
    for name, given in texts.items():
        require_text(name, given)
    require_choice("think_block", think_block, THINK_BLOCKS)
    system = f"<|im_start|>system\n{system_prompt}<|im_end|>\n" if system_prompt else ""
    pictures = VISION_BLOCK * images
    content = text + pictures if text_first else pictures + text
    user = f"<|im_start|>user\n{content}<|im_end|>\n"
    block = THINK_BLOCKS[think_block]
    if think_text:
        block = f"<think>\n{think_text}" + ("" if think_block == "open" else "\n</think>\n\n")
    if think_block == "open" and assistant_text:
        raise ValueError(
            "think_block is 'open', so assistant_text would be one more thought: choose 'empty', "
            "which closes the block, or leave assistant_text empty"
        )
    return f"{system}{user}<|im_start|>assistant\n{block}{assistant_text}"


def text_of_prompt(prompt: str) -> str | None:
    """The ``text`` that :func:`build_prompt` made ``prompt`` of; None if it is no such prompt, or
    one with images.

    >>> text_of_prompt(build_prompt("a fox"))
    'a fox'
    """
    match = re.fullmatch(_ONE_TURN, prompt)
    return None if match is None or VISION_START in match[1] else match[1]


def require_text(name: str, text: Any) -> None:
    """Raise ValueError, naming the input, unless ``text`` is a text that a tokenizer can read."""
    if not isinstance(text, str):
        raise ValueError(f"{name} is {type(text).__name__}, not text: connect or type a text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start + 1} of {name} is {text[error.start]!r}, half of a surrogate "
            "pair: remove it, or type the whole character"
        ) from None


def require_text_beside_image(name: str, text: Any) -> None:
    """As :func:`require_text`, and no token in it that stands for an image or marks one."""
    require_text(name, text)
    for token, meaning in RESERVED.items():
        if token in text:
            raise ValueError(f"the {name} holds {token}, which {meaning}: remove it")
