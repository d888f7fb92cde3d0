"""Where the variance of one dimension is, and which tokens drive it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..measure.carriers import FIRST_POSITIONS
from .ablation import TokenGroups

QUANTILES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
"""At which a token is shown: the largest values alone would mislead."""
CONTEXT = 6
"""Tokens that are shown before one, and after it."""


class Part(NamedTuple):
    """Some of the tokens.

    Attributes:
        share: 0..1, of the squared deviations from the mean over all tokens.
        variation: the coefficient of variation, std over |mean|; infinite over a mean of 0.
    """

    name: str
    tokens: int
    share: float
    mean: float
    std: float

    @property
    def variation(self) -> float:
        """The coefficient of variation, std over |mean|; infinite over a mean of 0."""
        return self.std / abs(self.mean) if self.mean else float("inf")


class DrivingToken(NamedTuple):
    """The token at one quantile of the values, with what stands around it.

    Attributes:
        prompt, position: its place in :class:`.PromptTokens`.
    """

    quantile: float
    value: float
    prompt: int
    position: int
    before: str
    token: str
    after: str


class Where(NamedTuple):
    """Where one dimension's variance is.

    Attributes:
        positions: the first positions, and all later ones together.
        classes: of tokens, the largest share first.
        sides: the sinks, and the others.
        tokens: at each of QUANTILES, a token once.
        fixed_spread: the largest difference between two prompts at a token of the beginning that
            all share, over the largest |x|: rounding, where attention is causal.
    """

    positions: tuple[Part, ...]
    classes: tuple[Part, ...]
    sides: tuple[Part, ...]
    tokens: tuple[DrivingToken, ...]
    fixed_spread: float


def locate(values: Tensor, groups: TokenGroups, text: Callable[[int], str]) -> Where:
    """Where the variance of ``values`` (n,) of one dimension is; ``text``: of a token id."""
    tokens = groups.tokens
    x = values.double()
    squares = (x - x.mean()).square()
    total = float(squares.sum())

    def part(name: str, chosen: Tensor) -> Part:
        own = x[chosen]
        share = float(squares[chosen].sum()) / total if total > 0 else 0.0
        spread = float(own.std()) if len(own) > 1 else 0.0
        return Part(name, len(own), share, float(own.mean()) if len(own) else 0.0, spread)

    first = range(min(FIRST_POSITIONS, int(tokens.position.max()) + 1))
    positions = [part(str(at), tokens.position == at) for at in first]
    positions.append(part("later", tokens.position >= FIRST_POSITIONS))
    by_class = {name: number for number, name in enumerate(dict.fromkeys(tokens.classes))}
    numbers = torch.tensor([by_class[name] for name in tokens.classes])
    classes = [part(name, numbers == number) for name, number in by_class.items()]
    classes.sort(key=lambda one: -one.share)
    sides = part("sinks", groups.sinks), part("others", ~groups.sinks)
    return Where(
        tuple(positions),
        tuple(classes),
        sides,
        tuple(_across_quantiles(x, groups, text)),
        _fixed_spread(x, groups),
    )


def _across_quantiles(
    x: Tensor, groups: TokenGroups, text: Callable[[int], str]
) -> list[DrivingToken]:
    tokens = groups.tokens
    order = x.argsort(stable=True).tolist()
    found: dict[tuple[int | None, int], DrivingToken] = {}
    for quantile in QUANTILES:
        row = order[round(quantile * (len(order) - 1))]
        prompt, at = int(tokens.prompt[row]), int(tokens.position[row])
        words = [text(one) for one in tokens.prompts[prompt]]
        before = "".join(words[max(0, at - CONTEXT) : at])
        after = "".join(words[at + 1 : at + 1 + CONTEXT])
        # A token of the beginning that all prompts share is the same one in each.
        same = (None if at < tokens.start else prompt, at)
        found.setdefault(
            same, DrivingToken(quantile, float(x[row]), prompt, at, before, words[at], after)
        )
    return list(found.values())


def _fixed_spread(x: Tensor, groups: TokenGroups) -> float:
    tokens, largest = groups.tokens, float(x.abs().max())
    spans = [0.0]
    for position in range(tokens.start):
        own = x[tokens.position == position]
        spans.append(float(own.max() - own.min()))
    return max(spans) / largest if largest > 0 else 0.0
