"""A tokenizer from its files: beside the weights, in a folder of its own, or ComfyUI's."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import ModelError, explained, without_package
from .local_only import LOCAL_ONLY

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


def read_tokenizer(folder: Path, config: Any) -> Any:
    """transformers' tokenizer from ``folder``, for the model of ``config``.

    Raises:
        ModelError: if the folder has none, or it cannot be read.
    """
    import transformers

    folder = Path(folder)
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(
            f"{folder} has no tokenizer ({', '.join(VOCABULARIES[:3])} or the like): copy the "
            "tokenizer files of the model into it, or name a folder that has them with --tokenizer"
        )
    arguments = {}
    if (folder / "tekken.json").is_file():
        if not any((folder / name).is_file() for name in VOCABULARIES if name != "tekken.json"):
            # transformers would make up an empty one.
            if find_spec("mistral_common") is None:
                raise without_package(folder, "tekken.json cannot be read", "mistral-common")
        else:
            # Else the tokens would be others where mistral-common is installed.
            arguments["mistral_format"] = False
    advice = "Download the tokenizer's files again"
    with explained(folder, "the tokenizer cannot be read", advice):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, config=config, **LOCAL_ONLY)
        if not tokenizer.chat_template:
            tokenizer.chat_template = _processor_template(folder)
    return tokenizer


def _processor_template(folder: Path) -> str | None:
    """The template of a folder that keeps it with its image processor, as Qwen-VL ones do."""
    path = folder / "chat_template.json"
    if not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8"))["chat_template"]
