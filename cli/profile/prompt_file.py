"""A text file of prompts, one a line, read line by line however long it is."""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from ...core.checks import LayerLabError


class PromptFileError(LayerLabError, ValueError):
    """A prompt file that cannot be used; the message names it, says why, and what to do."""


class PromptFile(Sequence[str]):
    """The prompts of a UTF-8 file, in order; blank lines are no prompts.

    Only where each prompt stands is kept in memory (16 bytes a prompt); it is read when asked for.

    Attributes:
        path: the file.
        lines: per prompt, its line in the file, from 1.

    Raises:
        PromptFileError: if the file is missing, is no file, holds no prompt or is not UTF-8.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.lines = array("q")
        self._offsets = array("q")
        try:
            if not self.path.exists():
                raise PromptFileError(
                    f"{path}: there is no such file; give --prompts a text file, one prompt a line"
                )
            if not self.path.is_file():
                raise PromptFileError(f"{path} is not a file; give --prompts a text file")
            self._scan()
        except OSError as error:
            raise PromptFileError(f"{path} cannot be read: {error.strerror}") from error
        if not self._offsets:
            raise PromptFileError(f"{path} holds no prompt: write at least one into it, one a line")

    def _scan(self) -> None:
        with self.path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, 1):
                mark = len(codecs.BOM_UTF8) if offset == 0 and _has_mark(line) else 0
                if self._decode(line[mark:], number, mark).strip():
                    self._offsets.append(offset + mark)
                    self.lines.append(number)
                offset += len(line)

    def _decode(self, line: bytes, number: int, skipped: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise PromptFileError(
                f"{self.path} is not UTF-8: line {number}, byte {error.start + skipped + 1} is "
                f"0x{line[error.start]:02x}; save it as UTF-8 text"
            ) from error

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        """Prompt ``number``, from 0, without its line ending."""
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        with self.path.open("rb") as file:
            file.seek(self._offsets[number])
            line = file.readline()
        return self._decode(line, self.lines[number], 0).rstrip("\r\n")


def _has_mark(line: bytes) -> bool:
    return line.startswith(codecs.BOM_UTF8)
