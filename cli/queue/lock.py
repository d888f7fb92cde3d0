"""One run at a time in a folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .workflow import QueueError

FILE = ".queue-lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO)
"""What file systems answer that know no locks, as some network folders do."""


@contextmanager
def sole_run(out: Path) -> Iterator[None]:
    """Hold the folder, which is made if it is not there. The lock's file may stay behind.

    Raises:
        QueueError: if another run holds it, or the lock's file is a link.
        OSError: if the file cannot be made.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    if path.is_symlink():
        raise QueueError(f"--out {out}: its {FILE} is a link, and what it leads to would be lost")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise QueueError(
            f"--out {out} is in use by another run: wait for its end, or name another --out"
        ) from None
    except OSError as error:
        # The run is worth more than the check.
        if error.errno not in NO_LOCKS:
            raise
    except NotImplementedError:
        pass  # What older versions of filelock raise for the same reason.
    try:
        yield
    finally:
        lock.release()
