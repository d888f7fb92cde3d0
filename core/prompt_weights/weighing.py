"""Words of a prompt made stronger or weaker: states moved from, or to, what they are without them.

A token's own scale is divided out by the RMSNorm with which Z-Image begins, so that a weight on it
does nothing. What words do to a prompt is instead the difference that they make to the states.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import shortened
from .parsing import Stretch

METHODS = ("masked", "replaced")
"""What a prompt without words is. Both put a filler at each of their tokens, which keeps every
position; the tokens behind them see that filler ("replaced"), or nothing there ("masked")."""
FILLER = " something"
"""The neutral word that stands for others."""


class WeightedWords(NamedTuple):
    """Words of a prompt with a weight.

    Attributes:
        text: the words.
        weight: 1 leaves them as they are.
        tokens: their positions in the prompt, ascending, at least one.
    """

    text: str
    weight: float
    tokens: tuple[int, ...]

    @property
    def first(self) -> int:
        """The first position that knows of the words: attention is causal."""
        return self.tokens[0]


def place_weights(
    stretches: Sequence[Stretch],
    start: int,
    ids: Sequence[int],
    decode: Callable[[list[int]], str],
) -> list[WeightedWords]:
    """The words whose weight is not 1, with their tokens.

    A token belongs to the stretch in which its first character that is no space stands.

    Args:
        stretches: of the text that was encoded.
        start: the character of the prompt at which that text begins.
        ids: the prompt's token ids.
        decode: the text of some ids, special tokens included.

    Raises:
        ValueError: for words without a token of their own, and where the tokens do not spell the
            text, so that no place in it is known.
    """
    # Tokenizers bring text into this form first.
    prefixes = ["".join(one.text for one in stretches[:k]) for k in range(len(stretches) + 1)]
    bounds = [start + len(unicodedata.normalize("NFC", prefix)) for prefix in prefixes]
    whole = decode(list(ids))
    spelled = whole[start : bounds[-1]]
    if spelled != unicodedata.normalize("NFC", prefixes[-1]):
        raise ValueError(
            f"the text's weights cannot be placed: the encoder reads {shortened(spelled)} where "
            f"the text is {shortened(prefixes[-1])}. Remove its weights, or its unusual characters"
        )
    tokens: list[list[int]] = [[] for _ in stretches]
    # A character may be spread over tokens: it begins where what comes before is complete.
    begins = [len(decode(list(ids[:k])).rstrip("\ufffd")) for k in range(len(ids))]
    for position, (begin, end) in enumerate(zip(begins, [*begins[1:], len(whole)], strict=True)):
        inside = whole[begin:end]
        place = begin + len(inside) - len(inside.lstrip() or inside)
        for stretch, (low, high) in enumerate(zip(bounds, bounds[1:], strict=False)):
            if low <= place < high:
                tokens[stretch].append(position)
    placed = []
    for stretch, own in zip(stretches, tokens, strict=True):
        if stretch.weight == 1 or not stretch.text.strip():
            continue
        if not own:
            raise ValueError(
                f"{shortened(stretch.text)} in text has the weight {stretch.weight:g} and no token "
                "of its own, for it is a part of a word: put the whole word between the marks"
            )
        placed.append(WeightedWords(stretch.text, stretch.weight, tuple(own)))
    return placed


def fill(ids: Sequence[int], words: WeightedWords, filler: Sequence[int]) -> list[int]:
    """``ids`` with the filler's, over and over, at the words' tokens."""
    filled = list(ids)
    for number, position in enumerate(words.tokens):
        filled[position] = filler[number % len(filler)]
    return filled


def visible(placed: Sequence[WeightedWords], tokens: int, method: str) -> Tensor:
    """(1 + words, tokens, tokens) bool: which token (last) each token sees, apart from causality.

    The first row is the whole prompt, each other one the prompt without one of ``placed``.
    """
    seen = torch.ones(1 + len(placed), tokens, tokens, dtype=torch.bool)
    if method == "masked":
        for row, words in zip(seen[1:], placed, strict=True):
            row[words.tokens[-1] + 1 :, list(words.tokens)] = False
    return seen


def weigh_words(states: Tensor, without: Tensor, placed: Sequence[WeightedWords]) -> Tensor:
    """``without + weight * (states - without)`` for each words; several words' moves add up.

    Args:
        states: (1, tokens, width) float32 of the whole prompt.
        without: (words, tokens, width), for each of ``placed`` the prompt without it.

    Returns:
        (1, tokens, width). The tokens before the first of the words are those of ``states``, bit
        for bit: they never saw it.
    """
    weighed = states.clone()
    for other, words in zip(without, placed, strict=True):
        behind = slice(words.first, None)
        weighed[0, behind] += (words.weight - 1) * (states[0, behind] - other[behind])
    return weighed
