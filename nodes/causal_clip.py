"""A ComfyUI CLIP as a causal language model: its own passes, gone on with from changed states, and
its own head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..core.dimension.prompt_tokens import Ids
from ..core.encoder.capture import find_decoder
from ..core.encoder.continuation import continued_from, effective_norm_weight, observed_form
from .encoder import Encoding, encode


class ClipModel:
    """A :class:`.CausalModel` over a CLIP. One prompt a pass, through the host's own encoding call.

    Args:
        prompts: whole ChatML prompts, the only ones that it can be asked about.
        passed: is called after every pass.

    Raises:
        ValueError: if the CLIP is of another kind, or has no language-model head.
    """

    def __init__(self, clip: Any, prompts: Sequence[str], passed: Callable[[], None]):
        self._clip, self._passed = clip, passed
        self.encodings = [self._encode(prompt, [0])[0] for prompt in prompts]
        stage = clip.cond_stage_model
        self._transformer = getattr(stage, stage.clip).transformer
        if not hasattr(self._transformer, "logits"):
            raise ValueError(
                f"This CLIP ({type(self._transformer).__name__}) has no language-model head, so it "
                "predicts no token: connect a CLIPLoader with a Qwen3 or Qwen3-VL text encoder"
            )
        self._decoder = find_decoder(self._transformer)
        self._prompts = {
            one.record.ids: prompt for one, prompt in zip(self.encodings, prompts, strict=True)
        }
        with observed_form(self._decoder) as forms:
            self._encode(prompts[0], [1])
        self._form = forms[0]

    @property
    def blocks(self) -> int:
        """How many blocks it has."""
        return len(self._decoder.layers)

    @property
    def width(self) -> int:
        """Dimensions of a hidden state."""
        return self.encodings[0].conditioning[0][0].shape[-1]

    def states(self, prompts: Sequence[Ids], indices: Sequence[int]) -> dict[int, list[Tensor]]:
        """Hidden states, each a list of (tokens, width) float32, one for each prompt."""
        found: dict[int, list[Tensor]] = {index: [] for index in indices}
        for ids in prompts:
            encodings = self._encode(self._prompts[ids], list(indices))
            for index, encoding in zip(indices, encodings, strict=True):
                found[index].append(encoding.conditioning[0][0][0])
        return found

    def finish(self, prompts: Sequence[Ids], index: int, states: Sequence[Tensor]) -> list[Tensor]:
        """The normed last state of each prompt, (tokens, width), when ``states`` of that shape take
        the place of its hidden state ``index``."""
        if index == self.blocks:
            return list(states)
        found = []
        for ids, own in zip(prompts, states, strict=True):
            with continued_from(self._decoder, index, own[None], self._form):
                [encoding] = self._encode(self._prompts[ids], [self.blocks])
            found.append(encoding.conditioning[0][0][0])
        return found

    def logits(self, normed: Tensor) -> Tensor:
        """(n, width) normed last states -> (n, vocabulary), by the host's own head."""
        self._clip.load_model()  # Since the last pass another model may have taken its place.
        device = self._clip.patcher.load_device
        # The host gives the logits of the last position: of each of n sequences of one.
        return self._transformer.logits(normed.to(device)[:, None])[:, 0]

    def column(self, dimension: int) -> Tensor:
        """(vocabulary,) the final norm's weight times the head's column."""
        self._clip.load_model()
        unit = torch.zeros(1, self.width)
        unit[0, dimension] = 1.0
        like = torch.zeros(1, device=self._clip.patcher.load_device)
        weight = effective_norm_weight(self._decoder.norm, self.width, like)[dimension]
        return self.logits(unit)[0].float().cpu() * weight

    def _encode(self, prompt: str, layers: Sequence[int]) -> list[Encoding]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        encodings = encode(self._clip, prompt, layers)
        self._passed()
        return encodings
