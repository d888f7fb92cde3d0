"""Normalizing: bring states to the scale of a reference, or to one scale of their own.

``global``, ``per dimension`` and ``hybrid`` are llm-dit's formulas (fblissjr/llm-dit-experiments)
with one difference: ``global`` there multiplies about 0, here everything scales about the mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_choice, require_finite_states
from ..measure.moments import to_dtype, working_dtype
from ..measure.reference import Reference
from ..measure.scaling import Z_LIMIT, mean_and_std, rescale, token_rms
from ..measure.sinks import find_sinks
from ..measure.split_stats import selected_rows

METHODS = ("global", "per dimension", "hybrid", "rms per token")
NEEDS_REFERENCE = ("global", "hybrid")
"""Methods that have no target without a reference."""


class NormalizeResult(NamedTuple):
    """What :func:`normalize` did.

    Attributes:
        hidden: (batch, tokens, width) in the input's dtype and on its device.
        sinks: positions of sink tokens that were left untouched (in any entry of the batch).
        target: what the states were brought to, in words.
    """

    hidden: Tensor
    sinks: list[int]
    target: str


class Target(NamedTuple):
    """What states are brought to: a reference's statistics with or without sink tokens, as the
    states' own are taken.

    Attributes:
        mean, std: (width,) float64.
        global_mean, global_std: of all values together.
        name: of the reference, and whether sink tokens are in it.
    """

    mean: Tensor
    std: Tensor
    global_mean: float
    global_std: float
    name: str

    @property
    def rms(self) -> float:
        """Root mean square of all values."""
        return float((self.std**2 + self.mean**2).mean().sqrt())


def normalize(
    hidden: Tensor,
    method: str = "rms per token",
    reference: Reference | None = None,
    keep_sinks: bool = True,
    selected: Tensor | None = None,
) -> NormalizeResult:
    """Each sequence of the batch normalized by its own statistics.

    Args:
        hidden: (batch, tokens, width) or (tokens, width), any float dtype.
        method: "global": the mean and std of all values together become the reference's. "per
            dimension": each dimension's mean and std become the reference's, values limited to 3
            std; without a reference a dimension keeps its mean and gets the median of the
            dimensions' stds. "hybrid": half of each. "rms per token": each token is scaled to the
            reference's rms, without one to the median rms of the tokens; a token of zeros stays.
        reference: what to bring them to; "global" and "hybrid" need one.
        keep_sinks: sink tokens stay as they are, out of the statistics and the reference's too.
            Otherwise they are treated like any other token.
        selected: (tokens,) bool; the others (padding) are neither measured nor changed.

    Raises:
        ValueError: an unknown method; no reference where one is needed; a reference of another
            width, without spread, or without sink-free statistics where ``keep_sinks`` wants them;
            a selection of no token; one token where a spread over tokens is needed.
        NonFiniteError: if the tensor holds NaN or infinity.

    >>> hidden = torch.tensor([[3.0, -3.0], [1.0, -1.0], [2.0, -2.0]])
    >>> normalize(hidden).hidden.tolist()
    [[[2.0, -2.0], [2.0, -2.0], [2.0, -2.0]]]
    """
    require_choice("method", method, METHODS)
    if reference is None and method in NEEDS_REFERENCE:
        raise ValueError(
            f"method '{method}' needs a reference to aim at: connect Build Reference Stats, or "
            "choose 'rms per token' or 'per dimension'"
        )
    hidden = as_states(hidden, "the conditioning")
    target = None if reference is None else _target(reference, hidden.shape[-1], method, keep_sinks)
    require_finite_states(hidden, "the conditioning")
    tokens = hidden.shape[1]
    selected = torch.ones(tokens, dtype=torch.bool) if selected is None else selected.cpu()
    if not bool(selected.any()):
        raise ValueError("the conditioning holds padding only: there is nothing to normalize")
    sinks = torch.zeros(hidden.shape[:2], dtype=torch.bool)
    if keep_sinks:
        sinks = find_sinks(hidden, selected).cpu()
    results = []
    for number, sequence in enumerate(hidden):
        chosen = selected & ~sinks[number]
        rows, places = selected_rows(sequence[None], chosen[None])
        values = to_dtype(_normalized(rows, method, target), hidden.dtype).to(hidden.device)
        if len(places) < tokens:
            values = sequence.index_copy(0, places.to(hidden.device), values)
        results.append(values)
    result = results[0][None] if len(results) == 1 else torch.stack(results)
    positions = sinks.any(0).nonzero().flatten().tolist()
    return NormalizeResult(result, positions, _in_words(method, target))


def _target(reference: Reference, width: int, method: str, keep_sinks: bool) -> Target:
    reference.require_width(width)
    if not keep_sinks:
        whole = reference.global_mean, reference.global_std
        name = f"{reference.name}, sink tokens included"
        target = Target(reference.mean, reference.std, *whole, name)
    elif reference.std_without_sinks is None:
        raise ValueError(
            f"the reference ({reference.name}) has statistics with sink tokens only, and "
            "keep_sinks leaves the sinks of the states out: connect one from Build Reference "
            "Stats, which measures both, or turn keep_sinks off"
        )
    else:
        mean, std = reference.statistics(without_sinks=True)
        # Variance of all values: that inside the dimensions and that between their means.
        spread = float((std.pow(2).mean() + mean.var(unbiased=False)).sqrt())
        name = f"{reference.name} without sink tokens"
        target = Target(mean, std, float(mean.mean()), spread, name)
    known = {
        "global": target.global_std > 0,
        "rms per token": target.rms > 0,
        "per dimension": bool((target.std > 0).any()),
    }
    if not known.get(method, known["global"] and known["per dimension"]):
        raise ValueError(
            f"the reference ({target.name}) has no spread and would erase the states: build "
            "one from more prompts"
        )
    return target


def _normalized(ordinary: Tensor, method: str, target: Target | None) -> Tensor:
    """(tokens, width), any float dtype, normalized, in that dtype or a wider one."""
    if method == "rms per token":
        return _rms_per_token(ordinary, target)
    if method == "global":
        return _global(ordinary, target)
    if target is not None and len(ordinary) < 2:
        raise ValueError(
            f"method '{method}' measures each dimension over tokens, and one token has no spread: "
            "choose 'global' or 'rms per token'"
        )
    if method == "per dimension":
        return _per_dimension(ordinary, target, ordinary.dtype)
    each = _per_dimension(ordinary, target, working_dtype(ordinary.dtype))
    return _global(ordinary, target).add_(each).mul_(0.5)


def _global(ordinary: Tensor, target: Target) -> Tensor:
    whole = torch.tensor([target.global_mean, target.global_std], dtype=torch.float64)
    return rescale(ordinary, *mean_and_std(ordinary, (0, 1)), whole[0], whole[1])


def _per_dimension(ordinary: Tensor, target: Target | None, dtype: torch.dtype) -> Tensor:
    mean, std = mean_and_std(ordinary, (0,))
    if target is not None:
        return rescale(ordinary, mean, std, target.mean, target.std, Z_LIMIT, dtype)
    if not bool((std > 0).any()):
        return ordinary
    return rescale(ordinary, mean, std, mean, std[std > 0].quantile(0.5), Z_LIMIT, dtype)


def _rms_per_token(ordinary: Tensor, target: Target | None) -> Tensor:
    ordinary = ordinary.to(working_dtype(ordinary.dtype))
    rms = token_rms(ordinary)
    known = rms[rms > 0]
    if len(known) == 0:
        return ordinary
    level = known.quantile(0.5) if target is None else target.rms
    # Two factors: the quotient of a large and a tiny one is no float.
    return ordinary / torch.where(rms > 0, rms, 1.0) * torch.where(rms > 0, level, 1.0)


def _in_words(method: str, target: Target | None) -> str:
    if target is None:
        own = {
            "rms per token": "the median rms of its own tokens",
            "per dimension": "the median std of its own dimensions, each about its own mean",
        }
        return own[method]
    targets = {
        "rms per token": f"rms {target.rms:.4g}",
        "global": f"mean {target.global_mean:.4g} and std {target.global_std:.4g}",
        "per dimension": "each dimension's mean and std",
        "hybrid": f"half mean {target.global_mean:.4g} and std {target.global_std:.4g}, half each "
        "dimension's own,",
    }
    return f"{targets[method]} of {target.name}"
