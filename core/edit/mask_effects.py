"""What each masking mode changes in what a DiT would see, over several prompts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states
from ..dit.view import dit_change
from ..measure.sequence_stats import SequenceStats
from ..outliers.detection import Measured, measure_against
from .masking import MODES, kept_tokens, mask_measured


class ModeEffect(NamedTuple):
    """One mode at one layer; means over tokens, after RMSNorm (relative L2, cosine).

    Attributes:
        masked: dimensions masked, over all prompts.
        changed_tokens, tokens: how many tokens changed, or are gone, of how many.
        sink_l2, sink_cosine: over sink tokens; NaN where the mode removes them.
        other_l2, other_cosine: over all other tokens.
    """

    mode: str
    masked: tuple[int, ...]
    changed_tokens: int
    tokens: int
    sink_l2: float
    sink_cosine: float
    other_l2: float
    other_cosine: float


def effects_of_modes(
    sequences: Iterable[Tensor], threshold: float = 10.0, direction: str = "loud"
) -> list[ModeEffect]:
    """Mask every sequence (tokens, width) by itself in each mode, and compare before and after."""
    measured = [
        measure_against(None, SequenceStats(as_states(sequence), what="the sequence"), threshold)
        for sequence in sequences
    ]
    return [_effect(mode, measured, direction) for mode in MODES]


def _effect(mode: str, sequences: list[Measured], direction: str) -> ModeEffect:
    masked: set[int] = set()
    changed = tokens = 0
    kinds: dict[bool, list[Tensor]] = {True: [], False: []}
    for measured in sequences:
        result, hidden = mask_measured(measured, mode, direction), measured.stats.hidden
        masked.update(result.masked)
        before = kept_tokens(hidden, result.kept)
        change = dit_change(before, result.hidden)
        figures = torch.stack(change, dim=-1)[0]
        sinks = measured.stats.sink_tokens[0, result.kept]
        for kind in kinds:
            kinds[kind].append(figures[sinks == kind])
        tokens += hidden.shape[1]
        changed += hidden.shape[1] - len(result.kept) + int(change.changed.sum())
    sink, other = (torch.cat(kinds[kind]).mean(0).tolist() for kind in (True, False))
    return ModeEffect(mode, tuple(sorted(masked)), changed, tokens, *sink, *other)
