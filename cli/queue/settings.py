"""What is set in a workflow before it is queued: single values, tables, the seeds of repeats."""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .seeds import find_seeds, moved_on
from .workflow import QueueError, Target, Workflow, parse_json, read_json, read_text

_BOOLEANS = {"true": True, "false": False}

Settings = dict[str, Any]
"""NODE.INPUT, as the user wrote it -> the value."""


class Row(NamedTuple):
    """One prompt.

    ``number`` counts from 1. ``settings`` has what was set, and in repeats the seeds. ``key``
    tells it from every other prompt: the graph's digest and how many equal ones go before. ``line``
    counts the list's lines from 0: the rows of one line are its repeats.
    """

    number: int
    settings: Settings
    graph: dict[str, Any]
    key: str
    line: int = 0


class Fraction(NamedTuple):
    """A number with decimals for an input that has a whole one in the file.

    ComfyUI writes 1.0 as 1, so the file does not tell whether the input takes decimals.
    """

    class_type: str
    input: str
    message: str


def make_rows(
    workflow: Workflow,
    given: Sequence[str] = (),
    table: Sequence[Settings] | None = None,
    repeat: int = 1,
) -> tuple[list[Row], list[Fraction]]:
    """The prompts: each line of ``table`` on top of ``given``, all of it ``repeat`` times.

    ``given``: NODE.INPUT=VALUE, for every prompt. In the second run of the list every seed is one
    higher than in the first, and so on. The second result is what only a server can judge.

    Raises:
        QueueError: if a setting does not fit the workflow.
    """
    if repeat < 1:
        raise QueueError(f"--repeat is {repeat}: it must be at least 1")
    common = parse_assignments(given)
    rows: list[Row] = []
    fractions: dict[tuple[str, str], Fraction] = {}
    seen: dict[str, int] = {}
    moved = find_seeds(workflow).moved if repeat > 1 else []
    for turn in range(repeat):
        for line, settings in enumerate(table if table is not None else [{}]):
            graph = copy.deepcopy(dict(workflow.graph))
            chosen = _apply(workflow, graph, [*common.items(), *settings.items()], fractions)
            seeds = _move_seeds(moved, graph, turn)
            digest = graph_digest(graph)
            seen[digest] = seen.get(digest, 0) + 1
            names = {workflow.find(key): key for key in chosen} if seeds else {}
            for target, seed in seeds.items():
                chosen[names.get(target, f"{target.node}.{target.input}")] = seed
            if repeat > 1:
                chosen["repeat"] = turn + 1
            rows.append(Row(len(rows) + 1, chosen, graph, f"{digest}-{seen[digest]}", line))
    return rows, list(fractions.values())


