"""Writing files so that each is there whole or not at all, also when the process is killed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError

from ..errors import LayerLabError

UNFINISHED = ".writing-"
"""Prefix of the temporary folders in which files are written until they are whole."""

ABANDONED = 3600.0
"""Seconds without a write after which a temporary folder counts as left by a killed process."""


class WriteError(LayerLabError, OSError):
    """A file that cannot be written; the message names it, says why and what to do.

    ``errno``, ``strerror`` (the reason alone) and ``filename`` are those of any OSError.
    """

    def __init__(self, path: Path, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        super().__init__(getattr(error, "errno", None), reason, str(path))

    def __str__(self) -> str:
        return (
            f"{self.filename} cannot be written: {self.strerror}. Make room or allow writing "
            "there, or choose another place; no half file was left"
        )


def what_failed(error: OSError) -> str:
    """The reason and the name of the file: "No space left on device (profile.json)"."""
    reason = str(error.strerror or error)
    return f"{reason} ({Path(error.filename).name})" if error.filename else reason


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder beside it; moved into place at the end.

    If the body raises, ``path`` stays as it was and the temporary folder is removed. A process that
    is killed leaves it; a later one removes it when it writes beside it.

    Raises:
        WriteError: for whatever the file system refuses, also in the body.
    """
    path = Path(path)
    try:
        with unfinished(path) as temporary:
            mode = temporary.stat().st_mode
            yield temporary
            # Some writers make private files; this one gets what the user's umask allows.
            temporary.chmod(mode)
            temporary.replace(path)
    except (OSError, SafetensorError) as error:
        # The second is what safetensors raises on a full disk.
        raise WriteError(path, error) from error


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """An empty file of the same name in a temporary folder beside ``path``.

    The body moves it to where it belongs, which may be another name there; at the end the folder is
    removed. Raises the OSError of whatever the file system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.resolve())
    # A folder, because safetensors and others write to a temporary file of their own beside
    # what they are told to write, which a killed process leaves too.
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=UNFINISHED))
    try:
        temporary = folder / path.name
        temporary.touch()
        yield temporary
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write ``content`` (text as UTF-8) to ``path`` by way of :func:`replacing`; returns it."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def is_unfinished(path: Path) -> bool:
    """Whether the path leads into a folder in which :func:`replacing` writes."""
    return any(part.startswith(UNFINISHED) for part in Path(path).parts)


def sweep(folder: Path, age: float = ABANDONED) -> None:
    """Remove what killed processes left in ``folder`` at least ``age`` seconds ago."""
    latest = time.time() - age
    for orphan in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            if max(part.stat().st_mtime for part in (orphan, *orphan.rglob("*"))) <= latest:
                shutil.rmtree(orphan)


@lru_cache(maxsize=1024)
def _sweep_once(folder: Path) -> None:
    """Sweep a folder once per process: what is swept was left by other processes."""
    sweep(folder)
