"""How ComfyUI loaded a CLIP: from which files, and as which type of its loader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from comfy.text_encoders.flux import Flux2TEModel
from safetensors import SafetensorError, safe_open

VISION_LANGUAGE = "model.language_model."
"""How the names of a Qwen3-VL file's language weights begin."""


def loaded_files(clip: Any) -> tuple[str, ...]:
    """The paths that the host remembers for ``clip``; none for one that it did not load itself."""
    remembered = getattr(clip.patcher, "cached_patcher_init", None)
    try:
        paths = remembered[1][0]
    except (TypeError, IndexError):
        return ()
    return (paths,) if isinstance(paths, str) else tuple(map(str, paths))


def loader_type(clip: Any) -> str:
    """The loader's ``type`` as its list has it, such as "flux2"; empty if it is not remembered."""
    remembered = getattr(clip.patcher, "cached_patcher_init", None)
    try:
        return remembered[1][2].name.lower()
    except (TypeError, IndexError, AttributeError):
        return ""


def require_own_weights(clip: Any) -> None:
    """Refuse an encoder into which the host has put none of its file's weights.

    ComfyUI 0.33 builds Flux.2's plain Qwen3 for a Qwen3-VL file of type flux2 but does not rename
    the file's language weights, as it does for every other type: none of them fits a name, and what
    computes is whatever the memory held.

    Raises:
        ValueError: naming the type to choose.
    """
    if not isinstance(getattr(clip, "cond_stage_model", None), Flux2TEModel):
        return
    for path in loaded_files(clip):
        try:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
        except (OSError, SafetensorError):
            continue
        if any(name.startswith(VISION_LANGUAGE) for name in names):
            raise ValueError(
                f"This CLIP ({Path(path).name}, type {loader_type(clip)}) cannot be used: ComfyUI "
                "loads none of a Qwen3-VL file's language weights with that type. Choose type "
                "lumina2 in its loader (krea2 for Krea 2), or a plain Qwen3 file such as "
                "qwen_3_4b.safetensors."
            )


def source_in_words(clip: Any, encoder: Any) -> str:
    """The encoder in words: its file where the host remembers it, and its class."""
    name = next(map(os.path.basename, loaded_files(clip)), "")
    kind = type(encoder.transformer).__name__.strip("_")
    return f"{name} ({kind})" if name else kind


def as_loaded(clip: Any) -> str:
    """ " (FILE, type TYPE)", as far as the host remembers them."""
    names = ", ".join(map(os.path.basename, loaded_files(clip)))
    kind = loader_type(clip)
    words = ", ".join(filter(None, (names, f"type {kind}" if kind else "")))
    return f" ({words})" if words else ""
