"""Reading ``profile.json`` back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .profile import SCHEMA_VERSION

LAYER_KEYS = ("layer", "index", "median_abs", "max_abs", "std", "std_without_sinks", "outliers")


class ProfileFileError(ValueError):
    """A file that is no usable profile; the message names it and says why."""


def load_profile(path: Path) -> dict[str, Any]:
    """``profile.json`` (or the folder that holds it) as written by :meth:`.Profile.to_json`.

    Raises:
        ProfileFileError: if it is missing, no JSON, of another kind or of a newer version.
    """
    path = Path(path) / "profile.json" if Path(path).is_dir() else Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProfileFileError(
            f"{path}: there is no such file; layerlab profile MODEL writes one"
        ) from error
    except (OSError, ValueError) as error:
        raise ProfileFileError(f"{path} cannot be read as a profile: {error}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise ProfileFileError(
            f"{path} has schema_version {version!r}, and this program reads {SCHEMA_VERSION}: "
            "profile the model again with this version"
        )
    missing = [key for key in ("model", "tokens", "prompts", "layers") if key not in document]
    missing += [
        key for layer in document.get("layers", []) for key in LAYER_KEYS if key not in layer
    ]
    if missing or not document["layers"]:
        raise ProfileFileError(f"{path} is no whole profile: it lacks {missing or 'any layer'}")
    return document
