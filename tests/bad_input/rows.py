"""What a row of the table is.

One row is one test: an input of a node, a value that it should not have, and what must come of it.
The same row is run in process (the node's own checks and ``execute``) and over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Odd(NamedTuple):
    """A connected value: the one of this name in :mod:`odd_pack`."""

    name: str


class Good(NamedTuple):
    """A connected value that is what the input wants, by the name of its source: "clip"."""

    name: str


class Row(NamedTuple):
    """One input with one value.

    Attributes:
        node: the node's id without "LayerLab".
        input: the name of the input.
        value: typed on the node (any JSON), or connected (:class:`Odd`, :class:`Good`).
        says: a pattern of the message that refuses it; "" if the value is legal.
        gives: for a legal value, the (tokens, width) of the conditioning that comes out, or a
            pattern of the text.
        http: a pattern of the message over HTTP where it is not the pack's: what ComfyUI itself
            says of a typed value before the pack is asked. One row a kind of refusal.
        where: "both", "process" or "http".
        others: further inputs that the case needs.
    """

    node: str
    input: str
    value: Any
    says: str = ""
    gives: tuple[int, int] | str = ""
    http: str = ""
    where: str = "both"
    others: Mapping[str, Any] = MappingProxyType({})

    @property
    def name(self) -> str:
        """The test's id."""
        shown = self.value.name if isinstance(self.value, (Odd, Good)) else repr(self.value)
        how = "connected" if isinstance(self.value, Odd) else "set to"
        shown = "".join(c if c.isprintable() and c.isascii() else "?" for c in shown)
        return f"{self.node}.{self.input} {how} {shown[:60]}"


def odd(node: str, given: str, cases: dict[str, str], **more: Any) -> list[Row]:
    """A row for each connected value: its name in ``odd_pack`` -> what refuses it."""
    return [Row(node, given, Odd(name), says, **more) for name, says in cases.items()]


def typed(node: str, given: str, cases: dict[Any, str], **more: Any) -> list[Row]:
    """A row for each typed value -> what refuses it."""
    return [Row(node, given, value, says, **more) for value, says in cases.items()]


def first_over_http(rows: list[Row], number: int) -> list[Row]:
    """The same rows, only the first ones also over HTTP: all go through one check of the pack."""
    return [*rows[:number], *(row._replace(where="process") for row in rows[number:])]
