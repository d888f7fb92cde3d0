"""A number for each token of a text, written as a list or by word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from ..checks import require_finite_number, shortened
from ..tables import enumerate_some
from .record import Record, Role

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
"""Letters of scripts that put no blank around a word, or not always: Thai to Khmer, Chinese,
Japanese, Korean."""
_LETTER = rf"[^\W{_UNSPACED}]"
_BROKEN = "\ufffd"
"""In the text of a token that holds a part of a character only."""
MOST_NAMED = 30


class TokenValues(NamedTuple):
    """What :func:`parse_token_values` read: ``values`` if it was a list, else ``words``.

    Attributes:
        values: one number for each text token.
        words: (word, number) as written; where words overlap, the later one counts.
    """

    values: tuple[float, ...] = ()
    words: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        words = [f"{word}: {value:g}" for word, value in self.words]
        given = words or [f"{value:g}" for value in self.values]
        return enumerate_some(given, MOST_NAMED)


def parse_token_values(name: str, text: str) -> TokenValues | None:
    """A list ("0.1, 0.5") or words ("red fox: 0.8, snow: 0") with numbers from 0 to 1; None for an
    empty text.

    Commas or line breaks stand between them; a Chinese comma or colon counts as one.

    Raises:
        ValueError: for anything else; ``name`` names the input.

    >>> str(parse_token_values("alphas", "red fox: 0.8, snow: 0"))
    'red fox: 0.8, snow: 0'
    """
    if not isinstance(text, str):
        raise ValueError(f"{name} is {shortened(text)}: it must be a text")
    parts = [part.strip() for part in re.split(r"[,，、\n]", text.replace("：", ":"))]
    parts = [part for part in parts if part]
    pairs = [tuple(piece.strip() for piece in part.rpartition(":")) for part in parts]
    if not parts:
        return None
    by_word = any(colon for _, colon, _ in pairs)
    values = []
    for part, (word, colon, number) in zip(parts, pairs, strict=True):
        if bool(colon) != by_word or (colon and not word):
            raise ValueError(
                f"{name} has {shortened(part)}: give either one number for each text token, such "
                "as 0.1, 0.5, or words, such as fox: 0.8, snow: 0"
            )
        try:
            value = float(number)
        except ValueError:
            raise ValueError(
                f"{name} has {shortened(part)}, and {shortened(number)} is no number: it must be "
                "one between 0 and 1"
            ) from None
        values.append(require_finite_number(f"in {name}, {shortened(part)}", value, 0.0, 1.0))
    if not by_word:
        return TokenValues(values=tuple(values))
    words = [unicodedata.normalize("NFC", word) for word, _, _ in pairs]
    return TokenValues(words=tuple(zip(words, values, strict=True)))


def values_of_tokens(
    name: str, given: TokenValues, records: Sequence[Record], others: float
) -> list[tuple[float, ...]]:
    """A number for every token of each of the ``records``: of the text tokens (:class:`.Role`)
    as ``given``, and ``others`` for whatever it does not name.

    A word may be of several tokens, and takes each of them whole; it may stand several times; upper
    and lower case are the same. Each word must be in one of the records at least.

    Raises:
        ValueError: a list of another length than a record's text tokens, a word that no record has,
            and words where no record knows its tokens; ``name`` names the input.
    """
    texts = [_Text(record) for record in records]
    missing = {word for word, _ in given.words}
    made = []
    for record, text in zip(records, texts, strict=True):
        values = [others] * len(record)
        if given.values and len(given.values) != len(text.tokens):
            raise ValueError(
                f"{name} has {len(given.values)} numbers and the text {len(text.tokens)} text "
                f"tokens ({text.in_tokens}): give one for each, or name words, such as fox: 0.8"
            )
        for token, value in zip(text.tokens, given.values, strict=False):
            values[token] = value
        for word, value in given.words:
            for token in text.find(word):
                missing.discard(word)
                values[token] = value
        made.append(tuple(values))
    if not missing:
        return made
    known = [text for text in texts if text.is_known]
    if not known:
        raise ValueError(
            f"{name} names words, and the text side does not say which tokens they are: connect a "
            "conditioning from one of this pack's encode nodes, or give one number for each token"
        )
    absent = next(word for word, _ in given.words if word in missing)
    words = dict.fromkeys(word for text in known for word in text.words)
    raise ValueError(
        f"{name} names {shortened(absent)}, which is not in the text: choose from what is there "
        f"({enumerate_some(words, MOST_NAMED) or 'no word'})"
    )


class _Text:
    """The text tokens of a record as one string, and which tokens each of its characters is of."""

    def __init__(self, record: Record) -> None:
        self.tokens = [i for i, role in enumerate(record.roles) if role is Role.TEXT]
        self.is_known = any(text != "?" for text in record.texts)
        self.in_tokens = record.names(self.tokens, MOST_NAMED) if self.is_known else "unknown ones"
        pieces: list[str] = []
        self._owners: list[list[int]] = []
        before = -1
        for piece, positions in _spelled(record) if self.is_known else ():
            own = [i for i in positions if record.roles[i] is Role.TEXT]
            if not own:
                continue
            if own[0] != before + 1:  # A word does not go on across what is no text.
                pieces.append("\n")
                self._owners.append([])
            pieces.append(piece)
            self._owners += [own] * len(piece)
            before = own[-1]
        self.whole = "".join(pieces)

    @property
    def words(self) -> list[str]:
        return re.findall(r"\w+(?:['’-]\w+)*", self.whole)

    def find(self, word: str) -> set[int]:
        """Positions of the tokens of every place where the word stands by itself."""
        pattern = r"\s+".join(map(re.escape, word.split()))
        if re.match(_LETTER, word):
            pattern = f"(?<!{_LETTER})" + pattern
        if re.match(_LETTER, word[-1]):
            pattern += f"(?!{_LETTER})"
        places = re.finditer(pattern, self.whole, re.IGNORECASE)
        return {i for place in places for own in self._owners[slice(*place.span())] for i in own}


def _spelled(record: Record) -> list[tuple[str, list[int]]]:
    """The tokens' texts in order with their positions. Tokens that share a character are one piece,
    read from the prompt, if all of the text is found there."""
    alone = [(text, [position]) for position, text in enumerate(record.texts)]
    if not any(_BROKEN in text for text in record.texts):
        return alone
    pieces: list[tuple[str, list[int]]] = []
    place, waiting = 0, []
    for position, text in enumerate(record.texts):
        if _BROKEN in text:
            waiting.append(position)
        elif record.roles[position] is not Role.IMAGE:
            # What is broken has one character at least.
            start = record.prompt.find(text, place + bool(waiting))
            if start < 0:
                return alone
            if waiting:
                pieces.append((record.prompt[place:start], waiting))
                waiting = []
            place = start + len(text)
            pieces.append((text, [position]))
    return [*pieces, (record.prompt[place:], waiting)]
