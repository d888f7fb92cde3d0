"""A disk of 16 MiB that can be filled, where the system lends one."""

import os
import subprocess

import pytest

SIZE = 16 * 2**20


class SmallDisk:
    """A folder on a file system of its own; ``fill`` leaves ``room`` bytes, ``empty`` all."""

    def __init__(self, folder):
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, room):
        with self._filler.open("ab") as file:
            free = os.statvfs(self.folder)
            file.write(bytes(max(0, free.f_bavail * free.f_frsize - room)))

    def empty(self):
        self._filler.unlink()


@pytest.fixture
def small_disk(tmp_path):
    """Skipped where mounting a tmpfs is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "layerlab-test", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, timeout=30)
        reason = mounted.stderr.strip() if mounted.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        pytest.skip(f"a small disk cannot be mounted here, for that takes root: {reason}")
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True, timeout=30)
