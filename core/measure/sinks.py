"""Attention-sink tokens: the few that lie far from all others of their sequence.

Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453. The
distance from the sequence's own median, and not the plain norm, is what tells them: in some models
(Gemma 3) every token shares a large value in one dimension, which makes all norms alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .moments import CHUNK_VALUES, working_dtype

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
    if not len(hidden) or hidden.shape[1] < FEWEST_TOKENS:
        return torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    selected = _selected(hidden, selected)
    if medians is None:
        medians = sequence_medians(hidden, selected)
    lengths = [torch.linalg.vector_norm(part, dim=-1) for part in deviations(hidden, medians)]
    judged = selected & (selected.sum(1, keepdim=True) >= FEWEST_TOKENS)
    distances = torch.cat([part.flatten() for part in lengths]).view(hidden.shape[:2])
    distances = distances.masked_fill(~judged.to(hidden.device), torch.nan)
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
    selected = _selected(hidden, selected)
    dtype = working_dtype(hidden.dtype)
    if not bool(selected.any()):
        return hidden.new_full((len(hidden), hidden.shape[-1]), torch.nan, dtype=dtype)
    hidden = hidden.detach() if hidden.element_size() > 1 else hidden.detach().to(dtype)
    if bool(selected.all()):
        every = -(-hidden.shape[1] // MEDIAN_TOKENS)
        hidden, selected = hidden[:, ::every], selected[:, ::every]
    else:
        # Of each sequence the tokens that count, in their order, and behind them what does not.
        every = (-(-selected.sum(1, keepdim=True) // MEDIAN_TOKENS)).clamp(min=1)
        selected = selected & ((selected.cumsum(1) - 1) % every == 0)
        order = (~selected).byte().argsort(dim=1, stable=True)[:, : int(selected.sum(1).max())]
        selected = selected.gather(1, order)
        places = order[..., None].expand(-1, -1, hidden.shape[-1])
        hidden = hidden.gather(1, places.to(hidden.device))
    columns = hidden.to(dtype).transpose(1, 2)
    counts = selected.sum(1)
    if hidden.device.type != "cpu" or not bool(columns.sum().isfinite()):
        columns = columns.masked_fill(~selected.to(hidden.device)[:, None], torch.nan)
        return columns.nanmedian(2).values
    # NumPy partitions in a third of the time that torch takes.
    values = columns.masked_fill(~selected[:, None], torch.inf).contiguous().numpy()
    middles = ((counts - 1).clamp(min=0) // 2).numpy()
    values.partition(np.unique(middles), axis=2)
    medians = np.take_along_axis(values, middles[:, None, None], 2)[..., 0]
    return torch.from_numpy(medians).masked_fill(counts[:, None] == 0, torch.nan)


def deviations(hidden: Tensor, medians: Tensor) -> Iterator[Tensor]:
    """(batch, tokens, width) less the (batch, width) ``medians`` of its sequences, in their dtype.

    In parts that stay in a processor's own cache: several sequences, or some tokens of one.
    """
    batch, tokens, width = hidden.shape
    at_once = hidden.numel() if hidden.device.type != "cpu" else CHUNK_VALUES
    sequences = max(at_once // max(tokens * width, 1), 1)
    for part, median in zip(hidden.split(sequences), medians.split(sequences), strict=True):
        for strip in part.split(max(at_once // max(width, 1), 1), 1):
            yield strip.to(median.dtype) - median[:, None]


def _selected(hidden: Tensor, selected: Tensor | None) -> Tensor:
    """(batch, tokens) bool on the CPU, where to look at it makes no GPU wait."""
    if selected is None:
        selected = torch.ones(hidden.shape[1], dtype=torch.bool)
    return selected.cpu().expand(hidden.shape[:2])


def _limits(distances: Tensor, ratio: float) -> Tensor:
    """(batch,) the distance that a sink's must exceed; NaN where all of (batch, tokens) are."""
    quarters = torch.tensor([0.25, 0.5], dtype=distances.dtype, device=distances.device)
    quartile, median = distances.nanquantile(quarters, dim=-1)
    return torch.maximum(ratio * median, median + SINK_SPREADS * (median - quartile))
