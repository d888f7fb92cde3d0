"""A decoder with its language-model head: states, passes that go on from changed ones, logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...core.encoder.capture import capture_hidden_states
from ...core.encoder.continuation import (
    continued_from,
    effective_norm_weight,
    observed_form,
)
from .errors import ModelError
from .files import ModelFiles
from .language_model import LoadedDecoder, load_decoder, padded_ids
from .single_file import SingleFile

LOGIT_ERROR = 1e-3
"""How far, over the logits' own spread, our logits may lie from those of the model's own pass."""
CHECKED_TOKENS = (0, 1, 2)
TIED_WIDTHS = (1024, 2048, 2560)
"""Qwen3 of these widths (0.6B, 1.7B, 4B) has its embeddings for a head; larger ones have their own,
which ComfyUI's single file leaves out."""


@dataclass(frozen=True)
class LanguageHead:
    """What makes logits of normed states.

    Attributes:
        weight: (vocabulary, width).
        bias: (vocabulary,) or None.
        cap: logits are cap * tanh(logits / cap) (Gemma 2); None: as they are.
        scale: what they are multiplied with before.
    """

    weight: Tensor
    bias: Tensor | None = None
    cap: float | None = None
    scale: float = 1.0

    def logits(self, normed: Tensor) -> Tensor:
        """(n, width) -> (n, vocabulary)."""
        given = normed.to(self.weight.device, self.weight.dtype)
        logits = torch.nn.functional.linear(given, self.weight, self.bias) * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


@dataclass(frozen=True)
class CausalDecoder:
    """A loaded decoder and its head: a :class:`.CausalModel`."""

    loaded: LoadedDecoder
    head: LanguageHead

    @property
    def blocks(self) -> int:
        """How many blocks it has."""
        return self.loaded.blocks

    @property
    def width(self) -> int:
        """Dimensions of a hidden state."""
        return self.loaded.width

    @cached_property
    def _form(self) -> int:
        with observed_form(self.loaded.decoder) as forms:
            self.loaded.hidden_states([0], [1])
        return forms[0]

    @torch.no_grad()
    def states(
        self, prompts: Sequence[Sequence[int]], indices: Sequence[int]
    ) -> dict[int, list[Tensor]]:
        """Hidden states, each a list of (tokens, width) on the CPU, one for each prompt; all from
        one pass."""
        with capture_hidden_states(self.loaded.decoder, indices) as capture:
            self._run(prompts)
        return {
            index: [own[: len(ids)].cpu() for own, ids in zip(states, prompts, strict=True)]
            for index, states in capture.passes[0].items()
        }

    @torch.no_grad()
    def finish(
        self, prompts: Sequence[Sequence[int]], index: int, states: Sequence[Tensor]
    ) -> list[Tensor]:
        """Each prompt's normed last state, if its hidden state ``index`` were the given one."""
        if index == self.blocks:
            return list(states)
        padded = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        with continued_from(self.loaded.decoder, index, padded, self._form):
            normed = self._run(prompts).last_hidden_state
        return [own[: len(one)] for own, one in zip(normed, prompts, strict=True)]

    def _run(self, prompts: Sequence[Sequence[int]]) -> Any:
        """One pass of the decoder. Without a mask: the padding follows a prompt's tokens, where
        none of them can see it."""
        ids = padded_ids(prompts).to(self.loaded.device)
        return self.loaded.decoder(input_ids=ids, use_cache=False)

    @torch.no_grad()
    def logits(self, normed: Tensor) -> Tensor:
        """(n, width) normed last states -> (n, vocabulary)."""
        return self.head.logits(normed)

    @torch.no_grad()
    def column(self, dimension: int) -> Tensor:
        """(vocabulary,) float32 on the CPU: the final norm's weight times the unembedding's
        column."""
        weight = self._norm_weight[dimension] * self.head.scale
        return self.head.weight[:, dimension].float().cpu() * weight

    @cached_property
    def _norm_weight(self) -> Tensor:
        like = next(self.loaded.decoder.parameters())
        return effective_norm_weight(self.loaded.decoder.norm, self.width, like)


def load_causal(files: ModelFiles, device: str = "auto", dtype: str = "auto") -> CausalDecoder:
    """A decoder with its language-model head.

    Raises:
        ModelError: if it cannot be read, has no head, or makes its logits in a way that is not
            known here.
    """
    return with_head(load_decoder(files, device, dtype, head=True), files)


def with_head(loaded: LoadedDecoder, files: ModelFiles | None = None) -> CausalDecoder:
    """``loaded`` with the head that belongs to it; ``files``: what it was loaded from.

    Raises:
        ModelError: as :func:`load_causal`.
    """
    head = _own_head(loaded)
    if head is None and files is not None:
        head = _tied_head(loaded, files)
    if head is None:
        raise ModelError(
            f"{loaded.name} has no language-model head, so it predicts no token: give a causal "
            "language model with its output weights (lm_head), such as the model's own "
            "transformers folder or a GGUF of it"
        )
    model = CausalDecoder(loaded, head)
    _require_same_logits(model)
    return model


def _own_head(loaded: LoadedDecoder) -> LanguageHead | None:
    """The head of a model of transformers that has one."""
    module = loaded.model.get_output_embeddings()
    if module is None:
        return None
    config = loaded.model.config.get_text_config()
    # Granite divides the logits, Cohere multiplies them, Gemma 2 caps them.
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)
    return LanguageHead(module.weight, getattr(module, "bias", None), cap, scale)


def _tied_head(loaded: LoadedDecoder, files: ModelFiles) -> LanguageHead | None:
    """The embeddings as a head, where a file of the decoder alone is known to be tied."""
    if isinstance(files.source, SingleFile) and loaded.width in TIED_WIDTHS:
        return LanguageHead(loaded.decoder.embed_tokens.weight)
    return None


@torch.no_grad()
def _require_same_logits(model: CausalDecoder) -> None:
    """Raise ModelError where the model makes its logits otherwise than the head says."""
    if model.loaded.model.get_output_embeddings() is None:
        return
    ids = torch.tensor([CHECKED_TOKENS], device=model.loaded.device)
    output = model.loaded.model(input_ids=ids, use_cache=False, output_hidden_states=False)
    [normed] = model.finish([CHECKED_TOKENS], 0, model.states([CHECKED_TOKENS], [0])[0])
    theirs, ours = output.logits[0].float(), model.logits(normed).float()
    error = float((theirs - ours).abs().max() / theirs.std().clamp(min=1e-12))
    limit = LOGIT_ERROR if model.loaded.dtype in (torch.float32, torch.float64) else 0.1
    if not error <= limit:
        raise ModelError(
            f"{model.loaded.name}: its logits are not its final norm and head alone (they differ "
            f"by {error:.2g} of their spread), so the cost of a change cannot be measured: give "
            "another model, such as Qwen3, Llama or Gemma"
        )
