"""Normalizing: bring states to the scale of a reference, or to one scale of their own.

``global``, ``per dimension`` and ``hybrid`` are llm-dit's formulas (fblissjr/llm-dit-experiments)
with one difference: ``global`` there multiplies about 0, here everything scales about the mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_finite_states
from ..measure.moments import to_dtype, working_dtype
from ..measure.reference import Reference
from ..measure.scaling import Z_LIMIT, mean_and_std, rescale, token_rms
from ..measure.sinks import find_sinks
from ..measure.split_stats import selected_rows

METHODS = ("global", "per dimension", "hybrid", "rms per token")
NEEDS_REFERENCE = ("global", "hybrid")
"""Methods that have nothing to aim at without a reference."""


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


class Aim(NamedTuple):
    """A reference as :func:`normalize` needs it: like meets like, so with or without sinks.

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
        reference: what to aim at; "global" and "hybrid" need one.
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
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if reference is None and method in NEEDS_REFERENCE:
        raise ValueError(
            f"method '{method}' needs a reference to aim at: connect Build Reference Stats, or "
            "choose 'rms per token' or 'per dimension'"
        )
    hidden = as_states(hidden, "the conditioning")
    aim = None if reference is None else _aim(reference, hidden.shape[-1], method, keep_sinks)
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
        values = to_dtype(_normalized(rows, method, aim), hidden.dtype).to(hidden.device)
        if len(places) < tokens:
            values = sequence.index_copy(0, places.to(hidden.device), values)
        results.append(values)
    result = results[0][None] if len(results) == 1 else torch.stack(results)
    positions = sinks.any(0).nonzero().flatten().tolist()
    return NormalizeResult(result, positions, _in_words(method, aim))


def _aim(reference: Reference, width: int, method: str, keep_sinks: bool) -> Aim:
    if reference.width != width:
        raise ValueError(
            f"the reference ({reference.name}) has {reference.width} dimensions and the "
            f"states have {width}: they are not of the same model; connect one of this encoder, or "
            "none"
        )
    if not keep_sinks:
        whole = reference.global_mean, reference.global_std
        aim = Aim(reference.mean, reference.std, *whole, f"{reference.name}, sink tokens included")
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
        aim = Aim(mean, std, float(mean.mean()), spread, f"{reference.name} without sink tokens")
    known = {
        "global": aim.global_std > 0,
        "rms per token": aim.rms > 0,
        "per dimension": bool((aim.std > 0).any()),
    }
    if not known.get(method, known["global"] and known["per dimension"]):
        raise ValueError(
            f"the reference ({aim.name}) has no spread and would erase the states: build one from "
            "more prompts"
        )
    return aim


def _normalized(content: Tensor, method: str, aim: Aim | None) -> Tensor:
    """(tokens, width), any float dtype, normalized, in that dtype or a wider one."""
    if method == "rms per token":
        return _rms_per_token(content, aim)
    if method == "global":
        return _global(content, aim)
    if aim is not None and len(content) < 2:
        raise ValueError(
            f"method '{method}' measures each dimension over tokens, and one token has no spread: "
            "choose 'global' or 'rms per token'"
        )
    if method == "per dimension":
        return _per_dimension(content, aim, content.dtype)
    each = _per_dimension(content, aim, working_dtype(content.dtype))
    return _global(content, aim).add_(each).mul_(0.5)


def _global(content: Tensor, aim: Aim) -> Tensor:
    whole = torch.tensor([aim.global_mean, aim.global_std], dtype=torch.float64)
    return rescale(content, *mean_and_std(content, (0, 1)), whole[0], whole[1])


def _per_dimension(content: Tensor, aim: Aim | None, dtype: torch.dtype) -> Tensor:
    mean, std = mean_and_std(content, (0,))
    if aim is not None:
        return rescale(content, mean, std, aim.mean, aim.std, Z_LIMIT, dtype)
    if not bool((std > 0).any()):
        return content
    return rescale(content, mean, std, mean, std[std > 0].quantile(0.5), Z_LIMIT, dtype)


def _rms_per_token(content: Tensor, aim: Aim | None) -> Tensor:
    content = content.to(working_dtype(content.dtype))
    rms = token_rms(content)
    known = rms[rms > 0]
    if len(known) == 0:
        return content
    level = known.quantile(0.5) if aim is None else aim.rms
    # Two factors: the quotient of a large and a tiny one is no float.
    return content / torch.where(rms > 0, rms, 1.0) * torch.where(rms > 0, level, 1.0)


def _in_words(method: str, aim: Aim | None) -> str:
    if aim is None:
        own = {
            "rms per token": "the median rms of its own tokens",
            "per dimension": "the median std of its own dimensions, each about its own mean",
        }
        return own[method]
    targets = {
        "rms per token": f"rms {aim.rms:.4g}",
        "global": f"mean {aim.global_mean:.4g} and std {aim.global_std:.4g}",
        "per dimension": "each dimension's mean and std",
        "hybrid": f"half mean {aim.global_mean:.4g} and std {aim.global_std:.4g}, half each "
        "dimension's own,",
    }
    return f"{targets[method]} of {aim.name}"
