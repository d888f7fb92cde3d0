"""Every format by its name, and which one a file is in."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from ..record.embedding_file import FORMAT as EMBEDDING
from .ai_toolkit import TENSOR, AiToolkit
from .cached import UNREADABLE, CacheFileError, CacheFormat
from .musubi import PREFIX, Musubi
from .plain import Plain

FORMATS: dict[str, type[CacheFormat]] = {
    Musubi.name: Musubi,
    AiToolkit.name: AiToolkit,
    Plain.name: Plain,
}


def format_of(path: Path) -> CacheFormat | None:
    """The format of a safetensors file; None if it is no caption cache.

    Raises:
        CacheFileError: if it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names, metadata = list(file.keys()), file.metadata() or {}
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CacheFileError(f"{path.name} cannot be read: {reason}; make it again") from error
    if metadata.get("format") == EMBEDDING:
        return Plain()
    if TENSOR in names:
        return AiToolkit()
    if any(name.startswith(PREFIX) for name in names):
        return Musubi()
    return None
