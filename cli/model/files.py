"""A language model's files on this disk: a transformers folder, or one GGUF file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.checks import LayerLabError, shortened
from .gguf_header import MOST_BLOCKS, check_gguf_header
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
BLOCK_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth")
MOST_WEIGHTS_PER_BYTE = 16
"""Weights that a byte of safetensors may hold: one in two bits takes a quarter of a byte."""


class ModelError(LayerLabError, ValueError):
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


def readable(name: str) -> str:
    """``name`` as text that any file can hold: what of it is not UTF-8 on the disk is escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class ModelFiles:
    """A folder with config.json and safetensors, or a .gguf file."""

    path: Path

    @classmethod
    def find(cls, path: Path) -> ModelFiles:
        """Raises ModelError if ``path`` is neither."""
        path = Path(path)
        try:
            there = path.exists()
        except OSError:  # For example a name that is too long.
            there = False
        if not there:
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
            return readable(self.path.stem)
        if self.path.parent.name == "snapshots":
            repository = self.path.parent.parent.name.removeprefix("models--")
            return readable(repository.replace("--", "/"))
        return readable(self.path.name)

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
            self._require_plausible()
            return transformers.AutoConfig.from_pretrained(folder, **arguments)

    def _require_plausible(self) -> None:
        """Raise ValueError where a few lying bytes would keep a reader busy or fill the memory.

        Some configurations of transformers make a list as long as the blocks they claim.
        """
        if self.is_gguf:
            check_gguf_header(self.path)
            return
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("config.json is no object")
        for part in (config, *config.values()):
            for name in BLOCK_COUNTS:
                blocks = part.get(name) if isinstance(part, dict) else None
                if isinstance(blocks, int | float) and not 0 <= blocks <= MOST_BLOCKS:
                    raise ValueError(f"{name} is {shortened(blocks)}, not up to {MOST_BLOCKS}")

    def require_weights(self, kind: Any, config: Any) -> None:
        """Raise ValueError if the model of ``config`` has far more weights than the files hold.

        ``kind``: a class of transformers. What is missing would be made up, whatever its size.
        """
        import torch
        from safetensors import safe_open

        if self.is_gguf:
            check_gguf_header(self.path)
            return
        files = list(self.path.glob("*.safetensors"))
        for file in files:
            with safe_open(file, framework="pt"):  # Raises if it is no whole file.
                pass
        with torch.device("meta"):
            model = kind.from_config(config)
        wanted = sum(parameter.numel() for parameter in model.parameters())
        held = sum(file.stat().st_size for file in files)
        if files and wanted > MOST_WEIGHTS_PER_BYTE * held:
            raise ValueError(
                f"config.json asks for {wanted} weights and the safetensors files have {held} "
                "bytes: they are of different models"
            )

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
            self._require_plausible()
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
