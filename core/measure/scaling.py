"""The scale of hidden states: rms and peak of a token, moments over tokens and dimensions, and the
change from one mean and spread to another."""

from __future__ import annotations

import torch
from torch import Tensor

from .moments import chunks, column_moments, row_norms, working_dtype

Z_LIMIT = 3.0
"""Per-dimension matching limits values to this many standard deviations (llm-dit's formula)."""
SAFE_NORM = (1e-15, 1e15)
"""Between these an L2 norm in float32 is exact: no square overflows or vanishes."""
SAFE_SCALE = 1e30
"""Up to this, differences of float32 values stay float32 values."""


def token_peak(hidden: Tensor) -> Tensor:
    """(..., 1) the largest magnitude of each token, 1 for a token of zeros."""
    peak = hidden.abs().amax(dim=-1, keepdim=True)
    return torch.where(peak > 0, peak, 1.0)


def token_rms(hidden: Tensor) -> Tensor:
    """(..., 1) root mean square of each token, float32 or float64; no square overflows or
    vanishes."""
    norm = row_norms(hidden)[..., None]
    low, high = torch.stack([norm.min(), norm.max()]).tolist()
    if not (SAFE_NORM[0] < low and high < SAFE_NORM[1]):
        hidden = hidden.to(norm.dtype)
        peak = token_peak(hidden)
        # Divided before it is multiplied: the norm itself may be no float32, the rms always is.
        return row_norms(hidden / peak)[..., None] / hidden.shape[-1] ** 0.5 * peak
    return norm / hidden.shape[-1] ** 0.5


def mean_and_std(hidden: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased std over ``dims``, kept as size 1; std 0 for a single value.

    Args:
        hidden: (batch, tokens, width) or (tokens, width), any float dtype.
        dims: tokens, width, or both.

    Returns:
        float64, on the CPU.
    """
    tokens, width = hidden.shape[-2:]
    if dims == (hidden.ndim - 1,):
        mean, m2, count = *_row_moments(hidden), width
    else:
        entries = [column_moments(entry) for entry in hidden.reshape(-1, tokens, width)]
        shape = (*hidden.shape[:-2], 1, width)
        mean = torch.stack([entry.mean for entry in entries]).view(shape)
        m2 = torch.stack([entry.m2 for entry in entries]).view(shape)
        count = tokens
        if len(dims) > 1:
            whole = mean.mean(-1, keepdim=True)
            m2 = (m2 + tokens * (mean - whole).square()).sum(-1, keepdim=True)
            mean, count = whole, tokens * width
    std = (m2 / max(count - 1, 1)).sqrt()
    # A spread below the rounding of the values themselves is none.
    return mean, torch.where(std > 1e-6 * mean.abs(), std, 0.0)


def _row_moments(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared deviations of each token, (..., 1) float64, on the CPU."""
    rows = hidden.reshape(-1, hidden.shape[-1])
    means, norms = [], []
    for part in chunks(rows):
        part = part.to(working_dtype(part.dtype))
        mean = part.mean(-1, keepdim=True)
        means.append(mean)
        norms.append(torch.linalg.vector_norm(part - mean, dim=-1, keepdim=True))
    mean, norm = torch.stack([torch.cat(means), torch.cat(norms)]).cpu().double()
    # What float32 squares to 0 or to infinity is measured again.
    unsafe = ~((norm > SAFE_NORM[0]) & (norm < SAFE_NORM[1])).flatten()
    if bool(unsafe.any()):
        again = rows.cpu()[unsafe].double()
        mean[unsafe] = again.mean(-1, keepdim=True)
        norm[unsafe] = torch.linalg.vector_norm(again - mean[unsafe], dim=-1, keepdim=True)
    shape = (*hidden.shape[:-1], 1)
    return mean.view(shape), norm.square().view(shape)


def rescale(
    hidden: Tensor,
    mean: Tensor,
    std: Tensor,
    new_mean: Tensor,
    new_std: Tensor,
    limit: float | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """``(hidden - mean) / std * new_std + new_mean``, in one pass; ``new_mean`` where std is 0.

    Args:
        hidden: (batch, tokens, width) or (tokens, width), any float dtype.
        mean, std, new_mean, new_std: float64, of sizes that broadcast to it.
        limit: z-scores are limited to this many standard deviations.
        dtype: of the result, saturated; if not given float32, or float64 where ``hidden`` is or
            float32 would overflow.
    """
    working = working_dtype(hidden.dtype)
    factor = torch.where(std > 0, new_std / std, 0.0)
    if float(torch.stack([mean.abs().max(), std.max(), factor.max()]).max()) > SAFE_SCALE:
        hidden, working = hidden.cpu(), torch.float64
    # A mean far from 0 is no float32 value: what rounding takes from it goes into the offset.
    near = mean.to(working)
    lost = mean - near.double()
    offset = new_mean - lost * factor
    terms = [near, factor, offset]
    if limit is not None:
        terms += [lost - limit * std, lost + limit * std]
    rows = hidden.reshape(-1, hidden.shape[-1])
    dtype = dtype or working
    largest = torch.finfo(dtype).max
    result = torch.empty(rows.shape, dtype=dtype, device=rows.device)
    terms = [_along(term.to(rows.device, working), hidden) for term in terms]
    start = 0
    for part in chunks(rows):
        stop = start + len(part)
        mean_, factor_, offset_, *bounds = (t if len(t) == 1 else t[start:stop] for t in terms)
        deviation = torch.sub(part, mean_)
        if bounds:
            deviation.clamp_(*bounds)
        place = result[start:stop]
        values = place if dtype == working else deviation
        torch.addcmul(offset_, deviation, factor_, out=values).clamp_(-largest, largest)
        if values is not place:
            place.copy_(values)
        start = stop
    return result.view(hidden.shape)


def _along(term: Tensor, hidden: Tensor) -> Tensor:
    """``term`` for ``hidden``'s tokens one under the other: (1 or all tokens, 1 or width)."""
    term = term.reshape((1,) * (hidden.ndim - term.ndim) + term.shape)
    if term.shape[:-1].numel() == 1:
        return term.reshape(1, -1)
    return term.expand(*hidden.shape[:-1], term.shape[-1]).reshape(-1, term.shape[-1])
