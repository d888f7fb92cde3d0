"""A GGUF file's header read fast, and once.

The reader of the package gguf makes several NumPy views of each word of a vocabulary, at some
10 microseconds a word, and transformers opens the file anew for the configuration, the tokenizer
and the weights: a minute for Gemma's 262,144 words. Here the file that was opened last stays open
until :func:`forget_gguf_reader`. transformers also asks for the same map of names once for every
module of the model: here the map is made once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any


@contextmanager
def fast_gguf_reader() -> Iterator[None]:
    """Within the context ``gguf.GGUFReader``, which transformers looks up, reads arrays fast, and
    a file that has not changed is read once; ``gguf.get_tensor_name_map`` makes each map once.

    A transformers that reads GGUF files with code of its own is not affected.
    """
    import gguf

    before, map_before = gguf.GGUFReader, gguf.get_tensor_name_map
    reader = _fast(before)

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


@lru_cache(maxsize=1)
def _fast(base: type) -> type:
    from gguf import GGUFValueType

    class FastReader(base):
        """Parts of arrays are memoryviews, made in one loop; all else is the package's own."""

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list, list, list]:
            if raw_type != GGUFValueType.ARRAY or self.byte_order != "I":
                return super()._get_field_parts(orig_offs, raw_type)
            start = int(orig_offs)
            content = memoryview(self.data)
            kind, length = struct.unpack_from("=IQ", content, start)
            if kind == GGUFValueType.STRING:
                end, values = _strings(content, start + 12, length)
            elif code := self._NUMBERS.get(kind):
                end = start + 12 + length * struct.calcsize(f"={code}")
                numbers = content[start + 12 : end].cast(code)
                values = [numbers[i : i + 1] for i in range(length)]
            else:
                return super()._get_field_parts(orig_offs, raw_type)
            # As in the package: what comes before the values, the values, where they are.
            header = [self.data[start : start + 4], self.data[start + 4 : start + 12]]
            types = [GGUFValueType.ARRAY, *([GGUFValueType(kind)] if length else [])]
            return end - start, header + values, list(range(2, 2 + length)), types

        _NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 12: "d"}

    return FastReader


def _strings(content: memoryview, place: int, count: int) -> tuple[int, list[Any]]:
    """(where they end, the bytes of each of ``count`` strings)."""
    found = []
    length_at = struct.Struct("=Q").unpack_from
    for _ in range(count):
        start = place + 8
        place = start + length_at(content, place)[0]
        found.append(content[start:place])
    return place, found
