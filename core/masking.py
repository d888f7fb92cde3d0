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

from .channel_stats import SplitStats
from .errors import as_states, require_finite_number, require_finite_states
from .outliers import (
    DIRECTIONS,
    Baseline,
    Outlier,
    baseline_for,
    default_reference,
    find_outliers,
    sequence_stats,
)
from .reference import Reference
from .sinks import find_sinks

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
        baseline: what was measured against.
        stats: of the selected tokens.
    """

    hidden: Tensor
    kept: list[int]
    outliers: list[Outlier]
    masked: list[int]
    touched_sinks: list[int]
    baseline: Baseline
    stats: SplitStats


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
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r} is not one of {', '.join(DIRECTIONS)}")
    threshold = require_finite_number("threshold", threshold, 1.0, math.inf)
    hidden = as_states(hidden, "the conditioning")
    require_finite_states(hidden, "the conditioning")
    tokens = hidden.shape[1]
    selected = torch.ones(tokens, dtype=torch.bool) if selected is None else selected.cpu()
    if not bool(selected.any()):
        raise ValueError("the token selection selects nothing: choose tokens that are there")
    sinks = find_sinks(hidden).cpu()
    stats = sequence_stats(hidden, sinks=sinks, keep=selected)
    baseline = baseline_for(stats, reference, without_sinks=exclude_sinks)
    outliers = find_outliers(stats, baseline, threshold, "both", without_sinks=exclude_sinks)
    result, kept, masked = hidden, list(range(tokens)), []
    touched = sinks & selected
    if mode == "drop sinks":
        result, kept = _drop_tokens(hidden, touched)
    elif mode == "sink to mean":
        result = _sinks_to_mean(hidden, touched, sinks)
    else:
        touched = torch.zeros_like(touched)
        chosen = [o for o in outliers if direction in (o.direction, "both")]
        masked = sorted(outlier.dimension for outlier in chosen)
        if masked:
            own = stats.content if exclude_sinks else stats.all
            result = _mask_dimensions(hidden, mode, chosen, own.mean, baseline, threshold, selected)
    positions = touched.any(0).nonzero().flatten().tolist()
    return MaskResult(result, kept, outliers, masked, positions, baseline, stats)


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
    """
    hidden = as_states(embeddings)
    result = mask_states(
        hidden,
        mode=mode,
        threshold=threshold,
        direction=direction,
        exclude_sinks=exclude_sinks,
        reference=default_reference(hidden.shape[-1], reference),
    )
    masked = result.hidden if embeddings.ndim == 3 else result.hidden[0]
    ratios = {outlier.dimension: outlier.judged_ratio for outlier in result.outliers}
    info = {
        "masked_dimensions": result.masked,
        "ratios": {dimension: ratios[dimension] for dimension in result.masked},
        "mode": mode,
        "threshold": threshold,
    }
    return masked, info


def _mask_dimensions(
    hidden: Tensor,
    mode: str,
    outliers: list[Outlier],
    own_mean: Tensor,
    baseline: Baseline,
    threshold: float,
    selected: Tensor,
) -> Tensor:
    """A copy of ``hidden`` with the ``outliers``' dimensions of ``selected`` tokens masked."""
    dimensions = torch.tensor([outlier.dimension for outlier in outliers])
    rows = selected.nonzero().flatten()
    place = (slice(None), rows[:, None].to(hidden.device), dimensions.to(hidden.device))

    def vector(values: Tensor) -> Tensor:
        return values.to(hidden.device, torch.float32)

    values = hidden[place].float()
    reference_mean = vector(baseline.mean[dimensions])
    if mode == "zero":
        values = torch.zeros_like(values)
    elif mode == "mean":
        values = reference_mean.expand_as(values)
    elif mode == "clamp":
        reach = threshold * vector(baseline.std[dimensions])
        values = values.clamp(reference_mean - reach, reference_mean + reach)
    else:
        mean = vector(own_mean[dimensions])
        factor = [_scale_factor(o.judged_ratio, o.direction, threshold) for o in outliers]
        values = mean + (values - mean) * vector(torch.tensor(factor))
    result = hidden.clone()
    result[place] = to_dtype(values, hidden.dtype)
    return result


def _scale_factor(ratio: float, direction: str, threshold: float) -> float:
    """The factor that takes a std from ``ratio`` times the reference's to the threshold."""
    if direction == "loud":
        return threshold / ratio if math.isfinite(ratio) else 0.0
    return 1.0 / (threshold * ratio) if ratio > 0 else 1.0


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
    result = hidden.clone()
    for number in replaced.any(1).nonzero().flatten().tolist():
        others = hidden[number, ~sinks[number]].float().mean(0)
        result[number, replaced[number]] = to_dtype(others, hidden.dtype)
    return result


def to_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    """``values`` in ``dtype``, saturated at its largest value instead of turning to infinity."""
    limit = min(torch.finfo(dtype).max, torch.finfo(values.dtype).max)
    return values.clamp(-limit, limit).to(dtype)
