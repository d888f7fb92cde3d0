"""Attention-sink tokens: the few that lie far from all others of their sequence.

Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453. The
distance from the sequence's own median, and not the plain norm, is what tells them: in some models
(Gemma 3) every token shares a large value in one dimension, which makes all norms alike.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .moments import chunks, working_dtype

SINK_DISTANCE_RATIO = 4.0
"""A sink is more than this many times as far from its sequence's median as the median token. On
SmolLM2-135M-Instruct and Gemma-3-270M position 0 is 4.3 to 257 times as far wherever it carries
the loudest dimension."""
SINK_SPREADS = 9.0
"""And farther beyond the median token than this many times the way back to the lower quartile.
Where one channel varies more than all others together, distances are those of a normal
distribution, of which 0.7 % lie over 4 times the median: this asks for 3.9 standard deviations. On
the two models above it changes nothing."""
MEDIAN_TOKENS = 255
"""The median of a longer sequence is that of every second, third, ... token, so many at most: its
error is then about a tenth of a dimension's spread, and to take it stays quick."""
FEWEST_TOKENS = 3
"""A sequence of fewer tokens has no sink: none can be called the odd one out."""


def find_sinks(
    hidden: Tensor,
    selected: Tensor | None = None,
    ratio: float = SINK_DISTANCE_RATIO,
    medians: Tensor | None = None,
) -> Tensor:
    """(batch, tokens) bool: which tokens are sinks, each sequence judged by its own median.

    A sequence of fewer than three selected tokens has none.

    Args:
        hidden: (batch, tokens, width), any float dtype.
        selected: (batch, tokens) or (tokens,) bool; the others (padding) are never
            sinks and do not count.
        ratio: how many times the median token's distance a sink's must exceed; whatever it is,
            :data:`SINK_SPREADS` holds too.
        medians: from :func:`sequence_medians` of the same tokens, where they are known already.

    >>> hidden = torch.ones(1, 4, 8)
    >>> hidden[0, 0] = 100.0
    >>> find_sinks(hidden).tolist()
    [[True, False, False, False]]
    """
    selected = _selected(hidden, selected)
    if medians is None:
        medians = sequence_medians(hidden, selected)
    distances = torch.full(hidden.shape[:2], torch.nan, dtype=medians.dtype, device=hidden.device)
    for own, sequence, chosen, median in zip(distances, hidden, selected, medians, strict=True):
        rows = chosen_rows(sequence, chosen)
        if len(rows) >= FEWEST_TOKENS:
            own[chosen] = _distances(rows, median)
    rounding = torch.linalg.vector_norm(medians, dim=-1) * torch.finfo(hidden.dtype).eps
    limits = torch.maximum(_limits(distances, ratio), rounding.nan_to_num(posinf=0.0))
    return distances > limits[:, None]


def sequence_medians(hidden: Tensor, selected: Tensor | None = None) -> Tensor:
    """(batch, width) the median of every dimension over a sequence's selected tokens.

    Of an even number of values the lower of the middle two; of more than MEDIAN_TOKENS tokens that
    of evenly spaced ones. NaN is left out, and what a sequence without a token has. In float32, or
    float64 where ``hidden`` is.

    Args:
        hidden: (batch, tokens, width), any float dtype.
        selected: (batch, tokens) or (tokens,) bool; all tokens if not given.
    """
    medians = torch.full(
        (len(hidden), hidden.shape[-1]),
        torch.nan,
        dtype=working_dtype(hidden.dtype),
        device=hidden.device,
    )
    for number, (sequence, chosen) in enumerate(
        zip(hidden, _selected(hidden, selected), strict=True)
    ):
        rows = chosen_rows(sequence, chosen)
        if len(rows):
            rows = rows[:: -(-len(rows) // MEDIAN_TOKENS)]
            medians[number] = _column_medians(rows.to(medians.dtype))
    return medians


def _column_medians(rows: Tensor) -> Tensor:
    """(width,) the lower median of each column of (tokens, width), NaN left out.

    On the CPU NumPy partitions in a third of the time that torch takes.
    """
    if rows.device.type != "cpu" or bool(rows.sum().isnan()):
        return rows.nanmedian(0).values
    middle = (len(rows) - 1) // 2
    columns = rows.detach().t().contiguous().numpy()
    return torch.from_numpy(np.partition(columns, middle, axis=1)[:, middle])


def chosen_rows(sequence: Tensor, chosen: Tensor) -> Tensor:
    """The tokens of (tokens, width) that (tokens,) bool ``chosen``, on the CPU, marks; no copy if
    all are."""
    return sequence if bool(chosen.all()) else sequence[chosen]


def _selected(hidden: Tensor, selected: Tensor | None) -> Tensor:
    """(batch, tokens) bool on the CPU, where to look at it makes no GPU wait."""
    if selected is None:
        selected = torch.ones(hidden.shape[1], dtype=torch.bool)
    return selected.cpu().expand(hidden.shape[:2])


def _distances(rows: Tensor, median: Tensor) -> Tensor:
    """(tokens,) the L2 norm of each row's difference from ``median``."""
    parts = [part.to(median.dtype) - median for part in chunks(rows)]
    return torch.cat([torch.linalg.vector_norm(part, dim=-1) for part in parts])


def _limits(distances: Tensor, ratio: float) -> Tensor:
    """(batch,) the distance that a sink's must exceed; NaN where all of (batch, tokens) are."""
    quarters = torch.tensor([0.25, 0.5], dtype=distances.dtype, device=distances.device)
    quartile, median = distances.nanquantile(quarters, dim=-1)
    return torch.maximum(ratio * median, median + SINK_SPREADS * (median - quartile))
