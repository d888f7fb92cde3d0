"""New values for one dimension: zero, its mean, or what it is in another prompt.

By the tokens that get them there are three places: all, the sinks, and the others. The mean is
taken of sinks and of others by themselves (Sun et al. 2024, arXiv 2402.17762, set a massive
activation to its own mean), of sinks even by the token's identity: one mean of position 0 at 10,000
and of a comma at 300 would be neither's. A shuffled value comes from a token of the same kind in
another prompt.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..checks import require_choice
from .prompt_tokens import PromptTokens
from .ways import ALL, MEAN, OTHERS, PLACES, SINKS, WAYS, ZERO

SEED = 0
"""The seed of every random draw, so that a run can be repeated."""


@dataclass(frozen=True)
class TokenGroups:
    """Which tokens are sinks, and which may stand in for each other.

    Attributes:
        sinks: (n,) bool at the hidden state in question, in the sense of :func:`.find_sinks`.
    """

    tokens: PromptTokens
    sinks: Tensor

    def place(self, name: str) -> Tensor:
        """(n,) bool: the tokens of a place. Raises ValueError for a name not in PLACES."""
        require_choice("place", name, PLACES)
        return {ALL: torch.ones_like(self.sinks), SINKS: self.sinks, OTHERS: ~self.sinks}[name]

    @cached_property
    def kept(self) -> Tensor:
        """(n,) bool: sinks of the beginning that all prompts share. They have one state in every
        prompt, so that to set one to its mean over prompts, or to shuffle it, changes nothing."""
        return self.sinks & self.tokens.fixed

    @cached_property
    def donors(self) -> Tensor:
        """(n,) int64: the token whose value each gets when it is shuffled.

        Of the shared beginning: itself. Of the shared end: the same place of another prompt. Of a
        prompt's own: one of the same class in another prompt; a sink's is a sink of the same token.
        Where no other prompt has such a token: any of its own tokens that is no sink; a sink stays.
        """
        tokens, sinks = self.tokens, self.sinks.tolist()
        ids, prompt, own = tokens.ids.tolist(), tokens.prompt.tolist(), tokens.own.tolist()
        fixed, from_end = tokens.fixed.tolist(), tokens.from_end.tolist()

        def kind(row: int) -> tuple[str, object]:
            if sinks[row]:
                return "sink", ids[row]
            return ("class", tokens.classes[row]) if own[row] else ("end", from_end[row])

        by_kind: dict[tuple[str, object], list[int]] = defaultdict(list)
        movable = [row for row in range(len(ids)) if not fixed[row]]
        for row in movable:
            by_kind[kind(row)].append(row)
        ordinary = [row for row in movable if own[row] and not sinks[row]]
        generator = torch.Generator().manual_seed(SEED)
        draws = torch.rand(len(ids), generator=generator).tolist()
        donors = list(range(len(ids)))
        for row in movable:
            donor = _of_another(by_kind[kind(row)], prompt, prompt[row], draws[row])
            if donor is None and not sinks[row]:
                donor = _of_another(ordinary, prompt, prompt[row], draws[row])
            donors[row] = row if donor is None else donor
        return torch.tensor(donors)


def replace_values(values: Tensor, way: str, place: str, groups: TokenGroups) -> Tensor:
    """New values of one dimension.

    Args:
        values: (n,) of all tokens of all prompts.
        way: "zero", "mean" or "shuffle".
        place: "all", "sinks" or "others".

    Raises:
        ValueError: for another way or place.

    Returns:
        (n,) of the same dtype.
    """
    require_choice("way", way, WAYS)
    if way == ZERO:
        new = torch.zeros_like(values)
    elif way == MEAN:
        new = _means(values, groups)
    else:
        new = values[groups.donors]
    if way != ZERO:
        new = torch.where(groups.kept, values, new)
    return torch.where(groups.place(place), new, values)


def _of_another(rows: list[int], prompt: list[int], own: int, draw: float) -> int | None:
    """One of ``rows`` (ascending, so by prompt) that is not of the prompt ``own``; None if all are.

    ``draw``: which of them, at least 0 and less than 1.
    """
    first = bisect_left(rows, own, key=prompt.__getitem__)
    after = bisect_right(rows, own, key=prompt.__getitem__)
    left = len(rows) - (after - first)
    if not left:
        return None
    chosen = int(draw * left)
    return rows[chosen if chosen < first else chosen + after - first]


def _means(values: Tensor, groups: TokenGroups) -> Tensor:
    new = values.clone()
    others = ~groups.sinks
    if bool(others.any()):
        new[others] = values[others].double().mean().to(values.dtype)
    for token in groups.tokens.ids[groups.sinks].unique().tolist():
        same = groups.sinks & (groups.tokens.ids == token) & ~groups.tokens.fixed
        if bool(same.any()):
            new[same] = values[same].double().mean().to(values.dtype)
    return new
