"""States as a language model gives them, with massive activations and denormals, in any dtype."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace

import numpy as np
import torch
from zimage_layer_lab.core.measure.dimension_stats import DimensionStats
from zimage_layer_lab.core.measure.split_stats import SplitStats

from .blending_formulas import EPS32

NARROW = [torch.float16, torch.bfloat16]
DTYPES = [*NARROW, torch.float32, torch.float64]
MASSIVE = 6e4
SINKS = (0, 2)
"""The tokens that hold 6e4, in the dimensions :data:`LOUD`."""
CONTENT = np.array([row not in SINKS for row in range(10)])
"""The other tokens of ten."""
LOUD = (3, 5, 7)
QUIET = 4
"""The token that holds denormals only, where they are asked for."""


def made(dtype, seed=0, tokens=10, width=24, quiet=False):
    """(1, tokens, width): ordinary values, two massive tokens and, if wanted, a quiet one."""
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.normal(0, 1, width), rng.uniform(2, 4, width), (tokens, width))
    values[0, [3, 5]] = MASSIVE, -MASSIVE
    values[2, 7] = -MASSIVE
    if quiet:
        signs = rng.choice([-1, 1], width)
        values[QUIET] = rng.uniform(0.1, 0.9, width) * signs * torch.finfo(dtype).smallest_normal
    return torch.from_numpy(values).to(dtype)[None]


def array(tensor):
    return tensor.detach().double().numpy()


def close(got, want, dtype, size, times=32):
    """``got`` is ``want`` but for the dtype's rounding, and float32's at values as large as
    ``size``."""
    info = torch.finfo(dtype)
    allowed = np.abs(want) * info.eps + times * EPS32 * size + info.smallest_normal * info.eps
    assert got.shape == np.shape(want) and np.isfinite(want).all()
    assert (np.abs(got - want) <= allowed).all(), np.max(np.abs(got - want) - allowed)


def numbers_in(value):
    """``found``: how many numbers are in it, however deep; ``bad``: those that are not finite."""
    found = SimpleNamespace(found=0, bad=[])
    _walk(value, "", found)
    assert found.found
    return found


def _walk(value, where, found):
    if isinstance(value, torch.Tensor):
        found.found += value.numel()
        if value.is_floating_point() and not bool(value.isfinite().all()):
            found.bad.append(where)
    elif isinstance(value, np.ndarray):
        _walk(torch.from_numpy(value), where, found)
    elif isinstance(value, float):
        found.found += 1
        if not np.isfinite(value):
            found.bad.append(where)
    elif is_dataclass(value):
        for field in fields(value):
            _walk(getattr(value, field.name), f"{where}.{field.name}", found)
    elif hasattr(value, "_asdict"):
        _walk(value._asdict(), where, found)
    elif isinstance(value, DimensionStats | SplitStats):
        _walk(vars(value), where, found)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            _walk(one, f"{where}.{key}", found)
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            _walk(one, f"{where}[{number}]", found)
