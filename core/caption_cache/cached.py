"""What every format of a caption cache has in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..checks import LayerLabError
from ..files.atomic import replacing
from ..record.record import Record

TRAINERS_LIMIT = 512
"""Tokens, the template's included, at which Diffusers' Z-Image pipeline and musubi-tuner cut."""
IMAGE_ENDINGS = frozenset(
    (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp")
)
"""Endings, in upper or lower case, of what counts as an image."""
SAME_LAYER = (
    "Pictures made with what is trained on {these} must use the same layer (the node Qwen3 "
    "Encode at Layer, or Layer Mix, and the same edits). Samples that the trainer draws while it "
    "trains do not: it encodes their prompts by itself, at -2."
)
"""The warning beside every cache that is written."""
SUFFIX = ".safetensors"
SETTINGS_KEY = "layer_lab"
"""The key of a file's metadata under which the settings stand, where the format has room."""
DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
UNREADABLE = (SafetensorError, ValueError, TypeError, KeyError, OSError, RuntimeError)
"""What reading a damaged or foreign file raises."""


class CacheFileError(LayerLabError, ValueError):
    """A file that is no usable caption cache; the message names it and says why."""


class Cached(NamedTuple):
    """One caption as a file holds it, or is to hold it.

    Attributes:
        states: (tokens, width), on the CPU.
        caption: None where the format does not keep it.
        settings: how the states were made, None where the file does not say.
    """

    states: Tensor
    caption: str | None
    settings: Mapping[str, Any] | None


class CacheFormat(ABC):
    """How one trainer names, writes and reads a cache."""

    name: str
    ending = SUFFIX

    def caption(self, text: str) -> str:
        """The caption that the trainer makes of ``text``, the contents of a caption file."""
        return text.strip()

    def file_name(self, stem: str, caption: str) -> str:
        """The file of the image called ``stem`` (without folder and ending)."""
        return stem + self.ending

    @abstractmethod
    def write(self, path: Path, cached: Cached, record: Record) -> None:
        """Write ``cached``, whose states ``record`` describes, whole or not at all."""

    @abstractmethod
    def read(self, path: Path) -> Cached:
        """What :meth:`write` wrote, or the trainer itself. Raises CacheFileError."""


def write_tensor(path: Path, name: str, states: Tensor, metadata: dict[str, str] | None) -> None:
    """A safetensors file of one tensor, (tokens, width)."""
    if states.ndim != 2:
        raise ValueError(f"states have the shape {tuple(states.shape)}, not (tokens, width)")
    with replacing(path) as temporary:
        save_file({name: states.detach().cpu().contiguous().clone()}, temporary, metadata)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns whatever reading a file raises into a CacheFileError."""
    try:
        yield
    except CacheFileError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CacheFileError(
            f"{path.name} cannot be read as {what}: {reason}; make it again"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, copied, and metadata of a safetensors file; raises one of :data:`UNREADABLE`."""
    with safe_open(path, framework="pt") as file:
        # Copies: the file may change while the states are still in use.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        return tensors, file.metadata() or {}


def only_states(tensors: Mapping[str, Tensor], prefix: str) -> tuple[str, Tensor]:
    """Name and values of the one tensor whose name begins with ``prefix``.

    Raises:
        ValueError: if there is none, more than one, or it is not (tokens, width) of a float dtype.
    """
    found = [(name, tensor) for name, tensor in tensors.items() if name.startswith(prefix)]
    if len(found) != 1:
        held = ", ".join(sorted(tensors)) or "nothing"
        raise ValueError(f"it must hold one tensor {prefix}..., and it holds {held}")
    [(name, states)] = found
    if states.ndim != 2 or 0 in states.shape or not states.is_floating_point():
        raise ValueError(
            f"{name} is {tuple(states.shape)} in {states.dtype}, not (tokens, width) of a float "
            "dtype"
        )
    return name, states


def settings_to_text(settings: Mapping[str, Any]) -> str:
    """The settings as a file's metadata holds them."""
    return json.dumps(dict(settings), ensure_ascii=False, sort_keys=True)


def settings_from_text(text: str | None) -> dict[str, Any] | None:
    """What :func:`settings_to_text` wrote; None for None. ValueError if it is no object."""
    if text is None:
        return None
    settings = json.loads(text)
    if not isinstance(settings, dict):
        raise ValueError("its settings are no object")
    return settings
