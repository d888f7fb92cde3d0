"""``dim.json``, version 1: written, and read back with every field that is used of it checked."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checks import LayerLabError
from ..profile.profile_file import LARGEST_COUNT, LONGEST_NAME, MOST_BLOCKS
from .probe import DimensionProbe
from .verdict import CONSTANT, MIXED, RULE, SIGNAL, UNUSED
from .ways import PLACES, WAYS

SCHEMA_VERSION = 1
FILE_NAME = "dim.json"
VERDICTS = (UNUSED, CONSTANT, SIGNAL, MIXED)


class DimFileError(LayerLabError, ValueError):
    """A file that is no usable dim.json; the message names it and says why."""


def probe_json(probe: DimensionProbe) -> dict[str, Any]:
    """One dimension at one hidden state, as an entry of ``probes`` in dim.json."""
    drawn = len(probe.controls.drawn)
    return {
        "dimension": probe.dimension,
        "layer": probe.layer,
        "index": probe.index,
        "std": probe.std,
        "std_without_sinks": probe.std_without_sinks,
        "sinks": probe.sinks,
        "sinks_in_the_shared_beginning": probe.kept,
        "where": {
            "positions": [_part(part) for part in probe.where.positions],
            "classes": [_part(part) for part in probe.where.classes],
            "sides": [_part(part) for part in probe.where.sides],
            "tokens": [token._asdict() for token in probe.where.tokens],
            "spread_of_the_shared_beginning": probe.where.fixed_spread,
        },
        "costs": [
            {"way": way, "place": place, **cost._asdict(), "per_prompt": list(cost.per_prompt)}
            for (way, place), cost in probe.costs.items()
        ],
        "trials": [
            {
                "way": way,
                "place": place,
                "compared": trial.compared,
                "matters": trial.matters,
                "random_controls": list(trial.controls[:drawn]),
                "matched_controls": list(trial.controls[drawn:]),
            }
            for (way, place), trial in probe.trials.items()
        ],
        "controls": {
            "random": list(probe.controls.drawn),
            "matched": list(probe.controls.matched),
            "matched_std": list(probe.control_std),
        },
        "writes": {
            **probe.writes._asdict(),
            "top": [list(pair) for pair in probe.writes.top],
            "bottom": [list(pair) for pair in probe.writes.bottom],
        },
        "knows": [known._asdict() for known in probe.knows],
        "received": [received._asdict() for received in probe.received],
        "gain": None if probe.gain is None else _finite(probe.gain._asdict()),
        "verdict": {
            "name": probe.verdict.name,
            "because": probe.verdict.because,
            "overturned": probe.verdict.overturned,
        },
    }


def dim_document(facts: Mapping[str, Any], probes: list[DimensionProbe]) -> str:
    """dim.json as text.

    Args:
        facts: ``model`` (name, fingerprint, blocks, width), ``prompts``, ``tokens``,
            ``loss_prompts``, ``control_prompts``, ``provenance``.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": "dim",
        **facts,
        "rule": RULE,
        "probes": [probe_json(probe) for probe in probes],
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def find_dim_file(path: Path) -> Path | None:
    """The dim.json that ``path`` is, under any name, or holds (in a folder without a profile); else
    None."""
    path = Path(path)
    if path.is_dir():
        inside = path / FILE_NAME
        return inside if inside.is_file() and not (path / "profile.json").is_file() else None
    if path.name == FILE_NAME:
        return path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # load_profile says what is wrong with it.
    return path if isinstance(document, dict) and document.get("kind") == "dim" else None


def load_dim(path: Path) -> dict[str, Any]:
    """A dim.json as :func:`dim_document` writes it.

    Raises:
        DimFileError: if it is missing, no JSON, of another kind or of a newer version, or a field
            is missing, of another type or out of range.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DimFileError(
            f"{path}: there is no such file; layerlab dim MODEL writes one"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DimFileError(f"{path} cannot be read as a dim.json: {error}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION or document.get("kind") != "dim":
        raise DimFileError(
            f"{path} is no dim.json of version {SCHEMA_VERSION} (schema_version "
            f"{reprlib.repr(version)}): run layerlab dim again with this version"
        )
    try:
        _check(document)
    except (ValueError, KeyError, TypeError) as error:
        raise DimFileError(
            f"{path} is no whole dim.json: {error}; run layerlab dim again"
        ) from error
    return document


def _part(part: Any) -> dict[str, Any]:
    return {**part._asdict(), "variation": _finite(part.variation)}


def _finite(value: Any) -> Any:
    """JSON has no infinity: null in its place."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check(document: Mapping[str, Any]) -> None:
    model = document["model"]
    _require("model.name", model["name"], _is_text(model["name"]))
    for name, most in (("blocks", MOST_BLOCKS), ("width", LARGEST_COUNT)):
        _require(f"model.{name}", model[name], _is_count(model[name], most) and model[name] > 0)
    for name in ("prompts", "tokens", "loss_prompts"):
        _require(name, document[name], _is_count(document[name]))
    _require("probes", document["probes"], isinstance(document["probes"], list))
    seen = set()
    for number, probe in enumerate(document["probes"]):
        where = f"probes[{number}]."
        for name, limit in (("dimension", model["width"] - 1), ("index", model["blocks"])):
            _require(where + name, probe[name], _is_count(probe[name], limit))
        fits = probe["layer"] == probe["index"] - model["blocks"] - 1
        _require(f"{where}layer", probe["layer"], type(probe["layer"]) is int and fits)
        key = probe["dimension"], probe["index"]
        _require(f"{where}dimension", probe["dimension"], key not in seen)
        seen.add(key)
        for name in ("std", "std_without_sinks"):
            _require(where + name, probe[name], _is_number(probe[name]) and probe[name] >= 0)
        name = probe["verdict"]["name"]
        _require(f"{where}verdict.name", name, name in VERDICTS)
        costs = {(cost["way"], cost["place"]): cost for cost in probe["costs"]}
        for way in WAYS:
            for place in PLACES:
                for field in ("mean", "low", "high"):
                    value = costs[way, place][field]
                    _require(f"{where}costs {way} {place} {field}", value, _is_number(value))


def _require(name: str, value: Any, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} is {reprlib.repr(value)}")


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_count(value: Any, most: int = LARGEST_COUNT) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
