"""The prompts of ``layerlab dim``: as many of a file as fit, as tokens, in their own order."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from ...core.dimension.prompt_tokens import PromptTokens, arrange_prompts
from ..model.prompt_tokenizer import PromptTokenizer
from ..profile.batches import TokenizedPrompts, TokenLimits
from ..profile.prompt_file import PromptFile

MOST_TOKENS = 4096
"""Tokens whose states are measured at most: every dimension of each is in memory at a time."""
PROBES = ("a", "7", ".")
"""Prompts that share no token: what is the same in all of them is the template's."""


@dataclass(frozen=True)
class DimTokenizer:
    """Prompts as :class:`.PromptTokenizer` gives them, with BOS first where the model has one.

    Some chat templates leave out the BOS with which the tokenizer itself begins every text; without
    it models such as Gemma have no attention sink (arXiv 2503.22329).
    """

    own: PromptTokenizer

    @property
    def bos(self) -> int | None:
        """The token with which the tokenizer itself begins a text, if it is its BOS."""
        bos = self.own.tokenizer.bos_token_id
        begins = self.own.tokenizer("a")["input_ids"][:1]
        return bos if bos is not None and begins == [bos] else None

    def ids(self, prompt: str) -> list[int]:
        """Token ids of a prompt."""
        ids = self.own.ids(prompt)
        bos = self.bos
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

    @property
    def has_template(self) -> bool:
        """As :attr:`.PromptTokenizer.has_template`."""
        return self.own.has_template

    @property
    def template(self) -> str:
        """As :attr:`.PromptTokenizer.template`."""
        return self.own.template

    def text(self, token_id: int) -> str:
        """A token's text, with the blank that begins a word."""
        text = self.own.text(token_id)
        # Some sentencepiece tokenizers drop the blank of a token by itself.
        begins = str(self.own.tokenizer.convert_ids_to_tokens(token_id)).startswith("\u2581")
        return f" {text}" if begins and not text.startswith(" ") else text


@dataclass(frozen=True)
class DimPrompts:
    """What is measured of a prompt file.

    Attributes:
        tokens: of the chosen prompts.
        given: how many prompts the file has.
        without_loss: of those that were chosen, how many have no token to predict.
    """

    tokens: PromptTokens
    tokenizer: DimTokenizer
    file: TokenizedPrompts
    without_loss: int

    @property
    def digest(self) -> str:
        """sha256 of the chosen prompts' token ids."""
        content = array("q")
        for ids in self.tokens.prompts:
            content.extend((len(ids), *ids))
        return hashlib.sha256(content.tobytes()).hexdigest()

    @property
    def introduction(self) -> str:
        """What will be measured, in sentences."""
        tokens = self.tokens
        words = [f"{self.file.introduction}."]
        if len(tokens) < len(self.file):
            words.append(f"Measured are {len(tokens)} of them, {len(tokens.ids)} tokens.")
        if self.without_loss:
            words.append(f"{self.without_loss} prompts have no token to predict: left out.")
        return " ".join(words)


def read_prompts(
    source: PromptFile,
    tokenizer: PromptTokenizer,
    limits: TokenLimits,
    done: Callable[[int], None],
) -> DimPrompts:
    """As many prompts as MOST_TOKENS hold, chosen by the hash of their tokens.

    Raises:
        PromptFileError: naming the line of a prompt that the model cannot take.
        ProbePromptsError: for fewer than two prompts with a token to predict.
    """
    own = DimTokenizer(tokenizer)
    counted = TokenizedPrompts.count(source, own, limits, done)
    chosen: dict[bytes, list[list[int]]] = {}
    for number in range(len(counted)):
        ids = counted.ids(number)
        chosen.setdefault(hashlib.sha256(array("q", ids).tobytes()).digest(), []).append(ids)
        if number % 4096 == 4095:
            chosen = _first(chosen)
    kept = [ids for same in _first(chosen).values() for ids in same]
    special = set(tokenizer.tokenizer.all_special_ids)
    probes = [own.ids(text) for text in PROBES]
    tokens = arrange_prompts(kept, probes, own.text, special.__contains__)
    return DimPrompts(tokens, own, counted, len(kept) - len(tokens))


def _first(by_hash: dict[bytes, list[list[int]]]) -> dict[bytes, list[list[int]]]:
    """The first prompts by their hashes that MOST_TOKENS hold; two at least."""
    kept: dict[bytes, list[list[int]]] = {}
    tokens = 0
    for digest, same in sorted(by_hash.items()):
        tokens += sum(len(ids) for ids in same)
        if tokens > MOST_TOKENS and len(kept) > 1:
            break
        kept[digest] = same
    return kept
