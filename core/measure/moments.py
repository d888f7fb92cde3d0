"""Mean and spread of every dimension over tokens, in one or two passes at memory speed.

``torch.std(dim=0)`` walks down the columns one value at a time. torch's batch norm takes the same
two moments row by row, vectorised, for float16 and bfloat16 too without a widened copy. Its sums
are float32, so the rows are cut into groups whose moments are merged in float64 (Chan, Golub and
LeVeque, 1979): the error stays under 1e-6 even where one token is a thousand times its neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GROUP_ROWS, MOST_GROUPS = 128, 16
"""Rows that are summed in float32 before float64 takes over, and into how many groups at most."""
FEWEST_ROWS = 64
"""Under this many rows float64 is as quick."""
SMALL_SPREAD = 0.03
"""Where a std is under this part of its mean (or near float32's smallest numbers) float64 does it
again: rounding of the mean would show."""
CHUNK_VALUES = 1 << 18
"""Values that are worked on at once: their copies stay in a processor's own cache."""


@dataclass(frozen=True)
class Moments:
    """Mean and spread of every dimension over ``tokens`` tokens.

    Attributes:
        mean: (width,) float64, on the CPU.
        m2: (width,) float64, sums of squared deviations from the mean.
    """

    tokens: int
    mean: Tensor
    m2: Tensor

    @property
    def count(self) -> int:
        """Values of each dimension: as many as tokens."""
        return self.tokens

    @property
    def std(self) -> Tensor:
        """(width,) float64, unbiased; 0 for fewer than two tokens."""
        return (self.m2 / max(self.tokens - 1, 1)).sqrt()


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """What values of ``dtype`` are worked on in: float64 stays, all else is float32."""
    return dtype if dtype == torch.float64 else torch.float32


def wide(hidden: Tensor) -> Tensor:
    """``hidden`` in float64; on the CPU where the device (Apple's MPS) has no float64."""
    hidden = hidden.detach()
    return (hidden.cpu() if hidden.device.type == "mps" else hidden).double()


def to_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    """``values`` in ``dtype``, saturated at its largest value instead of turning to infinity.

    Themselves, not a copy, where there is nothing to do.
    """
    if values.dtype == dtype and math.isfinite(float(values.sum())):
        return values
    limit = min(torch.finfo(dtype).max, torch.finfo(values.dtype).max)
    return values.clamp(-limit, limit).to(dtype)


def column_moments(rows: Tensor) -> Moments:
    """Moments of ``rows`` (tokens, width), any float dtype, within 1e-6 of those in float64.

    A dimension that holds NaN or infinity has an ``m2`` that is not finite; every other one has a
    finite ``m2``. From a GPU one transfer brings them all.
    """
    tokens, width = rows.shape
    rows = rows.detach()
    if tokens < FEWEST_ROWS or rows.dtype == torch.float64 or rows.device.type == "mps":
        return _exact(rows)
    if rows.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        rows = rows.float()
    groups = min(max(tokens // GROUP_ROWS, 1), MOST_GROUPS)
    length = tokens // groups
    # A group is every groups-th row: so the rows need not be moved to stand side by side.
    grouped = rows[: groups * length].reshape(length, groups * width)
    # Its running figures are not wanted, but they are what makes it answer in float32.
    running = torch.empty(2, groups * width, device=rows.device)
    means, variances = torch.batch_norm_update_stats(grouped, running[0], running[1], 1.0)
    means = means.view(groups, width).double()
    total = means.sum(0).mul_(length)
    rest = rows[groups * length :].double()
    mean = (total + rest.sum(0)) / tokens
    m2 = variances.view(groups, width).sum(0, dtype=torch.float64)
    m2 += means.sub_(mean).square_().sum(0)
    m2 = m2.mul_(length) + rest.sub_(mean).square_().sum(0)
    mean, m2 = torch.stack([mean, m2]).cpu()
    doubtful = ~(m2 >= tokens * ((SMALL_SPREAD * mean).square() + 1e-30)) | m2.isinf()
    columns = doubtful.nonzero().flatten()
    if len(columns):
        again = _exact(rows.index_select(1, columns.to(rows.device)))
        mean[columns], m2[columns] = again.mean, again.m2
    return Moments(tokens, mean, m2)


def _exact(rows: Tensor) -> Moments:
    """Moments of ``rows`` (tokens, width) in float64, a few rows at a time."""
    parts = chunks(rows)
    tokens, width = rows.shape
    mean = torch.zeros(width, dtype=torch.float64)
    for part in parts:
        mean += wide(part).sum(0).cpu()
    mean /= max(tokens, 1)
    m2 = torch.zeros_like(mean)
    for part in parts:
        x = wide(part)
        m2 += (x - mean.to(x.device)).square_().sum(0).cpu()
    return Moments(tokens, mean, m2)


def higher_moments(rows: Tensor, moments: Moments) -> tuple[Tensor, Tensor]:
    """Sums of the third and fourth power of the deviations, (width,) float64 each, on the CPU.

    Args:
        rows: (tokens, width), finite, any float dtype.
        moments: of these rows.
    """
    spread = (moments.m2 / max(moments.tokens, 1)).sqrt()
    # Fourth powers leave float32 beyond these; few rows are as quick in float64.
    simple = spread[spread > 0]
    narrow = moments.tokens >= FEWEST_ROWS and rows.dtype != torch.float64
    if not narrow or bool(((simple < 1e-7) | (simple > 1e7)).any()) or rows.device.type == "mps":
        return _exact_higher(rows, moments.mean)
    mean = moments.mean.float()
    shift = moments.mean - mean.double()
    mean = mean.to(rows.device)
    cubes = fourths = torch.zeros((), dtype=torch.float64, device=rows.device)
    for part in chunks(rows):
        deviation = part - mean
        square = deviation * deviation
        cubes = cubes + deviation.mul_(square).sum(0)
        fourths = fourths + square.square_().sum(0)
    m3, m4 = torch.stack([cubes, fourths]).cpu()
    # The float32 mean is off by ``shift``: sums about it, brought to the mean itself.
    m2 = moments.m2
    m4 = m4 - 4 * shift * m3 + 6 * shift**2 * m2 + 3 * moments.tokens * shift**4
    m3 = m3 - 3 * shift * m2 - moments.tokens * shift**3
    return m3, m4


def _exact_higher(rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    m3, m4 = torch.zeros_like(mean), torch.zeros_like(mean)
    for part in chunks(rows):
        x = wide(part)
        deviation = x - mean.to(x.device)
        square = deviation.square()
        m3 += (square * deviation).sum(0).cpu()
        m4 += square.square_().sum(0).cpu()
    return m3, m4


def row_norms(hidden: Tensor) -> Tensor:
    """(...) the L2 norm of each row of (..., width); infinity where a square overflows float32."""
    rows = hidden.reshape(-1, hidden.shape[-1])
    dtype = working_dtype(hidden.dtype)
    if hidden.dtype == dtype:
        norms = torch.linalg.vector_norm(rows, dim=-1)
    else:
        parts = [torch.linalg.vector_norm(part.to(dtype), dim=-1) for part in chunks(rows)]
        norms = torch.cat(parts)
    return norms.view(hidden.shape[:-1])


def chunks(rows: Tensor) -> tuple[Tensor, ...]:
    """``rows`` cut where a copy of a part would leave the processor's cache; whole on a GPU."""
    if rows.device.type != "cpu":
        return (rows,)
    return rows.split(max(CHUNK_VALUES // max(rows.shape[1], 1), 1))
