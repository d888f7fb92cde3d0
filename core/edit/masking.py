"""Masking: bring outlier dimensions, or sink tokens, back into line.

``mask_outlier_dimensions`` has the name and defaults of llm-dit's function of that name. It differs
where that one is wrong: ``scale`` works about the mean (not about 0) and ``clamp`` limits values
(there it is the same formula as ``scale``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_finite_number
from ..measure.allocation import copy
from ..measure.moments import to_dtype
from ..measure.reference import Reference
from ..measure.sequence_stats import SequenceStats
from ..outliers.detection import (
    DIRECTIONS,
    Expected,
    Outlier,
    default_reference,
    expected_for,
    find_outliers,
    judged_ratios,
    out_of_line,
)

DIMENSION_MODES = ("zero", "clamp", "scale", "mean")
SINK_MODES = ("drop sinks", "sink to mean")
MODES = (*DIMENSION_MODES, *SINK_MODES)


class MaskResult(NamedTuple):
    """What :func:`mask_states` did.

    Attributes:
        hidden: (batch, tokens left, width), the input's dtype and device; the input itself if
            nothing was masked.
        kept: positions (in the input) of the tokens that are left.
        outliers: every dimension out of line, both directions, whatever was masked.
        masked: the dimensions that were masked.
        touched_sinks: positions of the sink tokens that were dropped or replaced.
        expected: what was measured against.
        stats: of the selected tokens.
    """

    hidden: Tensor
    kept: list[int]
    outliers: list[Outlier]
    masked: list[int]
    touched_sinks: list[int]
    expected: Expected
    stats: SequenceStats


def mask_states(
    hidden: Tensor,
    *,
    mode: str = "zero",
    threshold: float = 10.0,
    direction: str = "loud",
    selected: Tensor | None = None,
    exclude_sinks: bool = False,
    reference: Reference | None = None,
) -> MaskResult:
    """Mask ``hidden`` (batch, tokens, width); the input is not modified.

    Args:
        mode: "zero"; "clamp" (values limited to reference mean +- threshold * reference std);
            "scale" (about the dimension's mean, so that its std becomes threshold * reference std,
            or that over threshold squared for a quiet one); "mean" (the reference mean);
            "drop sinks"; "sink to mean" (the mean of the tokens that are no sinks).
        threshold: at least 1.
        direction: "loud", "quiet" or "both": which outliers are masked. All are reported.
        selected: (tokens,) bool, which tokens are measured and masked; all if not given.
        exclude_sinks: judge by statistics without sink tokens.
        reference: None measures against the median std of the tensor's own dimensions.

    Raises:
        ValueError: bad mode, threshold or direction; a selection of no token; a reference of
            another width; sinks at different places in one batch, which cannot be dropped.
        NonFiniteError: if the tensor holds NaN or infinity.
    """
    masked = _masked(hidden, mode, threshold, direction, selected, exclude_sinks, reference)
    stats, expected = masked.stats, masked.expected
    outliers = find_outliers(stats, expected, threshold, "both", without_sinks=exclude_sinks)
    positions = masked.touched.any(0).nonzero().flatten().tolist()
    return MaskResult(
        hidden=masked.hidden,
        kept=masked.kept,
        outliers=outliers,
        masked=masked.dimensions.tolist(),
        touched_sinks=positions,
        expected=expected,
        stats=stats,
    )


def mask_outlier_dimensions(
    embeddings: Tensor,
    threshold: float = 10.0,
    mode: str = "zero",
    *,
    reference: Reference | None = None,
    direction: str = "loud",
    exclude_sinks: bool = False,
) -> tuple[Tensor, dict]:
    """``(masked, info)`` with ``info`` keys masked_dimensions, ratios, mode, threshold.

    Args:
        embeddings: (tokens, width) or (batch, tokens, width); the result has the same shape
            (but for tokens that "drop sinks" removed), dtype and device.
        reference: None takes the published Qwen3-4B figures for width 2560, else the median std
            of the tensor's own dimensions.

    Raises:
        as :func:`mask_states`.

    >>> hidden = torch.tensor([[1.0, -1.0, 50.0], [-1.0, 1.0, -50.0]])
    >>> masked, info = mask_outlier_dimensions(hidden)
    >>> masked.tolist(), info["masked_dimensions"]
    ([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]], [2])
    """
    hidden = as_states(embeddings)
    against = default_reference(hidden.shape[-1], reference)
    result = _masked(hidden, mode, threshold, direction, None, exclude_sinks, against)
    dimensions = result.dimensions
    info = {
        "masked_dimensions": dimensions.tolist(),
        "ratios": dict(zip(dimensions.tolist(), result.ratios[dimensions].tolist(), strict=True)),
        "mode": mode,
        "threshold": threshold,
    }
    return (result.hidden if embeddings.ndim == 3 else result.hidden[0]), info


class _Masked(NamedTuple):
    """``dimensions`` (n,) and (width,) std ``ratios``; ``touched`` (batch, tokens) sink tokens."""

    hidden: Tensor
    kept: list[int]
    dimensions: Tensor
    ratios: Tensor
    touched: Tensor
    expected: Expected
    stats: SequenceStats


def _masked(
    hidden: Tensor,
    mode: str,
    threshold: float,
    direction: str,
    selected: Tensor | None,
    exclude_sinks: bool,
    reference: Reference | None,
) -> _Masked:
    """Check, measure and mask. What only a report needs is not worked out."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r} is not one of {', '.join(DIRECTIONS)}")
    threshold = require_finite_number("threshold", threshold, 1.0, math.inf)
    hidden = as_states(hidden, "the conditioning")
    if selected is not None and not bool(selected.any()):
        raise ValueError("the token selection selects nothing: choose tokens that are there")
    stats = SequenceStats(hidden, selected)
    expected = expected_for(stats, reference, without_sinks=exclude_sinks)
    ratios = judged_ratios(stats, expected, without_sinks=exclude_sinks)
    touched = torch.zeros(hidden.shape[:2], dtype=torch.bool)
    dimensions = torch.zeros(0, dtype=torch.int64)
    result, kept = hidden, list(range(hidden.shape[1]))
    if mode in SINK_MODES:
        touched = stats.sink_tokens & stats.selected
        if mode == "drop sinks":
            result, kept = _drop_tokens(hidden, touched)
        else:
            result = _sinks_to_mean(hidden, touched, stats.sink_tokens)
    else:
        dimensions = out_of_line(ratios, threshold, direction).nonzero().flatten()
        if len(dimensions):
            own = stats.without_sinks if exclude_sinks else stats.all
            result = _mask_dimensions(
                hidden, mode, dimensions, ratios, own.mean, expected, threshold, stats.selected
            )
    return _Masked(result, kept, dimensions, ratios, touched, expected, stats)


