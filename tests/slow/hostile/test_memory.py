"""No file that is small on the disk makes its loader need much memory.

Measured from the operating system, in a process of its own, for what was needed at most does not
shrink again. The bombs are in :mod:`.bombs`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="Windows does not tell a process what it needed at most")

BOMBS = Path(__file__).with_name("bombs.py")
ALLOWED = 2**26
"""Bytes. The bombs would need from 2**28 on."""
OWN = ("ReferenceFileError", "EmbeddingFileError", "ProfileFileError", "PromptFileError")
NAMES = (
    "zip bomb",
    "lying zip",
    "array of 2**40 numbers",
    "array of 2**62 numbers",
    "array of 2**27 numbers",
    "array of long texts",
    "array of wide records",
    "long provenance",
    "reference: header of 2**60 bytes",
    "reference: tensor of 2**60 bytes",
    "embedding: header of 2**60 bytes",
    "embedding: tensor of 2**60 bytes",
    "sparse reference",
    "embedding of lists",
    "profile of lists",
    "workflow of lists",
    "table of lists",
    "one long cell",
    "one long line",
    "gguf array",
    "config of a billion blocks",
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Name -> (error, bytes)."""
    folder = tmp_path_factory.mktemp("bombs")
    # Far above what it takes: a loader that hangs must not hang the tests.
    done = subprocess.run(
        [sys.executable, BOMBS, folder], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_is_refused_and_needs_little_memory(loaded, name):
    error, grown, _ = loaded[name]
    assert error in (*OWN, "QueueError", "ModelError")
    assert grown < ALLOWED


def test_every_bomb_is_looked_at(loaded):
    assert sorted(loaded) == sorted(NAMES)
