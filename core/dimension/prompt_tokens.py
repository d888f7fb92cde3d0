"""The tokens of all prompts, one after the other, and which of them stand for the same thing.

Prompts are put into an order of their own, by a hash of their tokens: what is drawn or chosen from
them does not depend on the order in which they were given.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..checks import LayerLabError
from .token_classes import classify_tokens

Ids = tuple[int, ...]


class ProbePromptsError(LayerLabError, ValueError):
    """Prompts of which nothing can be said; the message says why and what to do."""


@dataclass(frozen=True)
class PromptTokens:
    """Prompts as tokens; n is the number of all of them together.

    Attributes:
        prompts: token ids of each, in the order of their hashes.
        start, end: how many tokens at the beginning and at the end are the same in every prompt
            whatever it says (BOS, the chat template). The others are a prompt's own.
        classes: (n,) the class of each token.
    """

    prompts: tuple[Ids, ...]
    start: int
    end: int
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def ids(self) -> Tensor:
        """(n,) int64 token ids."""
        return torch.tensor([one for ids in self.prompts for one in ids])

    @cached_property
    def prompt(self) -> Tensor:
        """(n,) int64 the prompt of each token."""
        lengths = torch.tensor([len(ids) for ids in self.prompts])
        return torch.arange(len(self.prompts)).repeat_interleave(lengths)

    @cached_property
    def position(self) -> Tensor:
        """(n,) int64 the position of each token in its prompt."""
        return torch.cat([torch.arange(len(ids)) for ids in self.prompts])

    @cached_property
    def from_end(self) -> Tensor:
        """(n,) int64 tokens that follow in the prompt: 0 for its last one."""
        return torch.cat([torch.arange(len(ids)).flip(0) for ids in self.prompts])

    @cached_property
    def fixed(self) -> Tensor:
        """(n,) bool: tokens of the beginning that all prompts share. Under causal attention each
        has the same hidden state in every prompt."""
        return self.position < self.start

    @cached_property
    def own(self) -> Tensor:
        """(n,) bool: tokens of the prompt itself."""
        return ~self.fixed & (self.from_end >= self.end)

    def rows(self, number: int) -> slice:
        """Where the tokens of a prompt stand among all."""
        first = sum(len(ids) for ids in self.prompts[:number])
        return slice(first, first + len(self.prompts[number]))

    def predicted(self, number: int) -> slice:
        """The positions of a prompt whose loss counts: its own tokens, but for the very first
        token of all, which nothing predicts."""
        return slice(max(self.start, 1), len(self.prompts[number]) - self.end)


def arrange_prompts(
    prompts: Sequence[Sequence[int]],
    probes: Sequence[Sequence[int]],
    text: Callable[[int], str],
    special: Callable[[int], bool],
) -> PromptTokens:
    """Prompts in the order of their hashes, with what they share at both ends.

    Args:
        prompts: token ids of each, as the model is given them.
        probes: token ids of some texts that share no token, in the same template: without them
            prompts that all begin with one word would seem to share it with the template.
        text: the text of a token id, a blank before a word included.
        special: whether a token id is a special one.

    Raises:
        ProbePromptsError: for fewer than two prompts with a token to predict.
    """
    ordered = sorted((tuple(ids) for ids in prompts), key=_digest)
    everything = [*ordered, *(tuple(ids) for ids in probes)]
    start = _shared(everything)
    end = _shared([ids[start:][::-1] for ids in everything])
    usable = tuple(ids for ids in ordered if len(ids) - end > max(start, 1))
    if len(usable) < 2:
        left_out = len(ordered) - len(usable)
        why = f"{left_out} of {len(ordered)} prompts have no token to predict; " if left_out else ""
        raise ProbePromptsError(
            f"{why}at least two prompts are needed, since shuffling takes a value from another "
            "prompt: give more prompts, of two words or more"
        )
    classes: list[str] = []
    for ids in usable:
        classes += classify_tokens([text(one) for one in ids], [special(one) for one in ids])
    return PromptTokens(usable, start, end, tuple(classes))


def _digest(ids: Ids) -> bytes:
    return hashlib.sha256(array("q", ids).tobytes()).digest()


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many first tokens all sequences have in common."""
    count = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count
