"""Prompts as tokens, in the chat template of a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

FIXED_DATE = "26 Jul 2024"
"""The day that chat templates are told: a profile must not depend on the day it is made."""
_CODES = {
    **{"%Y": "2024", "%y": "24", "%G": "2024", "%C": "20", "%j": "208", "%-j": "208"},
    **{"%m": "07", "%-m": "7", "%b": "Jul", "%h": "Jul", "%B": "July", "%e": "26"},
    **{"%d": "26", "%-d": "26", "%a": "Fri", "%A": "Friday", "%u": "5", "%w": "5"},
    **{"%U": "29", "%V": "30", "%W": "30", "%F": "2024-07-26", "%D": "07/26/24", "%x": "07/26/24"},
    **{"%H": "00", "%-H": "0", "%I": "12", "%-I": "12", "%p": "AM", "%M": "00", "%-M": "0"},
    **{"%S": "00", "%-S": "0", "%f": "000000", "%T": "00:00:00", "%X": "00:00:00", "%R": "00:00"},
    **{"%c": "Fri Jul 26 00:00:00 2024", "%s": "1721952000", "%z": "", "%Z": "", "%%": "%"},
}
"""Codes of ``strftime`` on that day at midnight, in English whatever the system's language."""


def tell_the_fixed_day(template: str) -> str:
    """``template`` with a ``strftime_now`` of its own, which hides that of transformers.

    Templates of Mistral, gpt-oss and others call it. A function passed in would arrive as text.
    """
    if "strftime_now" not in template:
        return template
    replaced = "".join(f"|replace('{code}', '{text}')" for code, text in _CODES.items())
    macro = f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}"
    # Right after a block Jinja would drop a newline.
    return f"{macro}{{{{ '' }}}}{template}"


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

    @cached_property
    def _dated_template(self) -> str:
        # Several templates may have names: this is the one for a chat without tools.
        return tell_the_fixed_day(self.tokenizer.get_chat_template())

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
            chat_template=self._dated_template,
            date_string=FIXED_DATE,  # Llama's template takes it.
        )
        return self.plain_ids(text)

    def plain_ids(self, text: str) -> list[int]:
        """Token ids of ``text`` as it is: no template, nothing added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def text(self, token_id: int) -> str:
        """One token as text."""
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
