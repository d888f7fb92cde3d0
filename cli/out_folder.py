"""The folder that a command writes into, given with ``--out``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import LayerLabError
from ..core.files.atomic import what_failed


class OutFolderError(LayerLabError, ValueError):
    """``--out`` cannot be used; the message names the folder, says why and what to do."""


def require_folder(out: Path) -> None:
    """Raise OutFolderError if ``out`` exists and is not a folder."""
    if out.exists() and not out.is_dir():
        raise OutFolderError(f"--out {out} is not a folder: name another")


@contextmanager
def writing_in(out: Path, resume: str = "") -> Iterator[None]:
    """Turns an OSError of the body into an OutFolderError about ``out``.

    ``resume``: what the command does when it is started again, for the end of the message.
    """
    try:
        yield
    except OSError as error:
        more = f"; started again, {resume}" if resume else ""
        raise OutFolderError(
            f"--out {out} cannot be written: {what_failed(error)}. Make room, or name another "
            f"--out{more}"
        ) from error
