"""A concept in one safetensors file, which others can read as a plain vector.

``safetensors.torch.load_file(path)["direction"]`` is the vector to add to states whose tokens have
rms 1. Where it is from is JSON in the file's metadata: ``provenance``, ``prompts`` and, for a
concept of several layers side by side, ``taps``.
"""

from __future__ import annotations

import json
import reprlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..checks import UPDATE, LayerLabError
from ..files.atomic import replacing
from ..files.untrusted_arrays import read_vectors
from ..taps.layout import Taps
from .concept import Concept

FORMAT = "layer_lab_concept_v1"
SUFFIX = ".safetensors"
TENSORS = ("direction", "baseline", "spread")
ANOTHER = "choose another file, or make and save the concept again"
UNREADABLE = (SafetensorError, KeyError, TypeError, ValueError, OSError, RuntimeError)
"""What reading a damaged or foreign file raises (RecursionError is a RuntimeError)."""


class ConceptFileError(LayerLabError, ValueError):
    """A file that is no usable concept; the message names it and says why."""


def save_concept(concept: Concept, path: Path) -> None:
    """Write ``path`` (.safetensors, float32) whole or not at all.

    Raises:
        ConceptFileError: if the path does not end in .safetensors.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise ConceptFileError(f"{path.name}: a concept is saved as {SUFFIX}")
    tensors = {name: getattr(concept, name).float().contiguous().clone() for name in TENSORS}
    metadata = {
        "format": FORMAT,
        "provenance": json.dumps(dict(concept.provenance), ensure_ascii=False),
        "prompts": json.dumps(concept.prompts, ensure_ascii=False),
    }
    if concept.taps is not None:
        metadata["taps"] = json.dumps(asdict(concept.taps))
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_concept(path: Path) -> Concept:
    """The concept that :func:`save_concept` wrote.

    Raises:
        ConceptFileError: if the file is missing, damaged or of another kind.

    >>> import tempfile, torch
    >>> vector = torch.tensor([0.5, 0.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "smile.safetensors"
    ...     save_concept(Concept(vector, 0 * vector, vector, prompts=(("a", "b"),)), path)
    ...     load_concept(path).prompts
    (('a', 'b'),)
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ConceptFileError(f"{path}: there is no such file")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            kind = str(metadata.get("format"))
            if kind != FORMAT:
                newer = kind.startswith(FORMAT[:-1])
                raise ConceptFileError(
                    f"{path.name} is not a concept of this pack (its format is "
                    f"{reprlib.repr(kind)}, not {FORMAT!r}); {UPDATE if newer else ANOTHER}"
                )
            tensors = read_vectors(file, TENSORS)
        return Concept(
            **tensors,
            taps=_taps(metadata.get("taps")),
            prompts=_prompts(json.loads(metadata["prompts"])),
            provenance=_provenance(json.loads(metadata["provenance"])),
        )
    except ConceptFileError:
        raise
    except UNREADABLE as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ConceptFileError(
            f"{path.name} cannot be read as a concept: {why}; {ANOTHER}"
        ) from error


def _taps(text: str | None) -> Taps | None:
    if text is None:
        return None
    document = json.loads(text)
    layers = document["layers"]
    numbers = [*layers, document["width"], document["blocks"]]
    if not all(one is None or type(one) is int for one in numbers):
        raise ValueError(f"its taps are {reprlib.repr(document)}, not whole numbers")
    return Taps(tuple(layers), document["width"], document["order"], document["blocks"])


def _prompts(document: Any) -> tuple[tuple[str, str], ...]:
    pairs = tuple(tuple(pair) for pair in document)
    if not all(len(pair) == 2 and all(isinstance(one, str) for one in pair) for pair in pairs):
        raise ValueError(f"its prompts are {reprlib.repr(document)}, not pairs of texts")
    _require_utf8(text for pair in pairs for text in pair)
    return pairs


def _provenance(document: Any) -> dict[str, str]:
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise ValueError(f"its provenance is {reprlib.repr(document)}, not texts by name")
    _require_utf8([*document, *document.values()])
    return document


def _require_utf8(texts: Any) -> None:
    """UnicodeEncodeError, a ValueError, for half a surrogate pair: it could not be shown."""
    "".join(texts).encode("utf-8")
