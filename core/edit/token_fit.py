"""Fitting a long sequence of states into a token budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..checks import as_states, require_choice, require_finite_states, require_whole_number
from ..dit.view import rms_norm
from ..measure.moments import to_dtype
from ..measure.sinks import find_sinks

UNHEARD = 0.01
"""A token that gets less attention from every new token than this part of an even share (1 over
the number of ordinary tokens) counts as lost (a choice)."""
QUERIES_AT_ONCE = 256
"""New tokens whose attention is held in memory at one time."""


class FitResult(NamedTuple):
    """What :func:`fit_tokens` did.

    Attributes:
        hidden: (batch, tokens left, width) in the input's dtype and on its device; the input
            itself if it fits already.
        sources: for each token left, the position of the old token it stands for: itself, or the
            one in the middle of those it was made from. Rising.
        sinks: old positions of sink tokens that were passed through.
        lost: old tokens, padding apart, that have no influence on the result, or with "attention
            pool" next to none (:data:`UNHEARD`) on any entry of the batch.
        padding: old tokens left out because they were not selected.
    """

    hidden: Tensor
    sources: list[int]
    sinks: list[int]
    lost: int
    padding: int


def fit_tokens(
    hidden: Tensor, max_tokens: int, method: str = "truncate", selected: Tensor | None = None
) -> FitResult:
    """At most ``max_tokens`` tokens. A sequence that fits already is returned as it is.

    Args:
        hidden: (batch, tokens, width) or (tokens, width), any float dtype.
        max_tokens: at least 1.
        method: "truncate": the first ones. "interpolate": two-point sampling (linear,
            align_corners=False), so tokens that are no neighbour of a sampling point are lost.
            "pool": area means (adaptive average pooling), every token counts. "attention pool":
            the area means of the RMS-normed tokens are queries that attend to all tokens, each as
            its RMS-normed self. A token counts as far as it is like one of the means: one unlike
            them all has next to no weight, and is lost. But for "truncate", sink tokens (of any
            entry of the batch) are left alone: they stay bit for bit, between the same neighbours,
            and the ordinary tokens are fitted into ``max_tokens`` less the number of sinks.
        selected: (tokens,) bool; if the sequence is too long, the others (padding) are left out
            first.

    Raises:
        ValueError: an unknown method; ``max_tokens`` that is no whole number, under 1, or not
            above the number of sinks; a selection of no token.
        NonFiniteError: if the tensor holds NaN or infinity.

    >>> hidden = torch.arange(6.0).reshape(1, 6, 1)
    >>> fit_tokens(hidden, 3, "pool").hidden.flatten().tolist()
    [0.5, 2.5, 4.5]
    """
    require_choice("method", method, METHODS)
    budget = require_whole_number("max_tokens", max_tokens, 1, math.inf)
    hidden = as_states(hidden, "the conditioning")
    require_finite_states(hidden, "the conditioning")
    tokens = hidden.shape[1]
    if tokens <= budget:
        return FitResult(hidden, list(range(tokens)), [], 0, 0)
    selected = torch.ones(tokens, dtype=torch.bool) if selected is None else selected.cpu()
    there = selected.nonzero().flatten().tolist()
    if not there:
        raise ValueError("the conditioning holds padding only: there is nothing to fit")
    padding = tokens - len(there)
    if method == "truncate" or len(there) <= budget:
        sources = there[:budget]
        return FitResult(hidden[:, sources], sources, [], len(there) - len(sources), padding)
    is_sink = find_sinks(hidden, selected).any(0).cpu()
    sinks = is_sink.nonzero().flatten().tolist()
    room = budget - len(sinks)
    if room < 1:
        raise ValueError(
            f"max_tokens is {budget}, and {len(sinks)} sink tokens alone take as many: raise it, "
            "or remove them first with Outlier Mask, mode 'drop sinks'"
        )
    ordinary = [position for position in there if not is_sink[position]]
    shortened, lost = METHODS[method](hidden[:, ordinary].float(), room)
    middles = [ordinary[(2 * i + 1) * len(ordinary) // (2 * room)] for i in range(room)]
    fitted = torch.cat([to_dtype(shortened, hidden.dtype), hidden[:, sinks]], dim=1)
    merged = [*middles, *sinks]
    order = sorted(range(budget), key=merged.__getitem__)
    return FitResult(fitted[:, order], [merged[i] for i in order], sinks, lost, padding)


def _interpolate(ordinary: Tensor, length: int) -> tuple[Tensor, int]:
    """Linear, at (i + 0.5) * tokens / length - 0.5, which lies inside when shortening."""
    low, share = _sampling(ordinary.shape[1], length)
    share = (share.double() / (2 * length)).to(ordinary)[:, None]
    lost = _tokens_between_points(ordinary.shape[1], length)
    return torch.lerp(ordinary[:, low], ordinary[:, low + 1], share), lost


def _sampling(tokens: int, length: int) -> tuple[Tensor, Tensor]:
    """The lower neighbour of each sampling point, and the way from there in 1 / (2 * length)."""
    points = (2 * torch.arange(length) + 1) * tokens - length
    return points // (2 * length), points % (2 * length)


def _tokens_between_points(tokens: int, length: int) -> int:
    """How many tokens are no neighbour of a sampling point (or have no share in it)."""
    low, share = _sampling(tokens, length)
    return tokens - len(torch.cat([low, low[share > 0] + 1]).unique())


def _pool(ordinary: Tensor, length: int) -> Tensor:
    return functional.adaptive_avg_pool1d(ordinary.mT, length).mT


def _attention_pool(ordinary: Tensor, length: int) -> tuple[Tensor, int]:
    keys = rms_norm(ordinary)
    tokens, width = ordinary.shape[1:]
    largest = ordinary.new_zeros(tokens)
    pooled = []
    for queries in _pool(keys, length).split(QUERIES_AT_ONCE, dim=1):
        weights = (queries @ keys.mT / math.sqrt(width)).softmax(dim=-1)
        largest = torch.maximum(largest, weights.amax((0, 1)))
        pooled.append(weights @ ordinary)
    return torch.cat(pooled, dim=1), int((largest < UNHEARD / tokens).sum())


METHODS: dict[str, Callable[[Tensor, int], tuple[Tensor, int]]] = {
    "truncate": lambda ordinary, length: (ordinary[:, :length], ordinary.shape[1] - length),
    "interpolate": _interpolate,
    "pool": lambda ordinary, length: (_pool(ordinary, length), 0),
    "attention pool": _attention_pool,
}
"""``method(ordinary, length)``: the (batch, tokens, width) states shortened to (batch, length,
width), and how many tokens are lost."""