def _mask_dimensions(
    hidden: Tensor,
    mode: str,
    dimensions: Tensor,
    ratios: Tensor,
    own_mean: Tensor,
    expected: Expected,
    threshold: float,
    selected: Tensor,
) -> Tensor:
    """A copy of ``hidden`` with ``dimensions`` of the ``selected`` tokens masked."""
    place = dimensions.to(hidden.device)
    whole = bool(selected.all())
    result = copy(hidden)
    if mode == "zero" and whole:
        return result.index_fill_(2, place, 0.0)

    def vector(values: Tensor) -> Tensor:
        return values[dimensions].to(hidden.device, torch.float32)

    held = hidden.index_select(2, place)
    values = held.float()
    reference_mean = vector(expected.mean)
    if mode == "zero":
        values = torch.zeros_like(values)
    elif mode == "mean":
        values = reference_mean.expand_as(values)
    elif mode == "clamp":
        reach = threshold * vector(expected.std)
        values = values.clamp(reference_mean - reach, reference_mean + reach)
    else:
        mean = vector(own_mean)
        values = mean + (values - mean) * vector(_scale_factors(ratios, threshold))
    values = to_dtype(values, hidden.dtype)
    if not whole:
        values = torch.where(selected.to(hidden.device)[..., None], values, held)
    return result.index_copy_(2, place, values)


def _scale_factors(ratios: Tensor, threshold: float) -> Tensor:
    """What takes each std to the threshold (over the reference's), or a quiet one to its inverse;
    0 for a std over a reference of 0, and 1 for a dimension that does not vary."""
    quiet = torch.where(ratios > 0, 1.0 / (threshold * ratios), 1.0)
    return torch.where(ratios > 1.0, threshold / ratios, quiet)


def _drop_tokens(hidden: Tensor, dropped: Tensor) -> tuple[Tensor, list[int]]:
    if bool((dropped != dropped[0]).any()):
        raise ValueError(
            "the entries of this batch have their sink tokens at different positions, so dropping "
            "them would give entries of different length: use 'sink to mean', or encode one at a "
            "time"
        )
    kept = (~dropped[0]).nonzero().flatten().tolist()
    return (hidden if len(kept) == hidden.shape[1] else hidden[:, kept]), kept


def _sinks_to_mean(hidden: Tensor, replaced: Tensor, sinks: Tensor) -> Tensor:
    if not bool(replaced.any()):
        return hidden
    result = copy(hidden)
    for number in replaced.any(1).nonzero().flatten().tolist():
        others = hidden[number, ~sinks[number]].float().mean(0)
        result[number, replaced[number]] = to_dtype(others, hidden.dtype)
    return result
