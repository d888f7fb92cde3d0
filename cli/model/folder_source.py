"""A language model in a transformers folder: config.json and safetensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.checks import shortened
from .errors import ModelError
from .gguf_header import MOST_BLOCKS
from .local_only import LOCAL_ONLY

BLOCK_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth")
MOST_WEIGHTS_PER_BYTE = 16
"""Weights that a byte of safetensors may hold: one in two bits takes a quarter of a byte."""


def model_class(path: Path, config: Any) -> Any:
    """transformers' class for the model of ``config``. Raises ModelError if it is no decoder."""
    import transformers

    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    if type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return transformers.AutoModelForImageTextToText
    raise ModelError(
        f"{path} is a model of the type {config.model_type!r}, which transformers knows "
        "neither as a causal language model nor as an image-text one"
    )


@dataclass(frozen=True)
class FolderSource:
    """``path``: the folder."""

    path: Path
    advice = "Download the model's files again, or convert them again"

    def files(self) -> list[Path]:
        """What the model is read from."""
        return sorted(file for file in self.path.glob("*.*") if file.is_file())

    def config(self) -> Any:
        """transformers' configuration; whatever it raises, and ValueError where the file lies."""
        import transformers

        self._require_plausible()
        config = transformers.AutoConfig.from_pretrained(self.path, **LOCAL_ONLY)
        # By the folder's name transformers would take some tokenizers for others.
        config.name_or_path = ""
        return config

    def load(self, config: Any, dtype: Any) -> tuple[Any, dict[str, Any]]:
        """(the model, what of it the files did not have); whatever it raises."""
        kind = model_class(self.path, config)
        self._require_weights(kind, config)
        return kind.from_pretrained(
            self.path,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            **LOCAL_ONLY,
        )

    def _require_plausible(self) -> None:
        """Raise ValueError where a few lying bytes would keep a reader busy or fill the memory.

        Some configurations of transformers make a list as long as the blocks they claim.
        """
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("config.json is no object")
        if not config.get("model_type"):
            # transformers would look for the name of a model type in the folder's name.
            raise ValueError('config.json does not say which model it is: it has no "model_type"')
        for part in (config, *config.values()):
            for name in BLOCK_COUNTS:
                blocks = part.get(name) if isinstance(part, dict) else None
                if isinstance(blocks, int | float) and not 0 <= blocks <= MOST_BLOCKS:
                    raise ValueError(f"{name} is {shortened(blocks)}, not up to {MOST_BLOCKS}")

    def _require_weights(self, kind: Any, config: Any) -> None:
        """Raise ValueError if the model of ``config`` has far more weights than the files hold.

        What is missing would be made up, whatever its size.
        """
        import torch
        from safetensors import safe_open

        files = sorted(self.path.glob("*.safetensors"))
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
