"""A :class:`.record.Record` as plain JSON and back, every field checked."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from typing import Any

from ..checks import UPDATE
from ..taps.layout import MOST_TAPS, Taps
from .record import VERSION, Record, Role

LARGEST_LAYER = 10_000
LARGEST_ID = 2**31 - 1
LARGEST_GRID = 65_536
LARGEST_WIDTH = 2**24


def record_to_json(record: Record) -> dict[str, Any]:
    """The fields of ``record`` by name, as numbers, strings and lists.

    Without ``taps`` where there are none, so that a version of this pack from before them can read
    the record.
    """
    document = asdict(record)
    if record.taps is None:
        del document["taps"]
    return document


def record_from_json(document: object, tokens: int) -> Record:
    """The record that :func:`record_to_json` wrote for states of ``tokens`` tokens.

    Raises:
        ValueError: naming the field that is missing, unknown, of the wrong type or out of range.
    """
    if not isinstance(document, dict):
        raise ValueError(f"the record is {reprlib.repr(document)}, not an object of named fields")
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise ValueError(f"the record is of version {version}, this pack reads {VERSION}; {UPDATE}")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"the record's version is {reprlib.repr(version)}, not {VERSION}")
    values = {}
    for name, value in document.items():
        if name not in _READERS:
            unknown = reprlib.repr(name)
            raise ValueError(f"the record's field {unknown} is unknown to this pack; {UPDATE}")
        try:
            values[name] = _READERS[name](value)
        except ValueError as error:
            raise ValueError(f"the record's {name}: {error}") from error
    missing = [field.name for field in fields(Record) if _required(field, values)]
    if missing:
        raise ValueError(f"the record lacks {', '.join(missing)}")
    record = Record(**values)
    if len(record) != tokens:
        raise ValueError(f"the record describes {len(record)} tokens, and there are {tokens}")
    return record


def _required(field: Any, values: dict) -> bool:
    return field.default is MISSING and field.name not in values


def _integer(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{reprlib.repr(value)} is no whole number from {low} to {high}")
        return value

    return read


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{reprlib.repr(value)} is no text")
    value.encode("utf-8")  # UnicodeEncodeError, a ValueError, for half a surrogate pair.
    return value


def _layer(value: object) -> int | None:
    return None if value is None else _integer(-LARGEST_LAYER, LARGEST_LAYER)(value)


def _role(value: object) -> Role:
    known = [role.value for role in Role]
    if value not in known:
        raise ValueError(f"{reprlib.repr(value)} is none of {', '.join(known)}")
    return Role(value)


def _tuple_of(read: Callable[[object], Any]) -> Callable[[object], tuple]:
    def read_all(value: object) -> tuple:
        if not isinstance(value, list):
            raise ValueError(f"{reprlib.repr(value)} is no list")
        return tuple(read(one) for one in value)

    return read_all


def _grid(value: object) -> tuple[int, int]:
    size = _tuple_of(_integer(1, LARGEST_GRID))(value)
    if len(size) != 2:
        raise ValueError(f"{reprlib.repr(value)} is no pair of rows and columns")
    return size


def _taps(value: object) -> Taps:
    named = {"layers": _tuple_of(_tap_layer), "width": _width, "order": _text, "blocks": _blocks}
    if not isinstance(value, dict) or value.keys() != named.keys():
        raise ValueError(f"{reprlib.repr(value)} is no object of {', '.join(named)}")
    if isinstance(value["layers"], list) and len(value["layers"]) > MOST_TAPS:
        raise ValueError(f"{len(value['layers'])} layers are more than {MOST_TAPS}")
    return Taps(**{name: read(value[name]) for name, read in named.items()})


def _tap_layer(value: object) -> int | None:
    return None if value is None else _integer(0, LARGEST_LAYER)(value)


_width = _integer(1, LARGEST_WIDTH)
_blocks = _integer(0, LARGEST_LAYER)
_READERS: dict[str, Callable[[object], Any]] = {
    "layer": _layer,
    "source": _text,
    "ids": _tuple_of(_integer(-1, LARGEST_ID)),
    "texts": _tuple_of(_text),
    "roles": _tuple_of(_role),
    "edits": _tuple_of(_text),
    "fingerprint": _text,
    "version": _integer(VERSION, VERSION),
    "layers": _tuple_of(_layer),
    "prompt": _text,
    "images": _tuple_of(_grid),
    "checksum": _text,
    "taps": _taps,
}
