"""Kinds of tokens by their text, coarse enough that every prompt has several of each."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

SPECIAL, BLANK, DIGIT, PUNCTUATION, CJK = "special", "blank", "digit", "punctuation", "CJK"
WORD_START, WORD_PART, BYTES, OTHER = "word start", "word part", "bytes", "other"
CLASSES = {
    SPECIAL: "marks of the chat template, beginning and end of text",
    BLANK: "spaces and new lines alone",
    DIGIT: "has a digit and no letter",
    PUNCTUATION: "punctuation and signs alone",
    CJK: "has a Chinese, Japanese or Korean character",
    WORD_START: "letters that begin a word",
    WORD_PART: "letters that go on with a word",
    BYTES: "a part of a character that the vocabulary does not have whole",
    OTHER: "anything else",
}
"""Every class and what is in it."""

_CJK = ("CJK ", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")
BROKEN = "\ufffd"
"""What a tokenizer decodes a part of a character to."""


def classify_tokens(texts: Sequence[str], special: Sequence[bool]) -> list[str]:
    """The class of each token of one prompt, in order.

    A token of letters begins a word if its text begins with a blank, or what stands before it is
    no word.

    Args:
        texts: each token's text, a blank before a word included.
        special: which tokens are special ones of the tokenizer.

    >>> classify_tokens(["<s>", "A", " red", "dish", ",", " 12"], [True] + [False] * 5)
    ['special', 'word start', 'word start', 'word part', 'punctuation', 'digit']
    """
    classes: list[str] = []
    for text, marked in zip(texts, special, strict=True):
        before = classes[-1] if classes else SPECIAL
        classes.append(SPECIAL if marked else _by_text(text, before))
    return classes


def _by_text(text: str, before: str) -> str:
    if not text.strip():
        return BLANK
    if BROKEN in text:
        return BYTES
    if any(unicodedata.name(character, "").startswith(_CJK) for character in text):
        return CJK
    kinds = {unicodedata.category(character)[0] for character in text.strip()}
    if "L" in kinds:
        begins = text[0].isspace() or before not in (WORD_START, WORD_PART, BYTES)
        return WORD_START if begins else WORD_PART
    if "N" in kinds:
        return DIGIT
    return PUNCTUATION if kinds <= {"P", "S"} else OTHER
