"""Pairs of prompts, one with a concept and one without it."""

from __future__ import annotations

from ..checks import shortened
from ..encoder.prompt import require_text


def pair_prompts(with_concept: str, without_concept: str) -> list[tuple[str, str]]:
    """Pairs of the lines of two texts; lines that are blank in both are left out.

    Raises:
        ValueError: if one has more lines than the other, a line is blank in one alone, the two
            sides of every pair are equal, or there is no pair.

    >>> pair_prompts("a smiling face\\na smiling cat", "a face\\na cat")
    [('a smiling face', 'a face'), ('a smiling cat', 'a cat')]
    """
    names = ("with_concept", "without_concept")
    sides = []
    for name, text in zip(names, (with_concept, without_concept), strict=True):
        require_text(name, text)
        sides.append([line.strip() for line in text.rstrip().splitlines()])
        if not any(sides[-1]):
            raise ValueError(f"{name} is empty: write one prompt a line")
    if len(sides[0]) != len(sides[1]):
        raise ValueError(
            f"with_concept has {len(sides[0])} lines and without_concept {len(sides[1])}: write "
            "one prompt a line, as many in both, line by line a pair"
        )
    pairs = []
    for number, pair in enumerate(zip(*sides, strict=True), 1):
        if any(pair) and not all(pair):
            blank = names[pair.index("")]
            raise ValueError(
                f"line {number} of {blank} is empty, and the other side says "
                f"{shortened(''.join(pair))}: write its partner, or remove both lines"
            )
        if any(pair):
            pairs.append(pair)
    require_differing(pairs)
    return pairs


def require_differing(pairs: list[tuple[str, str]]) -> None:
    """Raise ValueError if the two sides of every pair are the same text."""
    if all(one == other for one, other in pairs):
        raise ValueError(
            "the two sides of every pair are equal, so there is no concept between them: change "
            "the prompts of one side"
        )
