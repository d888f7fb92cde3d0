"""A language model's files on this disk: a transformers folder, or one GGUF file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .prompt_tokenizer import PromptTokenizer

VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
    "tiktoken.model",
)
"""Files that carry a vocabulary. Without one transformers makes up an empty tokenizer."""

REASON_LENGTH = 400


class ModelError(ValueError):
    """A model that cannot be used; the message names it, says why, and what to do."""


@contextmanager
def explained(path: Path, what: str, advice: str) -> Iterator[None]:
    """Turns whatever transformers and its readers raise into one ModelError."""
    try:
        yield
    except (ModelError, ModuleNotFoundError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if len(reason) > REASON_LENGTH:
            reason = reason[:REASON_LENGTH] + " ..."
        raise ModelError(f"{path}: {what}: {reason}. {advice}") from error


@dataclass(frozen=True)
class ModelFiles:
    """A folder with config.json and safetensors, or a .gguf file."""

    path: Path

    @classmethod
    def find(cls, path: Path) -> ModelFiles:
        """Raises ModelError if ``path`` is neither."""
        path = Path(path)
        if not path.exists():
            raise ModelError(
                f"{path}: there is no such model; give a folder with config.json and "
                "safetensors, or a .gguf file (nothing is downloaded)"
            )
        if path.is_dir() and not (path / "config.json").is_file():
            raise ModelError(
                f"{path} is no transformers model: it has no config.json. Give the folder that has "
                "one, or a .gguf file"
            )
        if path.is_file() and path.suffix.lower() != ".gguf":
            raise ModelError(f"{path} is neither a model folder nor a .gguf file")
        return cls(path.resolve())

    @property
    def is_gguf(self) -> bool:
        return self.path.is_file()

    @property
    def name(self) -> str:
        """For reports: the folder's or file's name, or the repository's in a Hugging Face cache."""
        if self.is_gguf:
            return self.path.stem
        if self.path.parent.name == "snapshots":
            return self.path.parent.parent.name.removeprefix("models--").replace("--", "/")
        return self.path.name

    @property
    def location(self) -> tuple[Path, dict[str, Any]]:
        """What ``from_pretrained`` takes: never the network, never code from the folder."""
        arguments: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if self.is_gguf:
            return self.path.parent, {**arguments, "gguf_file": self.path.name}
        return self.path, arguments

    def stamp(self) -> list[list[str | int]]:
        """Name, size and time of change of everything that the model is read from."""
        files = [self.path] if self.is_gguf else sorted(self.path.glob("*.*"))
        stats = [(file.name, file.stat()) for file in files if file.is_file()]
        return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]

    def config(self) -> Any:
        """The configuration. Raises ModelError if it cannot be read."""
        import transformers

        quieten()
        folder, arguments = self.location
        with explained(self.path, "the configuration cannot be read", _DAMAGED):
            return transformers.AutoConfig.from_pretrained(folder, **arguments)

    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer. Raises ModelError if there is none or it cannot be read."""
        import transformers

        quieten()
        if not self.is_gguf and not any((self.path / name).is_file() for name in VOCABULARIES):
            raise ModelError(
                f"{self.path} has no tokenizer ({', '.join(VOCABULARIES[:3])} or the like): copy "
                "the tokenizer files of the model into it"
            )
        folder, arguments = self.location
        with explained(self.path, "the tokenizer cannot be read", _DAMAGED):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **arguments)
            if not tokenizer.chat_template:
                tokenizer.chat_template = self._processor_template()
        return PromptTokenizer(tokenizer)

    def _processor_template(self) -> str | None:
        """The template of a folder that keeps it with its image processor, as Qwen-VL ones do."""
        path = self.path / "chat_template.json"
        if self.is_gguf or not path.is_file():
            return None
        return json.loads(path.read_text(encoding="utf-8"))["chat_template"]


_DAMAGED = "Download the model's files again, or convert them again"


def quieten() -> None:
    """No progress bars and no warnings of transformers across the command's own output."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
