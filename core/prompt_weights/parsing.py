"""Weights in a prompt: ``a (red:1.4) fox in [fog]`` as stretches of text, each with its weight.

The syntax is that of ComfyUI's ``comfy.sd1_clip.token_weights``, with ``[x]`` as well. What ComfyUI
takes for text without a word, here is an error: a parenthesis that nothing closes, a number that is
none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from ..checks import require_finite_number, shortened
from ..encoder.prompt import require_text

UP, DOWN = 1.1, 1 / 1.1
"""What ``(x)`` and ``[x]`` multiply the weight around them by."""
LOWEST, HIGHEST = -10.0, 10.0
CLOSES = {"(": ")", "[": "]"}
PIECES = r"\\[()\[\]]|[()\[\]]|[^()\[\]\\]+|\\"
LIKE_A_NUMBER = r"\s*[-+]?[.,]?\d[\d.,]*\s*"
ESCAPE = r"A parenthesis or bracket that belongs to the text has a backslash before it: \( \) \[ \]"


class Stretch(NamedTuple):
    """Some text of a prompt, without its marks, and its weight."""

    text: str
    weight: float


@dataclass
class _Group:
    """What stands between a parenthesis or bracket and the one that closes it."""

    opener: str
    place: int
    parts: list[str | _Group] = field(default_factory=list)


def parse_weights(text: str) -> list[Stretch]:
    r"""The stretches of ``text``, in order; neighbours of one weight are one.

    ``(x)`` multiplies the weight around it by 1.1 and ``[x]`` divides it by 1.1; ``(x:1.4)`` sets
    it, whatever is around. A backslash makes any of ``( ) [ ]`` plain text.

    Raises:
        ValueError: for marks that do not match, with their places, for marks around no text, and a
            weight that is no number between -10 and 10.

    >>> [(part.text, part.weight) for part in parse_weights(r"a (red:1.4) fox \(old\)")]
    [('a ', 1.0), ('red', 1.4), (' fox (old)', 1.0)]
    """
    require_text("text", text)
    stretches: list[Stretch] = []
    for part in _flat(_tree(text), 1.0):
        require_finite_number(f"the weight of {shortened(part.text)}", part.weight, LOWEST, HIGHEST)
        if stretches and stretches[-1].weight == part.weight:
            part = Stretch(stretches.pop().text + part.text, part.weight)
        stretches.append(part)
    return stretches


def _tree(text: str) -> _Group:
    """The whole text as a group that nothing opens."""
    stack = [_Group("", 0)]
    for match in re.finditer(PIECES, text):
        piece, place = match[0], match.start() + 1
        group = stack[-1]
        if piece in CLOSES:
            stack.append(_Group(piece, place))
        elif piece in CLOSES.values():
            if piece != CLOSES.get(group.opener):
                opened = f" ('{group.opener}' at {group.place} is open)" if group.opener else ""
                raise ValueError(
                    f"text has '{piece}' at character {place}, which closes nothing{opened}: "
                    f"remove it, or open it before. {ESCAPE}"
                )
            stack.pop()
            stack[-1].parts.append(group)
        elif group.parts and isinstance(group.parts[-1], str):
            group.parts[-1] += _unescaped(piece)
        else:
            group.parts.append(_unescaped(piece))
    if len(stack) > 1:
        group = stack[-1]
        raise ValueError(
            f"text has '{group.opener}' at character {group.place}, which nothing closes: remove "
            f"it, or write '{CLOSES[group.opener]}' behind its words. {ESCAPE}"
        )
    return stack[0]


def _unescaped(piece: str) -> str:
    return piece[1:] if len(piece) == 2 and piece[0] == "\\" else piece


def _flat(group: _Group, around: float) -> list[Stretch]:
    """The stretches of a group whose surroundings have the weight ``around``."""
    parts = list(group.parts)
    weight = _own_weight(group)
    if weight is None:
        weight = around * {"": 1.0, "(": UP, "[": DOWN}[group.opener]
    else:
        parts[-1] = parts[-1][: parts[-1].rindex(":")]
    stretches: list[Stretch] = []
    for part in parts:
        if isinstance(part, _Group):
            stretches += _flat(part, weight)
        elif part:
            stretches.append(Stretch(part, weight))
    if group.opener and not "".join(one.text for one in stretches).strip():
        raise ValueError(
            f"text has '{group.opener}' at character {group.place} around no words: write some "
            f"before its '{CLOSES[group.opener]}', or remove both. {ESCAPE}"
        )
    return stretches


def _own_weight(group: _Group) -> float | None:
    """The number behind the last colon of ``(x:1.4)``; None where there is none."""
    last = group.parts[-1] if group.parts else ""
    if group.opener != "(" or not isinstance(last, str) or ":" not in last:
        return None
    before, _, number = last.rpartition(":")
    try:
        return float(number) if before or len(group.parts) > 1 else None
    except ValueError:
        if not re.fullmatch(LIKE_A_NUMBER, number):
            return None  # A colon of the text, as in "(poster: a fox)".
    raise ValueError(
        f"the weight {shortened(number)} of the '(' at character {group.place} of text is no "
        "number: write it like (red:1.4), with a point"
    )