def parse_assignments(given: Iterable[str]) -> Settings:
    """``["Seed.value=5"]`` as settings, the values still text. Raises QueueError."""
    settings: Settings = {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or "." not in key:
            raise QueueError(f"--set {text!r} is not of the form NODE.INPUT=VALUE")
        if key in settings:
            raise QueueError(f"--set {key} is given twice")
        settings[key] = _Text(value, quoted=True)
    return settings


def read_table(path: Path) -> list[Settings]:
    """Rows of a .csv (a header of NODE.INPUT; empty cells set nothing) or .json (list of objects).

    Raises:
        QueueError: if it cannot be read, has no row, or a row does not fit the header.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise QueueError(f"--settings {path}: it must be a .csv or a .json file")
    rows = _read_csv(path) if suffix == ".csv" else _read_list(path)
    if not rows:
        raise QueueError(f"--settings {path} has no row")
    return rows


def convert(value: Any, present: Any) -> Any:
    """``value`` as the kind that ``present`` is; text from outside is read as that kind first.

    A number with decimals in place of a whole one is let through: see :class:`Fraction`.

    Raises:
        ValueError: if it is of another kind; the message says which is wanted.
    """
    if isinstance(value, _Text):
        value = value.read_as(present)
    if isinstance(present, bool):
        if isinstance(value, bool):
            return value
        raise ValueError("it must be true or false")
    if isinstance(present, int | float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("it must be a number")
        if isinstance(present, int) and isinstance(value, int):
            return value
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError("it must be a finite number")
        return int(number) if isinstance(present, int) and number.is_integer() else number
    if isinstance(present, str):
        if isinstance(value, str):
            return value
        raise ValueError("it must be a text")
    if present is not None and type(value) is not type(present):
        raise ValueError(f"it must be JSON of the kind that is there: {json.dumps(present)[:80]}")
    return value


def graph_digest(graph: Mapping[str, Any]) -> str:
    """A digest of what the server computes with: titles and the order of nodes do not count."""
    content = {
        node_id: {key: value for key, value in node.items() if key != "_meta"}
        for node_id, node in graph.items()
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class _Text(str):
    """A value as typed on the command line (``quoted``: JSON quotes count) or in a CSV cell."""

    quoted: bool

    def __new__(cls, text: str, quoted: bool) -> _Text:
        self = super().__new__(cls, text)
        self.quoted = quoted
        return self

    def read_as(self, present: Any) -> Any:
        plain = str(self)
        if isinstance(present, bool):
            return _BOOLEANS.get(plain.strip().lower(), plain)
        if isinstance(present, str) and not self.quoted:
            return plain
        try:
            value = parse_json(plain)
        except ValueError:
            return plain
        return plain if isinstance(present, str) and not isinstance(value, str) else value


def _apply(
    workflow: Workflow,
    graph: dict[str, Any],
    settings: Sequence[tuple[str, Any]],
    fractions: dict[tuple[str, str], Fraction],
) -> Settings:
    """Set them in ``graph``; returns them with the values as they are set."""
    chosen: Settings = {}
    written: dict[Target, str] = {}
    for key, value in settings:
        target = workflow.find(key)
        if target in written:
            raise QueueError(f"{written[target]!r} and {key!r} set the same input: leave one out")
        written[target] = key
        present = workflow.present(target)
        try:
            new = convert(value, present)
        except ValueError as error:
            raise QueueError(f"{key} = {str(value)[:80]!r}: {error}") from None
        node = graph[target.node]
        if isinstance(present, int) and not isinstance(present, bool) and isinstance(new, float):
            named = workflow.name(target.node)
            message = f"{key} = {new}: {target.input!r} of {named} takes whole numbers only"
            place = (node["class_type"], target.input)
            fractions.setdefault(place, Fraction(*place, message))
        node["inputs"][target.input] = chosen[key] = new
    return chosen


def _move_seeds(moved: Sequence[Target], graph: dict[str, Any], turn: int) -> dict[Target, Any]:
    """Move these on in ``graph``; returns what they are now."""
    seeds: dict[Target, Any] = {}
    for target in moved:
        inputs = graph[target.node]["inputs"]
        inputs[target.input] = seeds[target] = moved_on(inputs[target.input], turn)
    return seeds


def _read_csv(path: Path) -> list[Settings]:
    text = read_text(path)
    first = text.partition("\n")[0]
    # Spreadsheets of many countries write semicolons, and copying from one gives tabs.
    delimiter = next((sign for sign in ",;\t" if sign in first), ",")
    try:
        header, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    except ValueError:
        return []
    except csv.Error as error:
        raise QueueError(f"--settings {path} is no CSV: {error}") from None
    header = [name.strip() for name in header]
    if len(set(header)) < len(header) or "" in header:
        raise QueueError(f"--settings {path}: every column needs a header of its own, NODE.INPUT")
    rows = []
    for number, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise QueueError(
                f"--settings {path}: row {number} has {len(cells)} cells and the header "
                f"{len(header)}; a cell with {delimiter!r} in it must be quoted"
            )
        pairs = zip(header, cells, strict=True)
        rows.append({name: _Text(cell, quoted=False) for name, cell in pairs if cell.strip()})
    return rows


def _read_list(path: Path) -> list[Settings]:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise QueueError(
            f'--settings {path}: it must be a list of objects, such as [{{"Seed.value": 5}}]'
        )
    return rows
