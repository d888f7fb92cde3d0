"""Masking a conditioning that holds several layers, tap by tap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..measure.reference import Reference
from ..taps.layout import Taps
from .masking import MaskResult, mask_states


class TapMaskResult(NamedTuple):
    """What :func:`mask_taps` did.

    Attributes:
        hidden: (batch, tokens left, total), the input itself if nothing was masked.
        kept: positions (in the input) of the tokens that are left.
        results: what was found and done in each tap.
    """

    hidden: Tensor
    kept: list[int]
    results: tuple[MaskResult, ...]

    @property
    def touched_sinks(self) -> list[int]:
        """Positions of the sink tokens that were dropped, or replaced in a tap."""
        return sorted({position for one in self.results for position in one.touched_sinks})


def mask_taps(
    hidden: Tensor, taps: Taps, references: Sequence[Reference | None], **settings: object
) -> TapMaskResult:
    """Mask every tap of ``hidden`` (batch, tokens, total) by its own statistics.

    A token that is dropped as the sink of one tap is gone from all of them.

    Args:
        references: one for each tap.
        settings: as :func:`.masking.mask_states`.

    Raises:
        ValueError: as there, and if no token would be left.
    """
    parts = taps.split(hidden)
    results = tuple(
        mask_states(part, reference=reference, **settings)
        for part, reference in zip(parts, references, strict=True)
    )
    kept = sorted(set.intersection(*(set(result.kept) for result in results)))
    if not kept:
        raise ValueError(
            "every token is a sink token of one tap or another: choose mode sink to mean, which "
            "drops none"
        )
    if len(kept) < hidden.shape[1]:
        return TapMaskResult(hidden[:, kept], kept, results)
    if all(torch.equal(one.hidden, part) for one, part in zip(results, parts, strict=True)):
        return TapMaskResult(hidden, kept, results)
    return TapMaskResult(taps.join([result.hidden for result in results]), kept, results)
