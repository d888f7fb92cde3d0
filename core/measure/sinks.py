"""Attention-sink tokens: the few whose L2 norm is far above their sequence's median.

Sun et al. 2024, "Massive Activations in Large Language Models", arXiv 2402.17762.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .moments import row_norms

SINK_NORM_RATIO = 8.0
"""A sink's L2 norm is more than this many times its sequence's median norm (design choice)."""


def find_sinks(
    hidden: Tensor, selected: Tensor | None = None, ratio: float = SINK_NORM_RATIO
) -> Tensor:
    """(batch, tokens) bool: which tokens are sinks, each sequence judged by its own median.

    Args:
        hidden: (batch, tokens, width), any float dtype.
        selected: (batch, tokens) or (tokens,) bool; the others (padding) are never
            sinks and do not count.
        ratio: how many times the median L2 norm a sink's must exceed.

    >>> hidden = torch.ones(1, 4, 8)
    >>> hidden[0, 0] = 100.0
    >>> find_sinks(hidden).tolist()
    [[True, False, False, False]]
    """
    norms = row_norms(hidden).float()
    selected = (
        torch.ones_like(norms, dtype=torch.bool) if selected is None else selected.to(norms.device)
    )
    selected = selected.expand_as(norms)
    median = torch.where(selected, norms, torch.nan).nanquantile(0.5, dim=-1, keepdim=True)
    return selected & (norms > ratio * median)
