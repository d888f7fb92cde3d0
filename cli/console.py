"""The terminal: one console, and tables in it."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from .html_report import Table

FILE_WIDTH = 120
"""Columns where the output is no terminal."""


def make_console() -> Console:
    """Standard output, without rich's guesses at what deserves a colour."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)


def print_table(console: Console, table: Table) -> None:
    """``table`` with its caption as title; markup in cells is text."""
    shown = RichTable(
        title=escape(table.caption), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    for cell in table.header:
        shown.add_column(escape(cell))
    for row in table.rows:
        shown.add_row(*map(escape, row))
    console.print(shown)
