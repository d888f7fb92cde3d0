"""Prompts as tokens, in the chat template of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FIXED_DATE = "26 Jul 2024"
"""For Llama's template, which otherwise writes today's date: a profile must not depend on it."""


@dataclass(frozen=True)
class PromptTokenizer:
    """``tokenizer`` is one of transformers, ``whose`` chat template it has."""

    tokenizer: Any
    whose: str = "model's own"

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template of its own."""
        return bool(self.tokenizer.chat_template)

    @property
    def template(self) -> str:
        """The kind of template that prompts are put into, for provenance."""
        return self.whose if self.has_template else "none"

    def ids(self, prompt: str) -> list[int]:
        """``prompt`` as a user's turn in the model's chat template, ready for the answer.

        Without a template: as plain text, with the special tokens that the tokenizer itself adds.
        """
        if not self.has_template:
            return self.tokenizer(prompt)["input_ids"]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            date_string=FIXED_DATE,
        )
        return self.plain_ids(text)

    def plain_ids(self, text: str) -> list[int]:
        """Token ids of ``text`` as it is: no template, nothing added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def text(self, token_id: int) -> str:
        """One token as text."""
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
