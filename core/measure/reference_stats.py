"""llm-dit's ``reference_stats`` argument (fblissjr/llm-dit-experiments) as a :class:`.Reference`.

There it is a dict with ``per_dim_std`` and ``per_dim_mean``, or nothing. Here the path of a file
does as well, and a reference of this pack. Pickles are never read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import LayerLabError, shortened
from ..files.untrusted_arrays import NUMBERS, NpzError, npz_names, read_npz
from .reference import Reference, ReferenceFileError, load_reference

ReferenceStats = Reference | Mapping[str, Any] | str | os.PathLike
"""What :func:`as_reference` takes."""
STD, MEAN = "per_dim_std", "per_dim_mean"
WANTED = (
    f"give a dict or the path of an .npz with {STD} and {MEAN}, (width,) numbers each, or a "
    "reference of this pack"
)


class ReferenceStatsError(LayerLabError, ValueError):
    """What was given as ``reference_stats`` is no statistics; the message says why."""


def as_reference(
    reference_stats: ReferenceStats | None,
    reference: Reference | None = None,
    needs_mean: bool = False,
) -> Reference | None:
    """The one of the two that was given, as a reference; None if none was.

    Args:
        reference_stats: a dict or a path of an .npz with ``per_dim_std`` (width,) and
            ``per_dim_mean`` (width,), sinks included; or any file that :func:`.load_reference`
            reads; or a reference.
        reference: this pack's own argument.
        needs_mean: refuse statistics without ``per_dim_mean``, which finding outliers can spare.

    Raises:
        ReferenceStatsError: if both are given, or it is of another kind or no usable statistics.
        ReferenceFileError: if the file is missing or cannot be read.
    """
    if reference is not None and reference_stats is not None:
        raise ReferenceStatsError(
            "reference and reference_stats are both given, and both are what is measured against: "
            "give one of them"
        )
    given = reference if reference_stats is None else reference_stats
    if given is None or isinstance(given, Reference):
        return given
    if isinstance(given, Mapping):
        return _from_arrays(given, {"model": "the given statistics"}, needs_mean)
    if isinstance(given, (str, os.PathLike)):
        return _from_file(Path(given), needs_mean)
    raise ReferenceStatsError(f"reference_stats is {shortened(given)}: {WANTED}")


def _from_file(path: Path, needs_mean: bool) -> Reference:
    """The reference in a file: any that can be loaded, or an .npz with std and mean alone."""
    whole = {STD, MEAN, "global_mean", "global_std"}
    if path.suffix.lower() != ".npz" or not path.is_file():
        return load_reference(path)
    try:
        if npz_names(path) >= whole:
            return load_reference(path)
        arrays = read_npz(path, (STD, MEAN))
    except (NpzError, OSError) as error:
        raise ReferenceFileError(f"{path.name} cannot be read as a reference: {error}") from error
    return _from_arrays(arrays, {"model": path.stem}, needs_mean, path.name)


def _from_arrays(
    arrays: Mapping[str, Any],
    provenance: dict[str, str],
    needs_mean: bool,
    what: str = "reference_stats",
) -> Reference:
    if STD not in arrays:
        raise ReferenceStatsError(f"{what} lacks {STD}: {WANTED}")
    if needs_mean and MEAN not in arrays:
        raise ReferenceStatsError(f"{what} lacks {MEAN}, which this mode needs: {WANTED}")
    try:
        std = _vector(arrays, STD)
        mean = _vector(arrays, MEAN) if MEAN in arrays else torch.zeros_like(std)
        if mean.shape != std.shape:
            raise ValueError(f"{MEAN} has {len(mean)} values and {STD} {len(std)}")
        # Of all values: the variance inside the dimensions and that between their means.
        spread = float((std.square().mean() + mean.var(unbiased=False)).sqrt())
        return Reference(mean, std, float(mean.mean()), spread, provenance=provenance)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ReferenceStatsError(f"{what} is of no use: {error}; {WANTED}") from error


def _vector(arrays: Mapping[str, Any], name: str) -> Tensor:
    """One array, tensor or list of numbers as (width,) float64."""
    values = arrays[name]
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in NUMBERS:
        raise ValueError(f"{name} is of shape {array.shape} and {array.dtype}")
    return torch.from_numpy(array.astype(np.float64))
