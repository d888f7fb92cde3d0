"""How much the image model's prediction changes when its caption does.

At one noise level and one noisy latent x the model predicts the clean image x0, which is the same
as a velocity (x - x0) / sigma. A variant of the caption changes it by ||x0' - x0||. Two measures
make that a number one can read: over ||x - x0||, the velocity's relative change, which may be
compared between noise levels; and over the change that an emptied caption makes at the same x,
which is 100 % where a variant says as little as no prompt at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..tables import table

CONTROL = "control: "
"""How the label of a control begins: a variant of which no effect is expected."""
KINDS = ("dimension", "token")
"""What controls are of: one dimension of a token is far less than a whole token."""
PAD_MULTIPLE = 32
"""Z-Image fills captions to a multiple of so many tokens, and the image's positions begin after
them (comfy/ldm/lumina/model.py): crossing one moves the image."""


class Response(NamedTuple):
    """Attributes:
    label: the variant's name.
    velocity: per noise level, the relative change of the velocity.
    share: per noise level, the change over the one that removing the prompt makes; NaN where
        that makes none.
    tokens: of the variant's caption.
    """

    label: str
    velocity: tuple[float, ...]
    share: tuple[float, ...]
    tokens: int

    @property
    def mean_share(self) -> float:
        """Over the noise levels."""
        return sum(self.share) / len(self.share)

    @property
    def kind(self) -> str:
        """ "dimension", "token" or "": what its label speaks of."""
        return next((kind for kind in KINDS if kind in self.label), "")

    @property
    def is_control(self) -> bool:
        """Whether its label says so."""
        return self.label.startswith(CONTROL.strip(" :"))


class Responses(NamedTuple):
    """What every variant does at the chosen steps.

    Attributes:
        steps: numbers of the steps, from 1.
        sigmas: their noise levels.
        rows: one for each variant, in their order.
        removed: the relative change of the velocity that removing the prompt makes, per step.
        tokens: of the base's caption.
    """

    steps: tuple[int, ...]
    sigmas: tuple[float, ...]
    rows: tuple[Response, ...]
    removed: tuple[float, ...]
    tokens: int

    @property
    def controls(self) -> dict[str, tuple[float, float]]:
        """Kind of control ("dimension", "token", "") -> the smallest and the largest share that any
        control of that kind has at any step; empty without controls."""
        shares: dict[str, list[float]] = {}
        for row in self.rows:
            if row.is_control:
                finite = [share for share in row.share if math.isfinite(share)]
                shares.setdefault(row.kind, []).extend(finite)
        return {kind: (min(some), max(some)) for kind, some in shares.items() if some}

    def controls_of(self, row: Response) -> tuple[float, float] | None:
        """The smallest and the largest share of the controls to compare ``row`` with: those of its
        kind, or of all kinds where there are none of its own; None without a control."""
        if not self.controls:
            return None
        lows, highs = zip(*self.controls.values(), strict=True)
        return self.controls.get(row.kind, (min(lows), max(highs)))

    def crosses(self, row: Response) -> bool:
        """Whether the caption is filled to another length than the base's."""
        return -(-row.tokens // PAD_MULTIPLE) != -(-self.tokens // PAD_MULTIPLE)


def relative_change(x: Tensor, base: Tensor, other: Tensor) -> float:
    """``||other - base|| / ||x - base||`` in float64: how much the velocity changes.

    Args:
        x: the noisy latent, any shape.
        base, other: two predictions of the clean one from it.
    """
    whole = torch.linalg.vector_norm((x.double() - base.double()).flatten())
    change = torch.linalg.vector_norm((other.double() - base.double()).flatten())
    return float(change / whole) if float(whole) > 0 else float("nan")


def share_of(change: float, removed: float) -> float:
    """``change`` over that of an emptied caption; NaN where that changes nothing."""
    return change / removed if removed > 0 else float("nan")


def verdict(responses: Responses, padded: bool = True) -> list[str]:
    """What the table says in a few sentences.

    Args:
        padded: whether the model fills captions to multiples of :data:`PAD_MULTIPLE` tokens.
    """
    judged = [row for row in responses.rows if not row.is_control]
    lines = []
    if judged:
        most = max(judged, key=lambda row: _sortable(row.mean_share))
        lines.append(
            f"largest response: {most.label}, {percent(most.mean_share)} of what removing the "
            "prompt does"
        )
    if responses.controls:
        spans = [
            f"{kind or 'all'} {percent(low)} to {percent(high)}"
            for kind, (low, high) in responses.controls.items()
        ]
        above = [
            row.label for row in judged if _sortable(row.mean_share) > responses.controls_of(row)[1]
        ]
        lines.append(
            f"controls: {', '.join(spans)}; above all controls of their kind: "
            f"{len(above)} of {len(judged)}" + (f": {', '.join(above[:5])}" if above else "")
        )
    crossing = [row.label for row in responses.rows if responses.crosses(row)] if padded else []
    if crossing:
        lines.append(
            f"the captions are filled to a multiple of {PAD_MULTIPLE} tokens, and these to another "
            f"one than the base's {responses.tokens}, which alone moves the image: "
            + ", ".join(crossing[:5])
        )
    return lines


def response_table(responses: Responses) -> str:
    """A plain-text table: share of every variant at every step, and the velocity's change."""
    header = (
        "variant",
        "tokens",
        *(
            f"step {step} (sigma {sigma:.3g})"
            for step, sigma in zip(responses.steps, responses.sigmas, strict=True)
        ),
        "mean",
        "velocity changes",
    )
    rows = [
        (
            row.label,
            str(row.tokens),
            *(percent(share) for share in row.share),
            percent(row.mean_share),
            ", ".join(percent(value) for value in row.velocity),
        )
        for row in responses.rows
    ]
    removed = (
        "no prompt (emptied)",
        str(responses.tokens),
        *(percent(1.0) for _ in responses.steps),
        percent(1.0),
        ", ".join(percent(value) for value in responses.removed),
    )
    return table(header, [*rows, removed], len(rows) + 1)


def percent(share: float) -> str:
    """A share with three digits that count.

    >>> percent(0.0031), percent(0.74), percent(0.0)
    ('0.31 %', '74 %', '0 %')
    """
    return "-" if not math.isfinite(share) else f"{100 * share:.3g} %"


def parse_steps(text: str, steps: int) -> tuple[int, ...]:
    """The numbers of steps in ``text``, "1, 4, 7", in rising order, each once.

    Raises:
        ValueError: for no number, or one that is not from 1 to ``steps``.
    """
    words = [word.strip() for word in str(text).split(",") if word.strip()]
    for word in words:
        if not (word.isascii() and word.isdigit() and 1 <= int(word) <= steps):
            raise ValueError(
                f"at has {word[:20]!r}, which is no step of 1 to {steps}: give such numbers, with "
                "commas between them"
            )
    if not words:
        raise ValueError(f"at is empty: give at least one step of 1 to {steps}, such as 1")
    return tuple(sorted({int(word) for word in words}))


def check_labels(labels: Sequence[str], variants: int) -> list[str]:
    """One label per variant: those given, or "variant 1", "variant 2", ... where there are none.

    A single text of several lines is one label a line.

    Raises:
        ValueError: if their number does not match.
    """
    lines = [line for label in labels for line in str(label).splitlines() if line.strip()]
    if not lines:
        return [f"variant {number + 1}" for number in range(variants)]
    if len(lines) != variants:
        raise ValueError(
            f"there are {variants} variants and {len(lines)} labels: connect the labels of the "
            "node that made the variants, or leave them empty"
        )
    return lines


def _sortable(share: float) -> float:
    return share if math.isfinite(share) else -1.0
