"""``layerlab concept``: every concept of a file of pairs as a safetensors file."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import torch
from rich.console import Console

from ...core.checks import LayerLabError
from ...core.concept.concept_file import SUFFIX, save_concept
from ...core.concept.direction import (
    ConceptError,
    Finding,
    SideMeans,
    find_direction,
    measure_side,
)
from ...core.edit.state_edits import LayerChoice
from ...core.encoder.layers import LayerRangeError
from ..encode.encoder import CaptionEncoder
from ..encode.tokens import CaptionTokenizer
from ..model.errors import readable
from ..model.files import ModelFiles
from ..out_folder import require_folder, writing_in
from ..profile.batches import TokenLimits
from ..profile.progress import PromptProgress
from ..show.console import make_console, print_table
from ..show.html_report import Table
from .pair_file import Pairs, read_pairs

PROBES = ("a", "7", ".")
"""Prompts that share no token: what is the same in all of them is the template's."""


class ConceptCommandError(LayerLabError, ValueError):
    """The command cannot go on; the message says why and what to do."""


class ConceptTokens:
    """Prompts as token ids in a model's template, and which of them are the prompt's own."""

    def __init__(self, tokenizer: CaptionTokenizer, limits: TokenLimits):
        self._tokenizer, self._limits = tokenizer, limits

    def ids(self, prompt: str) -> list[int]:
        """All ids of ``prompt`` in the template.

        Raises:
            ConceptCommandError: if the model cannot take so many.
        """
        ids = self._tokenizer.ids(prompt)
        if self._limits.context is not None and len(ids) > self._limits.context:
            raise ConceptCommandError(
                f"the prompt {prompt[:60]!r} has {len(ids)} tokens and the model's context is "
                f"{self._limits.context}: shorten it"
            )
        return ids

    def content(self, ids: Sequence[int]) -> torch.Tensor:
        """(tokens,) bool, False where the template stands."""
        before, after = self._template
        content = torch.zeros(len(ids), dtype=torch.bool)
        content[before : len(ids) - after] = True
        return content

    @cached_property
    def _template(self) -> tuple[int, int]:
        """Tokens before and after every prompt."""
        probes = [self._tokenizer.ids(prompt) for prompt in PROBES]
        return _shared(probes), _shared([ids[::-1] for ids in probes])


def run_concept(options: argparse.Namespace) -> int:
    """Write the concepts of ``options.pairs`` into ``options.out``; returns the exit status."""
    try:
        write_concepts(options, make_console())
    except torch.cuda.OutOfMemoryError as error:
        raise ConceptCommandError(
            f"out of memory: {str(error).splitlines()[0]} Try --dtype bfloat16, or --device cpu"
        ) from error
    return 0


def write_concepts(options: argparse.Namespace, console: Console) -> dict[str, Finding]:
    """Encode, find, write and print; returns what was found by name."""
    started = time.monotonic()
    concepts = read_pairs(options.pairs)
    require_folder(options.out)
    files = ModelFiles.find(options.model, options.tokenizer)
    found = {}
    with PromptProgress(console) as progress:
        with progress.waiting("Reading the tokenizer"):
            config = files.config()
            tokens = ConceptTokens(CaptionTokenizer.of(files), TokenLimits.of(config))
        layer = _layer(options.layer, config)
        for pairs in concepts.values():  # Before the weights are read.
            for prompt in (prompt for pair in pairs for prompt in pair):
                tokens.ids(prompt)
        encoder = CaptionEncoder(files.path, options.device, options.dtype)
        with progress.waiting("Loading the model"):
            facts = encoder.facts()
        console.print(
            f"{facts.name}: {facts.blocks} blocks, width {facts.width}, fingerprint "
            f"{facts.fingerprint}; {facts.device}, {facts.dtype}",
            style="bold",
            markup=False,
        )
        provenance = {
            "model": facts.name,
            "fingerprint": facts.fingerprint,
            "layer": str(layer.layer),
            "tokens": "text",
            "dtype": facts.dtype,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": readable(shlex.join(options.typed)),
        }
        total = 2 * sum(map(len, concepts.values()))
        with progress.prompts("Encoding", total) as done:
            for name, pairs in concepts.items():
                try:
                    finding = _find(pairs, encoder, tokens, layer, provenance, done)
                except ValueError as error:
                    raise ConceptCommandError(f"{name!r}: {error}") from error
                with writing_in(options.out):
                    save_concept(finding.concept, options.out / f"{name}{SUFFIX}")
                found[name] = finding
    print_table(console, _table(found, layer.name))
    console.print(
        f"\nWrote {len(found)} concepts in {time.monotonic() - started:.0f} s into {options.out}. "
        "The node Load Concept reads them from ComfyUI's input and output folders.",
        style="bold",
        markup=False,
    )
    return found


def _find(
    pairs: Pairs,
    encoder: CaptionEncoder,
    tokens: ConceptTokens,
    layer: LayerChoice,
    provenance: dict[str, str],
    done: Callable[[int, int], None],
) -> Finding:
    """The concept of one list of pairs."""

    def means(prompt: str) -> SideMeans:
        ids = tokens.ids(prompt)
        [hidden] = encoder.encode([ids], layer)
        done(1, len(ids))
        try:
            return measure_side(
                hidden, tokens.content(ids), torch.ones(len(ids), dtype=torch.bool), None
            )
        except ConceptError as error:
            raise ConceptError(f"{prompt[:60]!r}: {error}") from error

    sides = [(means(one), means(other)) for one, other in pairs]
    return find_direction(sides, None, pairs, provenance)


def _layer(text: str, config: Any) -> LayerChoice:
    """``--layer``. Raises ConceptCommandError, or LayerRangeError for one that is not there."""
    try:
        choice = LayerChoice.parse(text, "raw", config.get_text_config().num_hidden_layers)
    except LayerRangeError:
        raise
    except ValueError as error:
        raise ConceptCommandError(f"--layer {text!r}: {error}") from None
    if choice.layer is None:
        raise ConceptCommandError(
            f"--layer {text!r} is a mix, and a concept is of one layer: give one such as -6"
        )
    return choice


def _shared(probes: Sequence[Sequence[int]]) -> int:
    """How many tokens all probes begin with."""
    columns = zip(*probes, strict=False)
    return next((n for n, column in enumerate(columns) if len({*column}) > 1), 0)


def _table(found: dict[str, Finding], layer: str) -> Table:
    rows = []
    for name, finding in found.items():
        cosines = finding.cosines
        several = len(cosines) > 1
        rows.append(
            (
                name,
                str(len(cosines)),
                f"{100 * finding.concept.parts[0].size:.3g} %",
                f"{float(cosines.mean()):.3f}" if several else "-",
                f"{float(cosines.min()):.3f}" if several else "-",
            )
        )
    header = ("concept", "pairs", "strength 1 changes", "consistency", "lowest pair")
    return Table(header, rows, f"Concepts at layer {layer}")
