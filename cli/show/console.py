"""The terminal: one console, and tables in it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

if TYPE_CHECKING:
    from .html_report import Table

FILE_WIDTH = 120
"""Columns where the output is no terminal."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class PlainConsole(Console):
    """Prints texts from outside without the control codes in them, which a terminal would obey."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(plain(one) if isinstance(one, str) else one for one in objects), **options)


def plain(text: str) -> str:
    r"""``text`` with control characters escaped, but for tabs and new lines.

    >>> plain("fox\x1b[2J")
    'fox\\x1b[2J'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def make_console() -> Console:
    """Standard output, without rich's guesses at what deserves a colour."""
    return PlainConsole(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)


def print_table(console: Console, table: Table) -> None:
    """``table`` with its caption as title; markup in cells is text."""
    shown = RichTable(
        title=escape(plain(table.caption)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for cell in table.header:
        shown.add_column(escape(plain(cell)))
    for row in table.rows:
        shown.add_row(*(escape(plain(cell)) for cell in row))
    console.print(shown)
