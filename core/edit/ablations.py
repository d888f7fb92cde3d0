"""Ablations: variants of a conditioning with one suspicious part taken out of each.

To tell an effect from none, each set comes with controls: dimensions of ordinary spread and
ordinary tokens, taken out in the same way. Which they are is drawn with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_choice, require_whole_number
from ..dit.response import CONTROL
from ..measure.moments import to_dtype
from ..outliers.survey import Survey
from ..record.record import Record

BOTH, OUTLIERS, SINKS, TOKENS = "outliers and sinks", "outliers", "sinks", "single tokens"
WHAT = (BOTH, OUTLIERS, SINKS, TOKENS)
REPLACEMENTS = ("mean", "zero", "drop")
MOST_CONTROLS, MOST_SINGLE = 64, 1024
ORDINARY_SPREAD = (0.4, 0.6)
"""Control dimensions have a std between these quantiles of all dimensions'."""


class Part(NamedTuple):
    """What one variant lacks.

    Attributes:
        label: in words, such as "dimension 396"; a control's begins with CONTROL.
        dimensions: taken out of every token that is no padding.
        tokens: positions that are taken out whole.
    """

    label: str
    dimensions: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()


def parts_to_ablate(
    survey: Survey,
    record: Record,
    selected: Tensor,
    what: str = BOTH,
    controls: int = 4,
    most: int = 16,
) -> list[Part]:
    """One part for each outlier dimension and each sink token, all of them together, and controls.

    Args:
        survey: of the states, with the padding left out.
        record: of the states; its tokens' texts are in the labels.
        selected: (tokens,) bool, which tokens are no padding.
        what: "outliers and sinks", "outliers", "sinks", or "single tokens": every token, one by
            one, which needs no controls.
        controls: how many dimensions of ordinary spread, and how many ordinary tokens; fewer where
            there are not so many. 0 to 64.
        most: single outlier dimensions, and single tokens, at most; the farthest outliers, the
            first tokens. "All" are all of them. 1 to 1024.

    Raises:
        ValueError: for another ``what``, or a number out of range.
    """
    require_choice("what", what, WHAT)
    controls = require_whole_number("controls", controls, 0, MOST_CONTROLS)
    most = require_whole_number("most", most, 1, MOST_SINGLE)
    sinks = survey.sinks.any(0).cpu() & selected
    if what == TOKENS:
        return [_token(record, at) for at in _positions(selected)[:most]]
    dimensions = survey.dimensions if what != SINKS else []
    tokens = _positions(sinks) if what != OUTLIERS else []
    parts = [_dimension(number) for number in dimensions[:most]]
    parts += [_token(record, at, "sink token") for at in tokens[:most]]
    if len(dimensions) > 1:
        parts.append(Part(f"all {len(dimensions)} outlier dimensions", tuple(dimensions)))
    if len(tokens) > 1:
        parts.append(Part(f"all {len(tokens)} sink tokens", tokens=tuple(tokens)))
    if dimensions and tokens:
        parts.append(Part("all outliers and sinks", tuple(dimensions), tuple(tokens)))
    generator = torch.Generator().manual_seed(0)
    if what != SINKS:
        ordinary = _draw(_ordinary_dimensions(survey), controls, generator)
        parts += [_dimension(number, CONTROL) for number in ordinary]
    if what != OUTLIERS:
        ordinary = _draw(_positions(selected & ~sinks), controls, generator)
        parts += [_token(record, at, f"{CONTROL}token") for at in ordinary]
    return parts


def ablate(
    hidden: Tensor, part: Part, replace: str, survey: Survey, selected: Tensor
) -> tuple[Tensor, list[int]]:
    """``hidden`` (batch, tokens, width) without one part, and the positions of the tokens left.

    Args:
        replace: "mean": a dimension has the value of its mean over each sequence's other tokens,
            and a token is their mean, sinks and padding left out. "zero". "drop": a token is
            removed; a dimension cannot be, and is set to zero.
        survey: of ``hidden``; its sinks have no part in the means.
        selected: (tokens,) bool, which tokens are no padding.

    Returns:
        A new tensor of the input's dtype and device.

    Raises:
        ValueError: for another ``replace``, or where no token would be left.
    """
    require_choice("replace", replace, REPLACEMENTS)
    result = hidden.clone(memory_format=torch.contiguous_format)
    taken = torch.zeros(hidden.shape[1], dtype=torch.bool)
    taken[list(part.tokens)] = True
    content = _positions(selected)
    for number, sequence in enumerate(hidden):
        mean = _mean_of_others(sequence, selected & ~taken, survey.sinks[number].cpu())
        value = to_dtype(mean, hidden.dtype) if replace == "mean" else torch.zeros_like(sequence[0])
        for dimension in part.dimensions:
            result[number, content, dimension] = value[dimension]
        if part.tokens:
            result[number, list(part.tokens)] = value
    kept = list(range(hidden.shape[1]))
    if replace == "drop" and part.tokens:
        kept = _positions(~taken)
        if not bool((selected & ~taken).any()):
            raise ValueError(
                f"without {part.label} no token would be left: choose replace mean or zero"
            )
        result = result[:, kept]
    return result, kept


def _mean_of_others(sequence: Tensor, others: Tensor, sinks: Tensor) -> Tensor:
    """(width,) mean of the tokens that are neither taken out nor sinks; of all others, sinks too,
    where there are none; 0 where there are no others."""
    chosen = others & ~sinks if bool((others & ~sinks).any()) else others
    rows = sequence[chosen.to(sequence.device)].float()
    return rows.mean(0) if len(rows) else torch.zeros_like(sequence[0], dtype=torch.float32)


def _ordinary_dimensions(survey: Survey) -> list[int]:
    """The dimensions of about median spread that are no outliers."""
    bare = survey.stats.without_sinks
    std = (bare if bare.tokens > 1 else survey.stats.all).std
    low, high = (float(std.quantile(quantile)) for quantile in ORDINARY_SPREAD)
    outliers = set(survey.dimensions)
    inside = _positions((std >= low) & (std <= high))
    return [number for number in inside if number not in outliers]


def _draw(among: Sequence[int], count: int, generator: torch.Generator) -> list[int]:
    order = torch.randperm(len(among), generator=generator)[:count].tolist()
    return sorted(among[place] for place in order)


def _positions(marked: Tensor) -> list[int]:
    return marked.nonzero().flatten().tolist()


def _dimension(number: int, control: str = "") -> Part:
    return Part(f"{control}dimension {number}", dimensions=(number,))


def _token(record: Record, position: int, word: str = "token") -> Part:
    text = record.texts[position]
    return Part(f"{word} {position} {text!r}", tokens=(position,))
