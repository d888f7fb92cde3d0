"""A check of a GGUF file's header, made before the reader of the package gguf opens the file.

That reader believes every count: sixty bytes that promise an array of 2**60 numbers keep it busy
for ever, and its memory grows. Layout: "GGUF" specification of ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import math
import mmap
import struct
from functools import lru_cache
from pathlib import Path

from ...core.checks import LayerLabError

MOST_KEYS = 2**16
MOST_TENSORS = 2**20
MOST_ELEMENTS = 2**21
"""Elements of all arrays together. The reader makes several objects of each; vocabularies have
some 10**5 tokens, each with its text, score and kind."""
MOST_DIMENSIONS = 4
MOST_BLOCKS = 10_000
LONGEST_NAME = 256
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of each type of number."""
_UNSIGNED = {0: "B", 2: "H", 4: "I", 10: "Q"}
_LENGTHS = {"B": 1, "H": 2, "I": 4, "Q": 8}


class GgufHeaderError(LayerLabError, ValueError):
    """A header that cannot be true; the message says what it claims."""


def check_gguf_header(path: Path) -> None:
    """Raise GgufHeaderError if the file's header promises what the file cannot hold.

    Also raised where it names more keys, tensors, array elements or blocks than any model has. A
    file that has passed is not read again until it changes.
    """
    state = Path(path).stat()
    _check(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)
def _check(path: str, size: int, changed: int) -> None:
    """:func:`check_gguf_header` of the file of this size and time of change (st_mtime_ns)."""
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise GgufHeaderError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _Header(content).check()


class _Header:
    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._size = len(content)
        self._place = 0
        self._elements = 0
        self._weights = 0
        self._order = "<"

    def check(self) -> None:
        if self._bytes(4) != b"GGUF":
            raise GgufHeaderError("it does not begin as a GGUF file")
        version = self._bytes(4)
        # A file of a big-endian machine: its small number has the first byte at the end.
        self._order = ">" if version[:2] == b"\0\0" else "<"
        [number] = struct.unpack(f"{self._order}I", version)
        if number not in (2, 3):
            raise GgufHeaderError(f"it is of GGUF version {number}, and 2 and 3 are known")
        tensors, keys = self._count("Q", MOST_TENSORS), self._count("Q", MOST_KEYS)
        for _ in range(keys):
            self._key()
        for _ in range(tensors):
            self._tensor()
        if self._weights > self._size:
            raise GgufHeaderError(f"its tensors are of more bytes than its {self._size}")

    def _tensor(self) -> None:
        from gguf.constants import GGML_QUANT_SIZES

        self._string()
        shape = [self._number("Q") for _ in range(self._count("I", MOST_DIMENSIONS))]
        kind = self._number("I")
        self._skip(8)
        if kind not in GGML_QUANT_SIZES:
            raise GgufHeaderError(f"it has a tensor of the type {kind}, which is not known here")
        block, size = GGML_QUANT_SIZES[kind]
        self._weights += math.prod(shape) // block * size

    def _key(self) -> None:
        name = self._string()
        kind = self._number("I")
        if name.endswith(b".block_count") and kind in _UNSIGNED:
            self._count(_UNSIGNED[kind], MOST_BLOCKS)
        elif kind == _STRING:
            self._string()
        elif kind == _ARRAY:
            self._array()
        else:
            self._skip(self._size_of(kind))

    def _array(self) -> None:
        kind = self._number("I")
        length = self._count("Q", MOST_ELEMENTS - self._elements)
        self._elements += length
        if kind != _STRING:
            self._skip(length * self._size_of(kind))
            return
        for _ in range(length):
            self._string()

    def _size_of(self, kind: int) -> int:
        if kind not in _SIZES:
            raise GgufHeaderError(f"it has a value of the type {kind}, which is not known here")
        return _SIZES[kind]

    def _string(self) -> bytes:
        length = self._number("Q")
        start = self._place
        self._skip(length)
        return self._content[start : start + min(length, LONGEST_NAME)]

    def _count(self, code: str, most: int) -> int:
        number = self._number(code)
        if number > most:
            raise GgufHeaderError(f"it claims {number} of what it can have {most} at most")
        return number

    def _number(self, code: str) -> int:
        return struct.unpack(self._order + code, self._bytes(_LENGTHS[code]))[0]

    def _bytes(self, length: int) -> bytes:
        start = self._place
        self._skip(length)
        return self._content[start : self._place]

    def _skip(self, length: int) -> None:
        self._place += length
        if self._place > self._size:
            raise GgufHeaderError(f"its header promises more than its {self._size} bytes")
