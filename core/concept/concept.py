"""A concept: the direction from states without something to states with it, and its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import shortened
from ..measure.reference import UNNAMED
from ..taps.layout import Taps


class ConceptPart(NamedTuple):
    """A concept in one layer.

    Attributes:
        unit: (width,) float64 of length 1, or zeros where the layer does not have the concept.
        size: length of the difference of means over that of a token, both after RMSNorm.
        baseline: cosine of the mean token without the concept (after RMSNorm, its length taken as
            that of a token) with ``unit``.
    """

    unit: Tensor
    size: float
    baseline: float


@dataclass(frozen=True)
class Concept:
    """What prompts with something have and prompts without it have not.

    Attributes:
        direction: (dimensions,) float64, the difference of means after RMSNorm, loud dimensions
            limited (:func:`.direction.find_direction`). Where tokens have rms 1, to add it is to
            add the concept once.
        baseline: (dimensions,) float64, the mean token without the concept, after RMSNorm.
        spread: (dimensions,) float64, std within a prompt after RMSNorm; zeros where every prompt
            has one token.
        taps: the layers side by side in these vectors; None for one layer.
        prompts: pairs of (with, without); for images the texts beside them.
        provenance: model, fingerprint, layer, pairs, tokens, consistency, date, command: whatever
            is known.
    """

    direction: Tensor
    baseline: Tensor
    spread: Tensor
    taps: Taps | None = None
    prompts: tuple[tuple[str, str], ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        for name in ("direction", "baseline", "spread"):
            vector = getattr(self, name)
            if vector.ndim != 1 or vector.shape != self.direction.shape or not len(vector):
                raise ValueError(f"{name} has shape {tuple(vector.shape)}, not (dimensions,)")
            if not bool(vector.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinity")
        if not bool(self.direction.any()):
            raise ValueError("direction is all zeros")
        if bool((self.spread < 0).any()):
            raise ValueError("spread holds a negative value")
        if self.taps is not None and self.taps.total != self.dimensions:
            raise ValueError(
                f"direction has {self.dimensions} dimensions, and its taps have {self.taps.total}"
            )

    @property
    def dimensions(self) -> int:
        """How many dimensions a token's state has, all taps together."""
        return len(self.direction)

    @property
    def layout(self) -> Taps:
        """:attr:`taps`; one layer counts as one tap."""
        return self.taps or Taps((None,), self.dimensions)

    @property
    def layer_in_words(self) -> str:
        """ "layer -2", "layers 9, 18, 27 side by side" or "unknown layer"."""
        if self.taps is not None:
            return f"{self.taps.in_words} side by side"
        layer = self.provenance.get("layer")
        return f"layer {layer}" if layer else "unknown layer"

    @property
    def name(self) -> str:
        """The first pair, the model and the layer, in words, for reports."""
        model = self.provenance.get("model", UNNAMED)
        first = next((pair for pair in self.prompts if any(pair)), None)
        words = " against ".join(map(shortened, first)) + ", " if first else ""
        return f"{words}{model} at {self.layer_in_words}"

    @property
    def parts(self) -> list[ConceptPart]:
        """One for each tap."""
        vectors = zip(self._split(self.direction), self._split(self.baseline), strict=True)
        return [_part(direction, baseline) for direction, baseline in vectors]

    def _split(self, vector: Tensor) -> list[Tensor]:
        return [part[0, 0] for part in self.layout.split(vector[None, None])]

    def parts_for(
        self, dimensions: int, taps: Taps | None, layers: Sequence[int | None]
    ) -> list[ConceptPart | None]:
        """What moves each tap of a conditioning; None: nothing does.

        A concept of one layer moves the taps of its own layer; where no tap is of its layer, all.

        Args:
            dimensions: of the conditioning's tokens.
            taps: its layout, None for one layer.
            layers: the layer (negative) of each tap, None where it is not known.

        Raises:
            ValueError: if the concept is of another width or number of layers.
        """
        parts = self.parts
        if self.taps is None and taps is not None and self.dimensions == taps.width:
            own = [str(layer) == self.provenance.get("layer") for layer in layers]
            return [parts[0] if fits or not any(own) else None for fits in own]
        fits = taps is None or (len(taps), taps.width) == (len(self.layout), self.layout.width)
        if dimensions != self.dimensions or not fits:
            how = f"{len(taps)} layers of {taps.width}" if taps else f"{dimensions}"
            own = f"{len(self.taps)} layers of {self.taps.width}" if self.taps else self.dimensions
            raise ValueError(
                f"the concept ({self.name}) has {own} dimensions and the conditioning {how}: they "
                "do not fit; make the concept with the text encoder that the conditioning is of"
            )
        return parts

    def remarks(
        self, taps: Taps | None, layers: Sequence[int | None], fingerprint: str, source: str
    ) -> list[str]:
        """What may be wrong with moving states by this concept, one line each.

        Args:
            taps, layers: of the states, as for :meth:`parts_for`.
            fingerprint, source: the model that the states come from, "" if not known, and its name.
        """
        known, lines = self.provenance, []
        own = known.get("fingerprint", "")
        if own and fingerprint and own != fingerprint:
            lines.append(
                f"the concept is of another model, {known.get('model', UNNAMED)} (fingerprint "
                f"{own}; these states are of {source}, fingerprint {fingerprint})"
            )
        if self.taps is not None:
            if taps is not None and taps.known and taps.layers != self.taps.layers:
                lines.append(f"the concept is of {self.taps.in_words}, the states {taps.in_words}")
        elif "layer" in known and None not in layers and known["layer"] not in map(str, layers):
            states = f"layer {layers[0]}" if taps is None else taps.in_words
            lines.append(f"the concept is of layer {known['layer']} and the states of {states}")
        return lines


def _part(direction: Tensor, baseline: Tensor) -> ConceptPart:
    root = len(direction) ** 0.5
    length = float(torch.linalg.vector_norm(direction))
    if length == 0:
        return ConceptPart(direction, 0.0, 0.0)
    unit = direction / length
    return ConceptPart(unit, length / root, float(baseline @ unit) / root)
