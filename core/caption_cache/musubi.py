"""Caches of kohya-ss/musubi-tuner for Z-Image.

Read in its version 0.3.4 (commit 30c658c): ``dataset/image_video_dataset.py`` names the files,
``dataset/cache_io.py`` writes them, and ``dataset/bucket.py`` reads them.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..record.record import Record
from .cached import (
    SETTINGS_KEY,
    SUFFIX,
    Cached,
    CacheFormat,
    only_states,
    read_tensors,
    reading,
    settings_from_text,
    settings_to_text,
    write_tensor,
)

PREFIX = "varlen_llm_embed_"
"""The tensor's name begins with it; its dtype follows, as torch writes it."""
ARCHITECTURE, VERSION = "z_image", "1.0.1"


class Musubi(CacheFormat):
    """``{stem}_zi_te.safetensors``, one for each image. The trainer's reader passes over metadata;
    its caching script wants the architecture there."""

    name = "musubi"
    ending = f"_zi_te{SUFFIX}"

    def write(self, path: Path, cached: Cached, record: Record) -> None:
        metadata = {
            "architecture": ARCHITECTURE,
            "caption1": cached.caption or "",
            "format_version": VERSION,
            SETTINGS_KEY: settings_to_text(cached.settings or {}),
        }
        write_tensor(path, _tensor_name(cached.states), cached.states, metadata)

    def read(self, path: Path) -> Cached:
        with reading(path, "a cache of musubi-tuner"):
            tensors, metadata = read_tensors(path)
            if (kind := metadata.get("architecture", ARCHITECTURE)) != ARCHITECTURE:
                raise ValueError(f"its architecture is {kind[:40]!r}, not {ARCHITECTURE!r}")
            name, states = only_states(tensors, PREFIX)
            if name != _tensor_name(states):
                raise ValueError(f"its tensor is called {name}, not {_tensor_name(states)}")
            settings = settings_from_text(metadata.get(SETTINGS_KEY))
            return Cached(states, metadata.get("caption1"), settings)


def _tensor_name(states: Tensor) -> str:
    return PREFIX + str(states.dtype).removeprefix("torch.")
