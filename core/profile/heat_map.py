"""Layers by dimensions: the largest magnitude in each cell, and which token has it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .profile import ProfileStats

WIDEST_MAP = 640
"""Most columns of a picture; a wider map shows the loudest of neighbouring dimensions in each."""


class HeatMap(NamedTuple):
    """One row per measured hidden state.

    Attributes:
        indices: the hidden states.
        max_abs, std: (rows, width) float32.
        relative: (rows, width) float32, max_abs over its layer's median |x|.
        places: (rows, width, 2) int64, prompt and position of the largest magnitude.
    """

    indices: tuple[int, ...]
    max_abs: Tensor
    std: Tensor
    relative: Tensor
    places: Tensor


def heat_map(stats: ProfileStats) -> HeatMap:
    """The map of all hidden states that ``stats`` measured."""
    wholes = [stats.dimensions[index].all for index in stats.indices]
    max_abs = torch.stack([whole.max_abs for whole in wholes])
    medians = torch.tensor([stats.magnitudes[i].median() for i in stats.indices])
    return HeatMap(
        indices=stats.indices,
        max_abs=max_abs.float(),
        std=torch.stack([whole.std for whole in wholes]).float(),
        relative=(max_abs / medians.clamp(min=1e-30)[:, None]).float(),
        places=torch.stack([whole.max_abs_place for whole in wholes]),
    )


def by_column(values: Tensor, columns: int = WIDEST_MAP) -> Tensor:
    """(rows, width) as (rows, at most ``columns``): the largest of ceil(width / columns)
    neighbouring dimensions; the last column may hold fewer."""
    width = values.shape[1]
    each = math.ceil(width / columns)
    padded = torch.nn.functional.pad(values, (0, -width % each), value=-torch.inf)
    return padded.unflatten(1, (-1, each)).amax(-1)
