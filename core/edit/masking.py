"""Masking: bring outlier dimensions, or sink tokens, back to what is normal.

``mask_outlier_dimensions`` has the name and defaults of llm-dit's function of that name. It differs
where that one is wrong: ``scale`` works about the mean (not about 0) and ``clamp`` limits values
(there it is the same formula as ``scale``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_choice, require_finite_number
from ..measure.moments import to_dtype
from ..measure.reference import Reference
from ..measure.reference_stats import ReferenceStats, as_reference
from ..measure.sequence_stats import SequenceStats
from ..outliers.detection import (
    DIRECTIONS,
    Expected,
    Measured,
    Outlier,
    default_reference,
    measure_against,
)

Formula = Callable[[Tensor, Tensor, Measured], Tensor]


def _zero(values: Tensor, dimensions: Tensor, measured: Measured) -> Tensor:
    return torch.zeros_like(values)


def _clamp(values: Tensor, dimensions: Tensor, measured: Measured) -> Tensor:
    mean = measured.expected.mean[dimensions].to(values)
    reach = measured.threshold * measured.expected.std[dimensions].to(values)
    return values.clamp(mean - reach, mean + reach)


def _scale(values: Tensor, dimensions: Tensor, measured: Measured) -> Tensor:
    """Each std becomes the threshold (over the expected one), a quiet one its inverse: with a
    factor of 0 over an expected std of 0, and of 1 for a dimension that does not vary."""
    ratios, threshold = measured.ratios, measured.threshold
    quiet = torch.where(ratios > 0, 1.0 / (threshold * ratios), 1.0)
    factor = torch.where(ratios > 1.0, threshold / ratios, quiet)[dimensions].to(values)
    mean = measured.judged.mean[dimensions].to(values)
    return mean + (values - mean) * factor


def _mean(values: Tensor, dimensions: Tensor, measured: Measured) -> Tensor:
    return measured.expected.mean[dimensions].to(values).expand_as(values)


FORMULAS: dict[str, Formula] = {"zero": _zero, "clamp": _clamp, "scale": _scale, "mean": _mean}
"""``formula(values, dimensions, measured)``: what the (batch, tokens, n) float32 ``values`` of the
outlier ``dimensions`` (n,) become."""
SINK_MODES = ("drop sinks", "sink to mean")
MODES = (*FORMULAS, *SINK_MODES)


class MaskResult(NamedTuple):
    """What :func:`mask_states` did.

    Attributes:
        hidden: (batch, tokens left, width), the input's dtype and device; the input itself if
            nothing was masked.
        kept: positions (in the input) of the tokens that are left.
        masked: the dimensions that were masked.
        touched_sinks: positions of the sink tokens that were dropped or replaced.
        measured: the selected tokens as they were before.
    """

    hidden: Tensor
    kept: list[int]
    masked: list[int]
    touched_sinks: list[int]
    measured: Measured

    @property
    def outliers(self) -> list[Outlier]:
        """Every outlier dimension found, both directions, whatever was masked."""
        return self.measured.outliers

    @property
    def expected(self) -> Expected:
        """What was measured against."""
        return self.measured.expected

    @property
    def stats(self) -> SequenceStats:
        """Statistics of the selected tokens."""
        return self.measured.stats


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
    require_choice("mode", mode, MODES)
    require_choice("direction", direction, DIRECTIONS)
    threshold = require_finite_number("threshold", threshold, 1.0, math.inf)
    hidden = as_states(hidden, "the conditioning")
    if selected is not None and not bool(selected.any()):
        raise ValueError("the token selection selects nothing: choose tokens that are there")
    stats = SequenceStats(hidden, selected)
    measured = measure_against(reference, stats, threshold, exclude_sinks)
    return mask_measured(measured, mode, direction)


def mask_measured(measured: Measured, mode: str, direction: str) -> MaskResult:
    """As :func:`mask_states`, of the states of a :class:`.SequenceStats` that was ``measured``
    before: for several modes of the same states."""
    stats = measured.stats
    hidden = stats.hidden
    kept = list(range(hidden.shape[1]))
    if mode in FORMULAS:
        dimensions = measured.dimensions(direction)
        edited = _mask_dimensions(hidden, mode, dimensions, measured, stats.selected)
        return MaskResult(edited, kept, dimensions.tolist(), [], measured)
    touched = stats.sink_tokens & stats.selected
    if mode == "drop sinks":
        edited, kept = _drop_tokens(hidden, touched)
    else:
        edited = _sinks_to_mean(hidden, touched, stats.sink_tokens)
    return MaskResult(edited, kept, [], touched.any(0).nonzero().flatten().tolist(), measured)


def mask_outlier_dimensions(
    embeddings: Tensor,
    threshold: float = 10.0,
    mode: str = "zero",
    reference_stats: ReferenceStats | None = None,
    *,
    reference: Reference | None = None,
    direction: str = "loud",
    exclude_sinks: bool = False,
) -> tuple[Tensor, dict]:
    """``(masked, info)`` with ``info`` keys masked_dimensions, ratios, mode, threshold.

    Args:
        embeddings: (tokens, width) or (batch, tokens, width); the result has the same shape
            (but for tokens that "drop sinks" removed), dtype and device.
        reference_stats: what to measure against, as llm-dit's argument: a dict or the path of an
            .npz with ``per_dim_std`` and, for the modes "clamp" and "mean", ``per_dim_mean``; or a
            reference of this pack. None takes the published Qwen3-4B figures for width 2560 (exact
            in five dimensions only), else the median std of the tensor's own dimensions.
        reference: the same as ``reference_stats``, for a reference of this pack.

    Raises:
        as :func:`mask_states`, and ValueError for statistics that cannot be used.

    >>> hidden = torch.tensor([[1.0, -1.0, 50.0], [-1.0, 1.0, -50.0]])
    >>> masked, info = mask_outlier_dimensions(hidden)
    >>> masked.tolist(), info["masked_dimensions"]
    ([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]], [2])
    """
    hidden = as_states(embeddings)
    given = as_reference(reference_stats, reference, needs_mean=mode in ("clamp", "mean"))
    against = default_reference(hidden.shape[-1], given)
    result = mask_states(
        hidden,
        mode=mode,
        threshold=threshold,
        direction=direction,
        exclude_sinks=exclude_sinks,
        reference=against,
    )
    info = {
        "masked_dimensions": result.masked,
        "ratios": dict(
            zip(result.masked, result.measured.ratios[result.masked].tolist(), strict=True)
        ),
        "mode": mode,
        "threshold": threshold,
    }
    return (result.hidden if embeddings.ndim == 3 else result.hidden[0]), info


def _mask_dimensions(
    hidden: Tensor, mode: str, dimensions: Tensor, measured: Measured, selected: Tensor
) -> Tensor:
    """A copy of ``hidden`` with ``dimensions`` (n,) of the ``selected`` tokens masked; itself where
    there is none."""
    if len(dimensions) == 0:
        return hidden
    place = dimensions.to(hidden.device)
    whole = bool(selected.all())
    result = hidden.clone(memory_format=torch.contiguous_format)
    if mode == "zero" and whole:
        return result.index_fill_(2, place, 0.0)
    held = hidden.index_select(2, place)
    values = to_dtype(FORMULAS[mode](held.float(), dimensions, measured), hidden.dtype)
    if not whole:
        values = torch.where(selected.to(hidden.device)[..., None], values, held)
    return result.index_copy_(2, place, values)


def _drop_tokens(hidden: Tensor, dropped: Tensor) -> tuple[Tensor, list[int]]:
    if bool((dropped != dropped[0]).any()):
        raise ValueError(
            "the entries of this batch have their sink tokens at different positions, so dropping "
            "them would give entries of different length: use 'sink to mean', or encode one at a "
            "time"
        )
    kept = (~dropped[0]).nonzero().flatten().tolist()
    return kept_tokens(hidden, kept), kept


def kept_tokens(hidden: Tensor, kept: Sequence[int]) -> Tensor:
    """The tokens of ``hidden`` (batch, tokens, width) at the positions ``kept``, each at most once
    and in their order: ``hidden`` itself, which costs no copy, where that is all of them."""
    return hidden if len(kept) == hidden.shape[1] else hidden[:, kept]


def _sinks_to_mean(hidden: Tensor, replaced: Tensor, sinks: Tensor) -> Tensor:
    if not bool(replaced.any()):
        return hidden
    result = hidden.clone(memory_format=torch.contiguous_format)
    for number in replaced.any(1).nonzero().flatten().tolist():
        others = hidden[number, ~sinks[number]].float().mean(0)
        result[number, replaced[number]] = to_dtype(others, hidden.dtype)
    return result
