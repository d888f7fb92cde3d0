"""A language model in one GGUF file, read through transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .errors import ModelError
from .folder_source import model_class
from .gguf_header import GgufHeaderError, check_gguf_header
from .gguf_reader import fast_gguf_reader, forget_gguf_reader
from .local_only import LOCAL_ONLY


@dataclass(frozen=True)
class GgufSource:
    """``path``: the file, under any name."""

    path: Path
    advice = (
        "If the file is whole, this transformers does not read its kind of model as GGUF: give the "
        "model's transformers folder; else download it again"
    )

    def files(self) -> list[Path]:
        """What the model is read from."""
        return [self.path]

    def config(self) -> Any:
        """transformers' configuration; whatever it raises."""
        import transformers

        with self._opened() as (folder, file):
            return transformers.AutoConfig.from_pretrained(folder, gguf_file=file, **LOCAL_ONLY)

    def tokenizer(self) -> Any:
        """transformers' tokenizer, of the file's own vocabulary; whatever it raises."""
        import transformers

        with self._opened() as (folder, file):
            return transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file, **LOCAL_ONLY)

    def load(self, config: Any, dtype: Any) -> tuple[Any, dict[str, Any]]:
        """(the model, what of it the file did not have); whatever it raises."""
        import transformers

        kind = model_class(self.path, config)
        arguments = {"config": config, "dtype": dtype, "output_loading_info": True}
        if hasattr(transformers, "GgufConfig"):
            # Else the numbers would be others where a package with kernels is installed.
            arguments["quantization_config"] = transformers.GgufConfig(dequantize=True)
        try:
            with self._opened() as (folder, file):
                return kind.from_pretrained(folder, gguf_file=file, **LOCAL_ONLY, **arguments)
        finally:
            # The weights come last: from here on only their copies are needed.
            forget_gguf_reader()

    @contextmanager
    def _opened(self) -> Iterator[tuple[str, str]]:
        """A folder and a file, as ``from_pretrained`` takes them; the folder is empty.

        In the file's own folder transformers would also take in the tokenizer_config.json and the
        chat template of whatever model lies beside it.
        """
        try:
            check_gguf_header(self.path)
        except GgufHeaderError as error:
            raise ModelError(
                f"{self.path}: its header cannot be read: {error}. Download the file again, or "
                "convert it again"
            ) from error
        with TemporaryDirectory(prefix="layerlab-") as empty, fast_gguf_reader():
            # Joined to a folder, an absolute path is itself.
            yield empty, str(self.path)
