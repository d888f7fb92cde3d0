"""Reading ``profile.json`` back, every field that is used of it checked."""

from __future__ import annotations

import json
import reprlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..checks import LayerLabError
from .profile import SCHEMA_VERSION

LONGEST_NAME = 1000
MOST_BLOCKS = 10_000
LARGEST_COUNT = 2**53
MAY_LACK = (
    "images",
    "image_tokens",
    "threshold",
    "emergence_layer",
    "fall_layer",
    "sink_positions",
    "sink_prompts",
    "sink_counts",
    "reference",
)


class ProfileFileError(LayerLabError, ValueError):
    """A file that is no usable profile; the message names it and says why."""


def load_profile(path: Path) -> dict[str, Any]:
    """``profile.json`` (or the folder that holds it) as written by :meth:`.Profile.to_json`.

    Raises:
        ProfileFileError: if it is missing, no JSON, of another kind or of a newer version, or a
            field is missing, of another type or out of range.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = path / "profile.json"
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProfileFileError(
            f"{path}: there is no such file; layerlab profile MODEL writes one"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ProfileFileError(f"{path} cannot be read as a profile: {error}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ProfileFileError(
            f"{path} has schema_version {reprlib.repr(version)}, and this program reads "
            f"{SCHEMA_VERSION}: profile the model again with this version"
        )
    try:
        _check(document)
    except ValueError as error:
        raise ProfileFileError(
            f"{path} is no whole profile: {error}; profile the model again"
        ) from error
    return document


def sink_counts(document: Mapping[str, Any]) -> tuple[int, dict[int, int]]:
    """How many prompts have a sink token, and position -> sink tokens there, ascending.

    From ``sink_positions`` where a file has no counts, as those of earlier versions.
    """
    if "sink_prompts" in document and "sink_counts" in document:
        return document["sink_prompts"], dict(sorted(document["sink_counts"]))
    positions = document.get("sink_positions", [])
    counts = Counter(position for prompt in positions for position in prompt)
    return sum(map(bool, positions)), dict(sorted(counts.items()))


def _check(document: Mapping[str, Any]) -> None:
    _require(document, _DOCUMENT, "")
    _require(document["model"], _MODEL, "model.")
    blocks = document["model"]["blocks"]
    for name in ("emergence_layer", "fall_layer"):
        if (document.get(name) or 0) > blocks:
            raise ValueError(f"{name} is {document[name]}, and the model has {blocks} blocks")
    seen = set()
    for number, layer in enumerate(document["layers"]):
        where = f"layers[{number}]."
        _require(layer, _LAYER, where)
        index = layer["index"]
        if index > blocks or layer["layer"] != index - blocks - 1 or index in seen:
            raise ValueError(f"{where}index is {index}, which does not fit the others")
        seen.add(index)
        for place, outlier in enumerate(layer["outliers"]):
            _require(outlier, _OUTLIER, f"{where}outliers[{place}].")


def _require(given: Any, checks: Mapping[str, Callable[[Any], bool]], where: str) -> None:
    """Each field of ``given`` passes its check."""
    if not isinstance(given, dict):
        raise ValueError(f"{where.rstrip('.')} is {reprlib.repr(given)}, not named fields")
    for name, check in checks.items():
        if name not in given and name not in MAY_LACK:
            raise ValueError(f"it lacks {where}{name}")
        if name in given and not check(given[name]):
            raise ValueError(f"{where}{name} is {reprlib.repr(given[name])}")


def _text(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_COUNT


def _layer_number(value: Any) -> bool:
    return type(value) is int and -MOST_BLOCKS - 1 <= value < 0


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def _positions(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(prompt, list) for prompt in value):
        return False
    return all(_count(position) for prompt in value for position in prompt)


def _pairs(value: Any) -> bool:
    return _positions(value) and all(len(pair) == 2 for pair in value)


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_DOCUMENT = {
    "model": lambda value: isinstance(value, dict),
    "tokens": _count,
    "prompts": _count,
    "images": _count,
    "image_tokens": _optional(_text),
    "layers": lambda value: isinstance(value, list) and bool(value),
    "threshold": _number,
    "emergence_layer": _optional(_count),
    "fall_layer": _optional(_count),
    "sink_positions": _positions,
    "sink_prompts": _count,
    "sink_counts": _pairs,
    "reference": _optional(lambda value: isinstance(value, dict) and _text(value.get("name"))),
}
_MODEL = {
    "name": _text,
    "blocks": lambda value: _count(value) and 1 <= value <= MOST_BLOCKS,
    "width": lambda value: _count(value) and value >= 1,
}
_LAYER = {
    "layer": _layer_number,
    "index": _count,
    "median_abs": _optional(_number),
    "max_abs": _number,
    "std": _number,
    "std_without_sinks": _number,
    "outliers": lambda value: isinstance(value, list),
}
_OUTLIER = {"dimension": _count, "ratio": _optional(_number), "class": _text}
