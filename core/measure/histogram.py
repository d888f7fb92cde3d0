"""The median of |x| over any number of values, streamed in constant memory.

Values are counted in bins that are the top bits of their float32 pattern: 8 of exponent and 9 of
mantissa, so a bin is at most 0.2 % wide. Counts add up exactly, whatever the order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .moments import chunks

_DROPPED_BITS = 14
_FIRST_NON_FINITE = 0x7F800000 >> _DROPPED_BITS


class MagnitudeHistogram:
    """Counts of |x| by size; ``counts`` is (bins,) int64."""

    def __init__(self) -> None:
        self.counts = torch.zeros(_FIRST_NON_FINITE, dtype=torch.int64)

    def update(self, values: Tensor) -> None:
        """Add every finite value of a tensor of any shape and float dtype."""
        for part in chunks(values.detach().reshape(-1, values.shape[-1])):
            bits = part.float().contiguous().view(torch.int32)
            # Without the sign bit; what is not finite falls into the bins after the last one.
            bins = torch.bitwise_and(bits, 0x7FFFFFFF).bitwise_right_shift_(_DROPPED_BITS)
            counts = torch.bincount(bins.flatten(), minlength=_FIRST_NON_FINITE)
            self.counts += counts[:_FIRST_NON_FINITE].cpu()

    def merge(self, other: MagnitudeHistogram) -> MagnitudeHistogram:
        """A new histogram with both."""
        merged = MagnitudeHistogram()
        merged.counts = self.counts + other.counts
        return merged

    def median(self) -> float:
        """Median of |x| to within 0.2 %; NaN if nothing was seen."""
        total = int(self.counts.sum())
        if total == 0:
            return float("nan")
        ends = self.counts.cumsum(0)
        rank = (total - 1) / 2
        bin_index = int(torch.searchsorted(ends, int(rank), right=True))
        below = int(ends[bin_index]) - int(self.counts[bin_index])
        low, high = _edge(bin_index), _edge(bin_index + 1)
        return low + (high - low) * (rank - below + 0.5) / int(self.counts[bin_index])


def _edge(bin_index: int) -> float:
    pattern = torch.tensor(bin_index << _DROPPED_BITS, dtype=torch.int32)
    return float(pattern.view(torch.float32))
