"""Plain-text tables and lists, as reports and messages print them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with their columns under each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> str:
    """The header and the first ``most`` rows, aligned, and how many more there are."""
    lines = align([header, *rows[:most]])
    if len(rows) > most:
        lines.append(f"... and {len(rows) - most} more")
    return "\n".join(lines)


def enumerate_some(words: Iterable[str], most: int, count: int | None = None) -> str:
    """The first ``most`` of ``words`` with commas between them, and how many more there are.

    Args:
        count: how many there are in all, if ``words`` ends after the first ones.

    >>> enumerate_some(["396", "4", "0"], 2)
    '396, 4 and 1 more'
    """
    words = list(words)
    count = len(words) if count is None else count
    more = f" and {count - most} more" if count > most else ""
    return ", ".join(words[:most]) + more


def split_report(text: str) -> tuple[str, str, str]:
    r"""A report's first line, its tables, and what is left of it.

    A table is what :func:`table` makes: lines one under the other of at least three cells with two
    spaces or more between them.

    >>> split_report("one image\nindex  size  label\n0      8x8   a\nend")
    ('one image', 'index  size  label\n0      8x8   a', 'end')
    """
    first, *lines = text.split("\n")
    tables: list[list[str]] = []
    rest: list[str] = []
    is_row = [len(re.findall(r"\S {2,}(?=\S)", line)) >= 2 for line in lines]
    for number, line in enumerate(lines):
        beside = is_row[number - 1 : number] + is_row[number + 1 : number + 2]
        if not is_row[number] or not any(beside):
            rest.append(line)
        elif number and is_row[number - 1] and tables:
            tables[-1].append(line)
        else:
            tables.append([line])
    table = "\n\n".join("\n".join(rows) for rows in tables)
    return first, table, "\n".join(rest).strip("\n")
