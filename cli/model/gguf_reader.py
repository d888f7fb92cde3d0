"""A GGUF file's header read fast, and once.

The reader of the package gguf makes several NumPy views of each word of a vocabulary, at some
10 microseconds a word, and transformers opens the file anew for the configuration, the tokenizer
and the weights, and makes a value of every word each time: a minute for Gemma's 262,144 words.
Here the file that was opened last stays open until :func:`forget_gguf_reader`, and a vocabulary
is one list. transformers also asks for the same map of names once for every module of the model:
here the map is made once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

LONG = 1000
"""An array of as many values is a vocabulary's: one list here."""
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 12: "d"}
"""The code in ``struct`` of each type of number."""


@contextmanager
def fast_gguf_reader() -> Iterator[None]:
    """Within the context ``gguf.GGUFReader``, which transformers looks up, reads arrays fast, and
    a file that has not changed is read once; ``gguf.get_tensor_name_map`` makes each map once.

    A transformers that reads GGUF files with code of its own is not affected.
    """
    import gguf

    before, map_before = gguf.GGUFReader, gguf.get_tensor_name_map
    reader = _fast(before) if _lists_pass() else before

    def open_once(path: Any, mode: str = "r") -> Any:
        state = Path(path).stat()
        return _opened(reader, str(path), mode, state.st_size, state.st_mtime_ns)

    gguf.GGUFReader = open_once
    gguf.get_tensor_name_map = lru_cache(maxsize=1)(map_before)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = before, map_before


def forget_gguf_reader() -> None:
    """Close the file that is still open."""
    _opened.cache_clear()


@lru_cache(maxsize=1)
def _opened(reader: type, path: str, mode: str, size: int, changed: int) -> Any:
    """A reader of the file of this size and time of change (st_mtime_ns)."""
    return reader(path, mode)


def _lists_pass() -> bool:
    """Whether transformers hands on a list that is said to be of no type it knows."""
    try:
        from transformers.integrations.ggml import _gguf_parse_value

        values = ["a", "b"]
        return _gguf_parse_value(values, [_ARRAY, None]) is values
    except (ImportError, TypeError, ValueError):
        return False


@lru_cache(maxsize=1)
def _fast(base: type) -> type:
    class FastReader(base):
        """A long array has one part, the list of its values; all else is the package's own.

        The file is a plain array: to cut a part out of a memory map takes several times as long,
        and each tensor is cut into groups of a few rows.
        """

        @property
        def data(self) -> np.ndarray:
            return self._mapped

        @data.setter
        def data(self, mapped: np.memmap) -> None:
            self._mapped = np.asarray(mapped)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list, list, list]:
            start = int(orig_offs)
            content = memoryview(self.data)
            if raw_type == _ARRAY and self.byte_order == "I":
                kind, length = struct.unpack_from("=IQ", content, start)
                if length >= LONG and (kind == _STRING or kind in _NUMBERS):
                    end, values = _values(content, start + 12, kind, length)
                    # Of no known type: transformers does not convert value by value.
                    return end - start, [values], [0], [_ARRAY, None]
            return super()._get_field_parts(orig_offs, raw_type)

    return FastReader


def _values(content: memoryview, place: int, kind: int, count: int) -> tuple[int, list[Any]]:
    """(where they end, each of ``count`` values of the type ``kind``)."""
    if code := _NUMBERS.get(kind):
        end = place + count * struct.calcsize(f"={code}")
        return end, content[place:end].cast(code).tolist()
    return _strings(content, place, count)


def _strings(content: memoryview, place: int, count: int) -> tuple[int, list[str]]:
    """(where they end, each of ``count`` strings)."""
    found = []
    length_at = struct.Struct("=Q").unpack_from
    for _ in range(count):
        start = place + 8
        place = start + length_at(content, place)[0]
        found.append(str(content[start:place], "utf-8"))
    return place, found
