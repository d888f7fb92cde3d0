"""Steering states by a concept: adding it, amplifying what is there of it, taking it out.

A token after RMSNorm lies on a sphere; its component along a concept is its cosine with the
direction. Every mode turns the token towards the direction or away from it, in the plane of both,
and gives it back its own length, so that the change is the same before and after RMSNorm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_states, require_choice, require_finite_number, require_finite_states
from ..measure.moments import to_dtype, wide
from ..measure.scaling import token_rms
from ..measure.sinks import find_sinks
from ..taps.layout import Taps
from .concept import ConceptPart

ADD, AMPLIFY, REMOVE = MODES = ("add", "amplify", "remove")
LOWEST_STRENGTH, HIGHEST_STRENGTH = -20.0, 20.0


class ConceptResult(NamedTuple):
    """What :func:`apply_concept` did.

    Attributes:
        hidden: (batch, tokens, dimensions) in the input's dtype and place; the input itself where
            nothing was to be done.
        sinks: positions of sink tokens that stayed as they are.
        before, after: for each tap the mean component of the tokens that were moved, 0 being the
            mean token without the concept and 1 the concept's own size; None for a tap that was
            not moved.
    """

    hidden: Tensor
    sinks: list[int]
    before: list[float | None]
    after: list[float | None]


def apply_concept(
    hidden: Tensor,
    parts: Sequence[ConceptPart | None],
    mode: str = ADD,
    strength: float = 1.0,
    selected: Tensor | None = None,
    whole: Tensor | None = None,
    keep_sinks: bool = True,
    taps: Taps | None = None,
) -> ConceptResult:
    """Move the ``selected`` tokens along a concept; a strength of 0 gives the input itself.

    Args:
        hidden: (batch, tokens, dimensions), any float dtype.
        parts: of :meth:`.Concept.parts_for`, one for each tap.
        mode: "add": each token turns towards the direction so far that its relative L2 change
            after RMSNorm is ``strength`` times the concept's size (at most until it is the
            direction itself). "amplify": the component, counted from the mean token without the
            concept, becomes 1 + ``strength`` times as large. "remove": it becomes 1 - ``strength``
            times as large, so 1 takes it out (affine concept editing, Marshall et al. 2024, arXiv
            2411.09003).
        strength: -20 to 20.
        selected: (tokens,) bool, those that are moved; all if not given.
        whole: (tokens,) bool, all but padding, among which sinks are found; all if not given.
        keep_sinks: leave attention sinks of a tap as they are in that tap.
        taps: layers side by side; None for one.

    Raises:
        ValueError: an unknown mode, a strength out of range, states of another width.
        NonFiniteError: if the states hold NaN or infinity.

    >>> part = ConceptPart(torch.tensor([1.0, 0.0], dtype=torch.float64), 0.5, 0.0)
    >>> apply_concept(torch.tensor([[[3.0, 4.0]]]), [part], "remove").hidden.tolist()
    [[[0.0, 5.0]]]
    """
    require_choice("mode", mode, MODES)
    strength = require_finite_number("strength", strength, LOWEST_STRENGTH, HIGHEST_STRENGTH)
    hidden = as_states(hidden, "the conditioning")
    require_finite_states(hidden, "the conditioning")
    layout = taps or Taps((None,), hidden.shape[-1])
    every = torch.ones(hidden.shape[1], dtype=torch.bool)
    selected = every if selected is None else selected.cpu()
    moved, sinks, before, after = [], torch.zeros(hidden.shape[:2], dtype=torch.bool), [], []
    for states, part in zip(layout.split(hidden), parts, strict=True):
        chosen = selected.expand(hidden.shape[:2])
        if keep_sinks:
            own = find_sinks(states, every if whole is None else whole.cpu()).cpu() & chosen
            sinks |= own
            chosen = chosen & ~own
        if part is None or part.size == 0 or not bool(chosen.any()):
            moved.append(states)
            before.append(None)
            after.append(None)
            continue
        chosen = chosen.to(hidden.device)
        rows = wide(states[chosen])
        turned, had, has = _turn(rows, part, mode, strength)
        result = states.clone()
        result[chosen] = to_dtype(turned, hidden.dtype).to(hidden.device)
        moved.append(result)
        before.append(float((had - part.baseline).mean()) / part.size)
        after.append(float((has - part.baseline).mean()) / part.size)
    positions = sinks.any(0).nonzero().flatten().tolist()
    if strength == 0:
        return ConceptResult(hidden, positions, before, before)
    return ConceptResult(layout.join(moved), positions, before, after)


def _turn(
    rows: Tensor, part: ConceptPart, mode: str, strength: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(n, width) float64 after the move, and each token's cosine before and after it."""
    unit = part.unit.to(rows)
    length = token_rms(rows) * rows.shape[-1] ** 0.5
    there = length > 0
    directions = rows / torch.where(there, length, 1.0)
    had = (directions @ unit)[:, None]
    beside = directions - had * unit
    beside_length = torch.linalg.vector_norm(beside, dim=-1, keepdim=True)
    # A token of zeros, or along the direction alone, has no plane to be turned in.
    turns = there & (beside_length > 0)
    if mode == ADD:
        angle = torch.atan2(beside_length, had)
        chord = min(abs(strength) * part.size, 2.0)
        step = 2.0 * torch.asin(torch.tensor(chord / 2.0)).item()
        has = (angle - step if strength > 0 else angle + step).clamp(0.0, torch.pi).cos()
    else:
        factor = 1.0 + (strength if mode == AMPLIFY else -strength)
        has = (part.baseline + (had - part.baseline) * factor).clamp(-1.0, 1.0)
    has = torch.where(turns, has, had)
    sideways = (1.0 - has.square()).clamp(min=0.0).sqrt() / torch.where(turns, beside_length, 1.0)
    turned = (has * unit + sideways * beside) * length
    return torch.where(turns, turned, rows), had[:, 0], has[:, 0]
