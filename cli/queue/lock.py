"""One run at a time in a folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .workflow import QueueError

try:
    import fcntl
except ImportError:
    import msvcrt

FILE = ".queue-lock"
# Windows refuses to read what is locked: the locked byte lies behind the text.
_LOCKED_BYTE = 1024


@contextmanager
def sole_run(out: Path) -> Iterator[None]:
    """Hold the folder, which is made if it is not there. The lock's file stays behind.

    Raises:
        QueueError: if another run holds it, or the lock's file is a link.
        OSError: if the file cannot be made.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / FILE).is_symlink():
        raise QueueError(f"--out {out}: its {FILE} is a link, and what it leads to would be lost")
    with (out / FILE).open("a+", encoding="utf-8", errors="replace") as file:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read(100).strip() or "another process"
            raise QueueError(
                f"--out {out} is in use by {holder}: wait for its end, or name another --out"
            ) from None
        except OSError:
            pass  # Some network folders know no locks; the run is worth more than the check.
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield


def _lock(file: IO[str]) -> None:
    if "fcntl" in globals():
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
