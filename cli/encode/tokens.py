"""Captions as tokens, exactly as trainers make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.encoder.prompt import build_prompt
from ..model.files import ModelFiles
from ..model.prompt_tokenizer import PromptTokenizer


@dataclass(frozen=True)
class CaptionTokenizer:
    """A caption as a user's turn, ready for the answer, unpadded.

    Attributes:
        tokenizer: the model's.
        for_zimage: whether captions are put into Z-Image's prompt, which is that of Qwen3's
            official template without a think block, whatever the tokenizer's files say.
    """

    tokenizer: PromptTokenizer
    for_zimage: bool

    @classmethod
    def of(cls, files: ModelFiles) -> CaptionTokenizer:
        """That of a model. Raises ModelError if its tokenizer cannot be read."""
        tokenizer = files.tokenizer()
        kind = str(getattr(files.config(), "model_type", ""))
        chat = len(tokenizer.plain_ids("<|im_start|>")) == 1
        return cls(tokenizer, kind.startswith("qwen3") and chat)

    @property
    def template(self) -> str:
        """The kind of template, for the settings."""
        return "Z-Image's" if self.for_zimage else self.tokenizer.template

    def ids(self, caption: str) -> list[int]:
        """All token ids of ``caption`` in the template."""
        if self.for_zimage:
            return self.tokenizer.plain_ids(build_prompt(caption))
        return self.tokenizer.ids(caption)

    def prompt(self, ids: list[int]) -> str:
        """The whole prompt as text."""
        inner: Any = self.tokenizer.tokenizer
        return inner.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
