"""The prompt strings that Z-Image's and Qwen3-VL's own pipelines write (ChatML)."""

from __future__ import annotations

THINK_BLOCKS = {"none": "", "empty": "<think>\n\n</think>\n\n", "open": "<think>\n"}
"""What may follow the assistant's header: Z-Image's own pipeline writes none, Qwen3's template
(``enable_thinking=False``) and ComfyUI's Qwen3-VL tokenizer the empty block, and the template of
Qwen3-VL's Thinking models opens one."""

IMAGE_PAD = "<|image_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
VISION_BLOCK = f"{VISION_START}{IMAGE_PAD}{VISION_END}"


def build_prompt(
    text: str,
    system_prompt: str = "",
    think_block: str = "none",
    images: int = 0,
    text_first: bool = False,
) -> str:
    """The whole prompt: optional system turn, user turn, assistant header, think block.

    In the user's turn the images come before the text, or after it with ``text_first``.

    With no system prompt, no images and no think block it is the string of Diffusers' and
    ComfyUI's Z-Image pipelines.

    Raises:
        ValueError: if ``think_block`` is not one of :data:`THINK_BLOCKS`.
    """
    if think_block not in THINK_BLOCKS:
        raise ValueError(f"think_block {think_block!r} is not one of {', '.join(THINK_BLOCKS)}")
    system = f"<|im_start|>system\n{system_prompt}<|im_end|>\n" if system_prompt else ""
    pictures = VISION_BLOCK * images
    content = text + pictures if text_first else pictures + text
    user = f"<|im_start|>user\n{content}<|im_end|>\n"
    return f"{system}{user}<|im_start|>assistant\n{THINK_BLOCKS[think_block]}"
