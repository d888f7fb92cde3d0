"""Attention-sink tokens: the few that lie far from all others of their sequence.

Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453. The
distance from the sequence's own median, and not the plain norm, is what tells them: in some models
(Gemma 3) every token shares a large value in one dimension, which makes all norms alike.
"""

from __future__ import annotations

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
FEWEST_TOKENS = 3
"""Of fewer tokens none can be called the odd one."""


def find_sinks(
    hidden: Tensor, selected: Tensor | None = None, ratio: float = SINK_DISTANCE_RATIO
) -> Tensor:
    """(batch, tokens) bool: which tokens are sinks, each sequence judged by its own median.

    A sequence of fewer than three selected tokens has none.

    Args:
        hidden: (batch, tokens, width), any float dtype.
        selected: (batch, tokens) or (tokens,) bool; the others (padding) are never
            sinks and do not count.
        ratio: how many times the median token's distance a sink's must exceed; whatever it is,
            :data:`SINK_SPREADS` holds too.

    >>> hidden = torch.ones(1, 4, 8)
    >>> hidden[0, 0] = 100.0
    >>> find_sinks(hidden).tolist()
    [[True, False, False, False]]
    """
    found = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    if selected is not None:
        selected = selected.to(hidden.device).expand(hidden.shape[:2])
    for number, sequence in enumerate(hidden):
        rows = sequence if selected is None else sequence[selected[number]]
        if len(rows) < FEWEST_TOKENS:
            continue
        distances, rounding = _distances(rows)
        far = distances > torch.maximum(_limit(distances, ratio), rounding)
        if selected is None:
            found[number] = far
        else:
            found[number, selected[number]] = far
    return found


def _distances(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(tokens,) the L2 norm of each row's difference from the median of every dimension.

    And, as a scalar, how far rounding alone may put a token of this dtype.
    """
    dtype = working_dtype(rows.dtype)
    if rows.element_size() == 1:
        rows = rows.to(dtype)
    # Of an even number of values torch takes the lower of the middle two.
    centre = rows.nanmedian(0).values.to(dtype)
    norms = [torch.linalg.vector_norm(part.to(dtype) - centre, dim=-1) for part in chunks(rows)]
    size = torch.linalg.vector_norm(centre) * torch.finfo(rows.dtype).eps
    return torch.cat(norms), size.nan_to_num(posinf=0.0)


def _limit(distances: Tensor, ratio: float) -> Tensor:
    """The distance, a scalar, that a sink's must exceed; NaN where all ``distances`` are."""
    median = distances.nanquantile(0.5)
    spread = median - distances.nanquantile(0.25)
    return torch.maximum(ratio * median, median + SINK_SPREADS * spread)
