"""A caption's cache made of states that are there already, as the node Save Caption Cache does."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from ..measure.moments import to_dtype
from ..record.record import UNKNOWN_SOURCE, Record
from .cached import IMAGE_ENDINGS, Cached, CacheFileError, CacheFormat


def stem_of(name: str) -> str:
    """The name of an image, or of its cache, without an image's ending.

    >>> stem_of("fox.v2.png"), stem_of("fox.v2")
    ('fox.v2', 'fox.v2')
    """
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in IMAGE_ENDINGS else name


def to_cache(
    hidden: Tensor, record: Record, caption: str, dtype: torch.dtype, kind: CacheFormat
) -> Cached:
    """What the cache of ``hidden`` (tokens, width) holds; ``record`` says how it was made."""
    layers = dict.fromkeys(record.token_layers())
    unknown = "unknown" if record.source == UNKNOWN_SOURCE else "mix"
    settings = {
        "model": record.source,
        "fingerprint": record.fingerprint,
        "layer": ", ".join(unknown if layer is None else str(layer) for layer in layers),
        "edits": list(record.edits),
        "dtype": str(dtype).removeprefix("torch."),
        "format": kind.name,
    }
    return Cached(to_dtype(hidden, dtype), caption, settings)


def write_if_new(
    kind: CacheFormat, path: Path, cached: Cached, record: Record, overwrite: bool
) -> bool:
    """Write ``path`` unless it holds the same states already; returns whether it was written.

    Raises:
        CacheFileError: if it holds anything else and must not be overwritten.
    """
    if path.exists() and not overwrite:
        try:
            held = kind.read(path)
        except CacheFileError:
            what = f"is no cache of {kind.name}"
        else:
            if held.states.dtype == cached.states.dtype and held.states.equal(cached.states.cpu()):
                return False
            layer = (held.settings or {}).get("layer")
            what = "holds other states" + (f", of layer {layer}" if layer else "")
        raise CacheFileError(
            f"{path.name} is there already and {what}: choose another name, or turn overwrite on"
        )
    kind.write(path, cached, record)
    return True
