"""A language model's files on this disk, whichever shape they have, and its tokenizer's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import ModelError, explained
from .folder_source import FolderSource
from .gguf_source import GgufSource
from .layout import find_layout
from .local_only import quieten
from .prompt_tokenizer import PromptTokenizer
from .single_file import SingleFile, zimage_template
from .tokenizer_files import read_tokenizer

SOURCES = {"folder": FolderSource, "GGUF": GgufSource, "single file": SingleFile}


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's configuration, weights and tokenizer are read from.

    Attributes:
        path: what was given, as :meth:`find` takes it again.
        name: for reports.
        source: the weights and their configuration.
        tokenizer_folder: the folder with the tokenizer's files; None where the weights' file has
            the tokenizer, or nothing has.
    """

    path: Path
    name: str
    source: FolderSource | GgufSource | SingleFile
    tokenizer_folder: Path | None

    @classmethod
    def find(cls, path: Path, tokenizer: Path | None = None) -> ModelFiles:
        """The model at ``path``, with the tokenizer in the folder ``tokenizer`` or its own.

        Raises ModelError if there is none at ``path``, or ``tokenizer`` is no folder.
        """
        layout = find_layout(path)
        if tokenizer is not None and not Path(tokenizer).is_dir():
            raise ModelError(f"--tokenizer {tokenizer}: there is no such folder")
        folder = Path(tokenizer).resolve() if tokenizer is not None else layout.tokenizer
        return cls(Path(path).absolute(), layout.name, SOURCES[layout.kind](layout.weights), folder)

    @property
    def is_gguf(self) -> bool:
        return isinstance(self.source, GgufSource)

    def stamp(self) -> list[list[str | int]]:
        """Name, size and time of change of everything that the model is read from."""
        stats = [(file.name, file.stat()) for file in self.source.files()]
        return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]

    @cached_property
    def _config(self) -> Any:
        quieten()
        with explained(self.path, "the configuration cannot be read", self.source.advice):
            return self.source.config()

    def config(self) -> Any:
        """The configuration, read once. Raises ModelError if it cannot be read."""
        return self._config

    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer. Raises ModelError if there is none or it cannot be read."""
        quieten()
        if self.tokenizer_folder is not None:
            tokenizer = read_tokenizer(self.tokenizer_folder, self.config())
        else:
            with explained(self.path, "the tokenizer cannot be read", self.source.advice):
                tokenizer = self.source.tokenizer()
        if not isinstance(self.source, SingleFile):
            return PromptTokenizer(tokenizer)
        # Whatever the folder says: ComfyUI's has the template of Qwen2.5, with a system prompt.
        tokenizer.chat_template = zimage_template()
        return PromptTokenizer(tokenizer, "Z-Image's")
