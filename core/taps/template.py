"""A prompt in the template of an image model's own tokenizer, with one part of it changed."""

from __future__ import annotations

import re

from ..checks import require_choice
from ..encoder.prompt import THINK_BLOCKS, require_text

OWN = "the model's own"
THINK_CHOICES = (OWN, "none", "empty")
_SYSTEM = r"(?s)<\|im_start\|>system\n.*?<\|im_end\|>\n"
_MISTRAL_SYSTEM = r"(?s)(\[SYSTEM_PROMPT\]).*?(\[/SYSTEM_PROMPT\])"
_THINK = r"(?s)<think>.*"


def fill_template(template: str, text: str, system_prompt: str = "", think_block: str = OWN) -> str:
    """``template`` with ``text`` in the place of its ``{}``.

    Args:
        template: ChatML (Qwen's), or Mistral's with ``[SYSTEM_PROMPT]`` and ``[INST]``.
        system_prompt: in place of the template's own system turn, or before the user's turn where
            it has none; empty: as the template has it.
        think_block: :data:`OWN` as the template has it, or one of "none" and "empty" after the
            assistant's header.

    Raises:
        ValueError: for another think block, or one with a template that has no assistant's header.

    >>> fill_template("<|im_start|>user\\n{}<|im_end|>\\n", "a fox", "Be brief.")
    '<|im_start|>system\\nBe brief.<|im_end|>\\n<|im_start|>user\\na fox<|im_end|>\\n'
    """
    require_text("text", text)
    require_text("system_prompt", system_prompt)
    require_choice("think_block", think_block, THINK_CHOICES)
    head, _, tail = template.partition("{}")
    if system_prompt and "[SYSTEM_PROMPT]" in head:
        before, _, after = re.sub(_MISTRAL_SYSTEM, r"\1{}\2", head, count=1).partition("{}")
        head = before + system_prompt + after
    elif system_prompt:
        rest = re.sub(_SYSTEM, "", head, count=1)
        head = f"<|im_start|>system\n{system_prompt}<|im_end|>\n{rest}"
    if think_block != OWN:
        if "<|im_start|>assistant" not in tail:
            raise ValueError(
                f"think_block is {think_block!r}, and this encoder's template has no assistant's "
                f"turn to put one in: choose {OWN!r}"
            )
        tail = re.sub(_THINK, "", tail) + THINK_BLOCKS[think_block]
    return head + text + tail
