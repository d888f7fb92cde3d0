"""The direction of a concept: a difference of means over pairs of prompts, after RMSNorm.

Differences of means between contrasting prompts steer language models: Turner et al. 2023 (arXiv
2308.10248), Rimsky et al. 2023 (arXiv 2312.06681). Here they are taken over content tokens without
attention sinks, and after RMSNorm, with which Z-Image begins: a token's length counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import LayerLabError, require_finite_states
from ..dit.view import ROUNDING
from ..measure.moments import wide
from ..measure.scaling import token_rms
from ..measure.sinks import find_sinks
from ..taps.layout import Taps
from .concept import Concept

LOUD = 3.0
"""A dimension whose spread is over this many times the median one counts as if it had that much."""


class ConceptError(LayerLabError, ValueError):
    """Pairs that have no direction; the message says why and what to do."""


class SideMeans(NamedTuple):
    """The content tokens of one prompt, tap by tap; vectors have all taps' dimensions.

    Attributes:
        mean, m2: (dimensions,) float64, mean and sum of squared deviations after RMSNorm.
        raw: (dimensions,) float64, mean of the states as they are.
        rms: (taps,) float64, root mean square of the states.
        tokens: (taps,) int64, how many there are without sinks.
        sinks: content tokens that are a sink of some tap.
    """

    mean: Tensor
    m2: Tensor
    raw: Tensor
    rms: Tensor
    tokens: Tensor
    sinks: int


class Finding(NamedTuple):
    """A concept and how sure it is.

    Attributes:
        concept: the direction.
        cosines: (pairs, taps) float64, of each pair's difference with the mean of the other pairs'
            (loud dimensions limited in both); NaN for a single pair.
        raw: (taps,) float64, length of the difference of means over that of a token, before
            RMSNorm.
        normed: the same after it, no dimension limited.
        limited: dimensions that were limited, the loudest first.
        tokens: content tokens, both sides together.
        sinks: of them, attention sinks, which were left out.
    """

    concept: Concept
    cosines: Tensor
    raw: Tensor
    normed: Tensor
    limited: tuple[int, ...]
    tokens: int
    sinks: int


def measure_side(hidden: Tensor, content: Tensor, whole: Tensor, taps: Taps | None) -> SideMeans:
    """The means of one prompt.

    Args:
        hidden: (tokens, dimensions), any float dtype.
        content: (tokens,) bool, the tokens that say what the prompt shows.
        whole: (tokens,) bool, all but padding: sinks are found among these.
        taps: layers side by side in ``hidden``; None for one.

    Raises:
        ConceptError: if there is no content, or sinks only.
        NonFiniteError: if a state holds NaN or infinity.
    """
    layout = taps or Taps((None,), hidden.shape[-1])
    require_finite_states(hidden[None], "the hidden state")
    means, m2s, raws, rms, counts = [], [], [], [], []
    sinks = torch.zeros(len(hidden), dtype=torch.bool)
    for part in layout.split(hidden[None]):
        own = find_sinks(part, whole)[0].cpu() & content
        sinks |= own
        rows = wide(part[0][(content & ~own).to(part.device)]).cpu()
        if not len(rows):
            raise ConceptError(
                "it has no content token (attention sinks and the template do not count): write "
                "what the image shows"
            )
        scale = token_rms(rows)
        normed = rows / torch.where(scale > 0, scale, 1.0)
        means.append(normed.mean(0))
        m2s.append((normed - means[-1]).square().sum(0))
        raws.append(rows.mean(0))
        rms.append(scale.square().mean().sqrt())
        counts.append(len(rows))
    joined = (layout.join([one[None, None] for one in some])[0, 0] for some in (means, m2s, raws))
    return SideMeans(*joined, torch.stack(rms), torch.tensor(counts), int(sinks.sum()))


def find_direction(
    sides: Iterable[tuple[SideMeans, SideMeans]],
    taps: Taps | None = None,
    prompts: Sequence[tuple[str, str]] = (),
    provenance: Mapping[str, str] | None = None,
) -> Finding:
    """The concept of pairs of (with, without), each pair counting the same.

    The difference of a dimension whose spread (pooled std within the prompts, after RMSNorm) is
    over :data:`LOUD` times the median spread of its layer is divided by how many times it is over
    that. So a dimension that varies as much from word to word does not lead by chance.

    Raises:
        ConceptError: if there is no pair, or the two sides of all pairs are equal.
    """
    pairs = list(sides)
    if not pairs:
        raise ConceptError("there is no pair of prompts: write at least one")
    layout = taps or Taps((None,), len(pairs[0][0].mean))
    spread = _spread([one for pair in pairs for one in pair], layout)
    weights = _weights(spread, layout)
    differences = torch.stack([one.mean - other.mean for one, other in pairs])
    mean = differences.mean(0)
    normed = _lengths(mean, layout)
    if not bool((normed > ROUNDING).any()):
        raise ConceptError(
            f"the two sides of {'the pair' if len(pairs) == 1 else 'all pairs'} have the same "
            "states: change the prompts of one side, so that they say what the other does not"
        )
    raw = torch.stack([one.raw - other.raw for one, other in pairs]).mean(0)
    rms = torch.stack([other.rms for _, other in pairs]).square().mean(0).sqrt()
    cosines = _cosines(differences * weights, layout)
    limited = (weights < 1).nonzero().flatten()
    limited = limited[weights[limited].argsort()]
    given = {"consistency": f"{float(cosines.mean()):.3f}"} if len(pairs) > 1 else {}
    concept = Concept(
        direction=mean * weights,
        baseline=torch.stack([other.mean for _, other in pairs]).mean(0),
        spread=spread,
        taps=taps,
        prompts=tuple(prompts),
        provenance={**(provenance or {}), "pairs": str(len(pairs)), **given},
    )
    each = [one for pair in pairs for one in pair]
    return Finding(
        concept,
        cosines,
        _lengths(raw, layout) / torch.where(rms > 0, rms, 1.0),
        normed,
        tuple(limited.tolist()),
        sum(int(one.tokens.max()) for one in each),
        sum(one.sinks for one in each),
    )


def _spread(sides: Sequence[SideMeans], layout: Taps) -> Tensor:
    """(dimensions,) pooled std within the prompts; 0 where none has two tokens."""
    degrees = torch.stack([one.tokens - 1 for one in sides]).sum(0)
    m2 = layout.split(torch.stack([one.m2 for one in sides]).sum(0)[None, None])
    stds = [(part / degree.clamp(min=1)).sqrt() for part, degree in zip(m2, degrees, strict=True)]
    return layout.join(stds)[0, 0]


def _weights(spread: Tensor, layout: Taps) -> Tensor:
    """(dimensions,) 1, or less for a loud dimension."""
    parts = []
    for part in layout.split(spread[None, None]):
        varying = part[part > 0]
        limit = LOUD * varying.median() if len(varying) else 1.0
        parts.append(torch.where(part > limit, limit / part, 1.0))
    return layout.join(parts)[0, 0]


def _lengths(vector: Tensor, layout: Taps) -> Tensor:
    """(taps,) root mean square of each tap."""
    parts = layout.split(vector[None, None])
    return torch.stack([part.square().mean().sqrt() for part in parts])


def _cosines(differences: Tensor, layout: Taps) -> Tensor:
    """(pairs, taps) of each row with the mean of the others."""
    if len(differences) == 1:
        return torch.full((1, len(layout)), torch.nan, dtype=torch.float64)
    others = differences.sum(0) - differences
    pairs = zip(layout.split(differences[None]), layout.split(others[None]), strict=True)
    return torch.stack([torch.cosine_similarity(a[0], b[0], -1) for a, b in pairs], -1)
