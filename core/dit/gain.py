"""How strongly the image model's own first layer takes each dimension of a caption.

Of Z-Image that layer is ``cap_embedder``: an RMSNorm with a weight g per dimension and a matrix W,
so that dimension d of a token goes on as x_d * g_d * W[:, d] over the token's RMS. Its gain is
|g_d| * ||W[:, d]||. A dimension that the model has learned to ignore has a gain near 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..tables import table

LIKE = 1.05
"""Up to this ratio a gain is as the median's."""
GAIN_HEADER = ("dim", "gain", "over the median", "rank", "share of the energy", "if it were zero")
"""Columns of :func:`gain_table`."""


class Gains(NamedTuple):
    """Attributes:
    values: (width,) float64, how much longer a unit of each dimension leaves the layer.
    """

    values: Tensor

    @property
    def relative(self) -> Tensor:
        """(width,) each over the median; infinite over a median of 0, 1 where both are 0."""
        median = self.values.quantile(0.5)
        return torch.where((self.values == 0) & (median == 0), 1.0, self.values / median)

    @property
    def ranks(self) -> Tensor:
        """(width,) int64, 1 for the largest gain."""
        ranks = torch.empty(len(self.values), dtype=torch.int64)
        order = self.values.argsort(descending=True, stable=True)
        ranks[order] = torch.arange(1, len(self.values) + 1)
        return ranks


class Energy(NamedTuple):
    """What of a caption goes through the layer; all float64, of (batch, tokens, width) states.

    Attributes:
        dimensions: (width,) the share (0..1) that each has of the squared lengths of what all of
            them send on, each by itself: ``sum over tokens of (x_d * gain_d)**2``. They sum to 1.
        changes: (width,) how much the layer's output would change, relative L2 over all tokens,
            were what the dimension sends on left out; the norm's divisor stays what it was.
        tokens: (batch, tokens) the share (0..1) of each token in the squared length of the
            layer's output, without its bias. They sum to 1.
    """

    dimensions: Tensor
    changes: Tensor
    tokens: Tensor


def energy_of(normed: Tensor, gains: Tensor, projected: Tensor) -> Energy:
    """What each dimension and each token of a caption sends through the first matrix.

    Args:
        normed: (batch, tokens, width) states after the norm and its weight.
        gains: (width,) the length of each column of the matrix: without the norm's weight, which
            is in ``normed``.
        projected: (batch, tokens, out) the matrix times ``normed``, without the bias.
    """
    sent = normed.double().square().flatten(0, -2).sum(0) * gains.double().square()
    token = projected.double().square().sum(-1)
    whole = token.sum()
    return Energy(_shares(sent), _ratio(sent, whole).sqrt(), _shares(token))


def gain_table(
    gains: Gains,
    energy: Energy | None,
    first: Sequence[int] = (),
    most: int = 10,
    name: Callable[[int], str] = str,
) -> str:
    """A plain-text table: the dimensions ``first``, then the ``most`` of the largest gains.

    Args:
        name: what a dimension is called.
    """
    loudest = gains.values.argsort(descending=True, stable=True)[:most].tolist()
    shown = list(dict.fromkeys([*first, *loudest]))
    relative, ranks = gains.relative.tolist(), gains.ranks.tolist()
    rows = [
        (
            name(number),
            f"{float(gains.values[number]):.4g}",
            times(relative[number]),
            f"{ranks[number]} of {len(ranks)}",
            "-" if energy is None else f"{float(energy.dimensions[number]):.2%}",
            "-" if energy is None else f"{float(energy.changes[number]):.2%}",
        )
        for number in shown
    ]
    return table(GAIN_HEADER, rows, len(rows))


def tap_table(gains: Gains, energy: Energy | None, taps: int) -> str:
    """A plain-text table, a row for each of the ``taps`` equal parts of the dimensions: their
    median gain, and what they carry together."""
    rows = []
    for number, part in enumerate(gains.values.chunk(taps)):
        start = number * len(part)
        share = None if energy is None else energy.dimensions[start : start + len(part)].sum()
        median = float(part.quantile(0.5))
        rows.append(
            (
                f"tap {number + 1}",
                f"{median:.4g}",
                times(median / float(gains.values.quantile(0.5))),
                "-" if share is None else f"{float(share):.2%}",
            )
        )
    return table(("dims", "median gain", "over the median", "share of the energy"), rows, taps)


def tap_weights_table(weights: Tensor, attention: Tensor | None) -> str:
    """A plain-text table, a row for each tap of a model that weighs whole layers.

    Args:
        weights: (taps,) what each is multiplied with before they are summed.
        attention: (blocks, taps, taps) how much each tap (row) attends to each; a tap's figure is
            the mean over the rows.
    """
    received = [] if attention is None else attention.mean(1).tolist()
    header = ("dims", "weight", *(f"attended in block {n + 1}" for n in range(len(received))))
    rows = [
        (f"tap {tap + 1}", f"{weight:.4g}", *(f"{block[tap]:.2%}" for block in received))
        for tap, weight in enumerate(weights.tolist())
    ]
    return table(header, rows, len(rows))


def times(ratio: float) -> str:
    """A ratio to the median in words.

    >>> times(0.25), times(3.0), times(1.01), times(0.0)
    ('4x weaker', '3x stronger', 'as the median', 'ignored: 0')
    """
    if ratio == 0:
        return "ignored: 0"
    if math.isinf(ratio):
        return "the median is 0"
    if 1 / LIKE <= ratio <= LIKE:
        return "as the median"
    if ratio >= 1:
        return f"{ratio:.3g}x stronger"
    return f"{1 / ratio:.3g}x weaker"


def _shares(parts: Tensor) -> Tensor:
    return _ratio(parts, parts.sum())


def _ratio(parts: Tensor, whole: Tensor) -> Tensor:
    return parts / whole if float(whole) > 0 else torch.zeros_like(parts)
