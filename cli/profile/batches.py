"""Which prompts share a forward pass; this is decided from the prompts alone, before the first.

An unbroken run and a resumed one therefore add up the same parts in the same order. So do those on
Ray, however many workers there are.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...core.shipped import CORPUS
from ..model.errors import readable
from ..model.prompt_tokenizer import PromptTokenizer
from .prompt_file import PromptFile, PromptFileError

Batch = list[tuple[int, list[int]]]
"""Prompts of one forward pass: number of the prompt, its token ids."""

MAX_SHARD_BATCHES = 4
SHARDS_AT_LEAST = 16
"""A shard is as many batches as leave this many shards, up to the maximum."""

MOST_GROUPS = 64
"""How many results come from a cluster at most, however many shards were measured there."""


@dataclass(frozen=True)
class TokenLimits:
    """What a model can take in; None where its configuration does not say."""

    context: int | None
    vocabulary: int | None

    @classmethod
    def of(cls, config: object) -> TokenLimits:
        """From a configuration of transformers."""
        text = config.get_text_config()
        return cls(
            getattr(text, "max_position_embeddings", None), getattr(text, "vocab_size", None)
        )


@dataclass(frozen=True)
class TokenizedPrompts:
    """A prompt file and a tokenizer; ids are made when asked for, so memory does not grow.

    Attributes:
        lengths: tokens of every prompt.
        digest: sha256 of all token ids, in order.
    """

    prompts: PromptFile
    tokenizer: PromptTokenizer
    lengths: array
    digest: str

    unit: ClassVar[str] = "prompts"
    chosen: ClassVar[str] = ""
    """:attr:`.Profile.image_tokens`: there are no images."""

    @classmethod
    def count(
        cls,
        prompts: PromptFile,
        tokenizer: PromptTokenizer,
        limits: TokenLimits,
        done: Callable[[int], None] = lambda prompts: None,
    ) -> TokenizedPrompts:
        """Tokenize everything once; ``done`` is called with 1 for every prompt.

        Raises:
            PromptFileError: naming the line of a prompt that the model cannot take.
        """
        lengths = array("q")
        digest = hashlib.sha256()
        for number, line in enumerate(prompts.lines):
            where = f"{prompts.path}, line {line}"
            ids = _ids_of(prompts[number], tokenizer, where)
            if limits.context is not None and len(ids) > limits.context:
                raise PromptFileError(
                    f"{where}: the prompt has {len(ids)} tokens and the model's context is "
                    f"{limits.context}; shorten it or take it out"
                )
            if limits.vocabulary is not None and max(ids) >= limits.vocabulary:
                raise PromptFileError(
                    f"{where}: the tokenizer gives token {max(ids)} and the model knows "
                    f"{limits.vocabulary}: it is another model's tokenizer"
                )
            lengths.append(len(ids))
            digest.update(array("q", [len(ids), *ids]).tobytes())
            done(1)
        return cls(prompts, tokenizer, lengths, digest.hexdigest())

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    def __len__(self) -> int:
        return len(self.prompts)

    def batch(self, numbers: Sequence[int]) -> Batch:
        """These prompts with their token ids."""
        return [(number, self.ids(number)) for number in numbers]

    def tokens_per_pass(self, batch_tokens: int) -> int:
        """How many tokens may share a pass where ``batch_tokens`` were asked for: as many."""
        return batch_tokens

    def decisive(self) -> dict[str, object]:
        """What of the prompts decides the numbers, by name."""
        return {"prompts": self.digest}

    def origin(self) -> dict[str, str]:
        """Where the prompts are from, for provenance."""
        shipped = self.prompts.path == CORPUS
        path = "the shipped stats/corpus.txt" if shipped else readable(str(self.prompts.path))
        template = self.tokenizer.template
        return {"prompts": str(len(self)), "prompt_file": path, "chat_template": template}

    @property
    def introduction(self) -> str:
        """What will be measured, in a sentence."""
        count = f"{len(self)} prompts, {self.tokens} tokens"
        if self.tokenizer.has_template:
            whose = self.tokenizer.template.replace("model's", "the model's")
            return f"{count}, in {whose} chat template"
        return (
            f"{count}. The model has no chat template: they go in as plain text with the "
            "tokenizer's own special tokens"
        )

    def ids(self, number: int) -> list[int]:
        """Token ids of prompt ``number``. Raises PromptFileError if the file has changed."""
        path = self.prompts.path
        ids = _ids_of(self.prompts[number], self.tokenizer, f"{path}, prompt {number + 1}")
        if len(ids) != self.lengths[number]:
            raise PromptFileError(f"{path} was changed while it was being read: run it again")
        return ids


def _ids_of(prompt: str, tokenizer: PromptTokenizer, where: str) -> list[int]:
    try:
        ids = tokenizer.ids(prompt)
    except Exception as error:  # jinja2 and the template itself raise what they like
        raise PromptFileError(
            f"{where}: the model's tokenizer or chat template fails on it: {error}"
        ) from error
    if not ids:
        raise PromptFileError(f"{where}: the tokenizer makes no token of it; take it out")
    return ids


@dataclass(frozen=True)
class BatchPlan:
    """Prompts by length, longest first, cut into batches, and batches into shards.

    Longest first: if the memory does not suffice, that shows at once.

    Attributes:
        order: (prompts,) int64, numbers of the prompts.
        starts: (batches + 1,) int64, where in ``order`` each batch begins.
        shard_batches: batches per shard; a shard is what a worker measures in one go.
    """

    order: np.ndarray
    starts: np.ndarray
    shard_batches: int

    @property
    def batches(self) -> int:
        return len(self.starts) - 1

    @property
    def shards(self) -> int:
        return -(-self.batches // self.shard_batches)

    @property
    def group_shards(self) -> int:
        """Shards per group, of which a cluster sends one result: all of them merged."""
        return -(-self.shards // MOST_GROUPS)

    def numbers(self, shard: int) -> list[list[int]]:
        """Per batch of ``shard``, the numbers of its prompts."""
        first = shard * self.shard_batches
        last = min(first + self.shard_batches, self.batches)
        bounds = self.starts[first : last + 1]
        return [
            self.order[start:end].tolist()
            for start, end in zip(bounds[:-1], bounds[1:], strict=True)
        ]

    def read(self, shards: Sequence[int], prompts: Any) -> Iterator[list[Any]]:
        """The batches of each of ``shards``, made by ``prompts.batch`` as they are asked for.

        ``prompts``: :class:`TokenizedPrompts`, or :class:`.ImagePrompts`.
        """
        for shard in shards:
            yield [prompts.batch(numbers) for numbers in self.numbers(shard)]


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> BatchPlan:
    """Fill batches up to ``batch_tokens`` tokens, padding included; a longer prompt is alone.

    Raises:
        ValueError: if ``batch_tokens`` is less than 1.
    """
    if batch_tokens < 1:
        raise ValueError(f"--batch-tokens is {batch_tokens}: it must be at least 1")
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    starts = [0]
    while starts[-1] < len(order):
        longest = int(sizes[order[starts[-1]]])
        rows = max(1, batch_tokens // longest)
        starts.append(min(starts[-1] + rows, len(order)))
    batches = len(starts) - 1
    shard = min(MAX_SHARD_BATCHES, max(1, batches // SHARDS_AT_LEAST))
    return BatchPlan(order, np.asarray(starts, dtype=np.int64), shard)
