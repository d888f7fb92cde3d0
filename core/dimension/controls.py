"""Dimensions to compare with: drawn at random, and those of about the same spread.

None of them is itself out of line: next to one massive activation in spread there are others, and
what it costs to remove those says nothing about ordinary dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .ablation import SEED


class Controls(NamedTuple):
    """Dimensions that a probed one is compared with.

    Attributes:
        drawn: at random; the same for every probed dimension.
        matched: those whose std over the tokens that are no sinks is nearest to its own (by their
            ratio), nearest first.
    """

    drawn: tuple[int, ...]
    matched: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Each of them once."""
        return tuple(dict.fromkeys([*self.drawn, *self.matched]))


def choose_controls(std: Tensor, dimension: int, never: Sequence[int], count: int) -> Controls:
    """``count`` controls of each kind for ``dimension``; fewer where there are not so many.

    Args:
        std: (width,) of every dimension over the tokens that are no sinks.
        never: dimensions that are no controls: the probed ones, and those out of line.
    """
    allowed = torch.ones(len(std), dtype=torch.bool)
    allowed[list(never)] = False
    candidates = allowed.nonzero().flatten()
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(len(std), generator=generator)
    drawn = order[allowed[order]][:count].sort().values
    tiny = torch.finfo(torch.float64).tiny
    logs = std.double().clamp(min=tiny).log()
    away = (logs[candidates] - logs[dimension]).abs()
    matched = candidates[away.argsort(stable=True)][:count]
    return Controls(tuple(drawn.tolist()), tuple(matched.tolist()))
