"""What can be told of a token from one dimension alone: held-out AUC for each class of tokens.

The direction (whether the class has the larger or the smaller values) is chosen on one half of the
prompts, the AUC is taken on the other. As the probed dimension was itself picked from all, its rank
among all dimensions stands beside it: the best of 2560 is far from 0.5 by chance alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .prompt_tokens import PromptTokens

FEWEST = 8
"""A class must have as many tokens, and as many others, in either half."""
AT_A_TIME = 128
"""Dimensions that are ranked at a time."""


class Known(NamedTuple):
    """How well one dimension tells one class of tokens from all others.

    Attributes:
        auc: 0..1 on the held-out half; 0.5 is chance.
        rank: of all dimensions by that; 1 is the best.
        best: the AUC of the best dimension.
    """

    name: str
    tokens: int
    auc: float
    rank: int
    width: int
    best: float


class ClassKnowledge(NamedTuple):
    """Attributes:
    names: classes with enough tokens.
    tokens: how many of each are in the held-out half.
    auc: (classes, width) held-out AUC of each dimension.
    """

    names: tuple[str, ...]
    tokens: tuple[int, ...]
    auc: Tensor

    def of(self, dimension: int) -> tuple[Known, ...]:
        """What one dimension knows, the class that it tells best first."""
        found = []
        for name, tokens, row in zip(self.names, self.tokens, self.auc, strict=True):
            own = float(row[dimension])
            rank = 1 + int((row > row[dimension]).sum())
            found.append(Known(name, tokens, own, rank, len(row), float(row.max())))
        return tuple(sorted(found, key=lambda one: (-one.auc, one.name)))


def measure_knowledge(states: Tensor, tokens: PromptTokens) -> ClassKnowledge:
    """Held-out AUC of every dimension of ``states`` (n, width) for each class.

    Only a prompt's own tokens count: those of the template are the same in both halves.
    """
    halves = [tokens.own & (tokens.prompt % 2 == half) for half in (0, 1)]
    labels: dict[str, list[Tensor]] = {}
    for name in dict.fromkeys(tokens.classes):
        of_class = torch.tensor([one == name for one in tokens.classes])
        members = [of_class[half] for half in halves]
        if all(FEWEST <= int(own.sum()) <= len(own) - FEWEST for own in members):
            labels[name] = members
    if not labels:
        return ClassKnowledge((), (), torch.zeros(0, states.shape[1], dtype=torch.float64))
    learned, held_out = (
        class_auc(states[half], torch.stack([members[number] for members in labels.values()]))
        for number, half in enumerate(halves)
    )
    auc = torch.where(learned >= 0.5, held_out, 1.0 - held_out)
    counts = tuple(int(members[1].sum()) for members in labels.values())
    return ClassKnowledge(tuple(labels), counts, auc)


def class_auc(states: Tensor, labels: Tensor) -> Tensor:
    """(classes, width) float64: the chance that a token of the class has the larger value than one
    that is not of it, ties counted half (Mann and Whitney 1947).

    Args:
        states: (n, width).
        labels: (classes, n) bool.
    """
    inside = labels.double()
    positives = inside.sum(1, keepdim=True)
    negatives = len(states) - positives
    parts = []
    for part in states.split(AT_A_TIME, dim=1):
        columns = part.T.contiguous().cpu()
        ordered = columns.sort(dim=1).values
        below = torch.searchsorted(ordered, columns)
        up_to = torch.searchsorted(ordered, columns, right=True)
        ranks = (below + up_to + 1).double() / 2
        parts.append(inside @ ranks.T)
    sums = torch.cat(parts, dim=1)
    return (sums - positives * (positives + 1) / 2) / (positives * negatives)
