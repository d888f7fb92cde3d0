"""Memory for large results on the CPU.

The system hands out fresh memory in pages of 4 KiB, each cleared at its first write: for tens of
MiB that takes longer than writing them. NumPy asks Linux for huge pages instead (``madvise``; see
NUMPY_MADVISE_HUGEPAGE in its documentation), torch does so only where an environment variable says
so. Where a system has no huge pages it is memory as any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LARGE_BYTES = 1 << 25
"""From here on every result is fresh memory; glibc keeps smaller ones and hands them out again."""


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A contiguous tensor whose values are whatever the memory held."""
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < LARGE_BYTES:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(size, np.uint8)).view(dtype).view(*shape)


def copy(hidden: Tensor) -> Tensor:
    """``hidden`` in memory of its own, contiguous."""
    return empty(hidden.shape, hidden.dtype, hidden.device).copy_(hidden)
