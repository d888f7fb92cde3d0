"""Which hidden states of a profile an image model takes, several at once, and what is there."""

from __future__ import annotations

from typing import NamedTuple

from ..taps.known import models_of_encoder
from .profile import LayerProfile, Profile


class TappedLayers(NamedTuple):
    """Attributes:
    model: the image model.
    encoder: the language model that it taps.
    layers: of the profile, those that it takes.
    """

    model: str
    encoder: str
    layers: tuple[LayerProfile, ...]

    @property
    def in_words(self) -> str:
        """How many dimensions are out of line at each of them, and the farthest of all."""
        counts = ", ".join(f"{layer.index}: {len(layer.outliers)}" for layer in self.layers)
        found = [
            (max(one.judged_ratio, 1 / one.judged_ratio if one.judged_ratio else 0), layer, one)
            for layer in self.layers
            for one in layer.outliers[:1]
        ]
        words = f"{self.model} takes hidden states of {self.encoder}; dimensions out of line at "
        if not found:
            return f"{words}each of them: {counts}"
        _, layer, one = max(found, key=lambda entry: entry[0])
        return (
            f"{words}each of them: {counts}; farthest is dimension {one.dimension} at hidden state "
            f"{layer.index}, {one.kind_in_words}"
        )


def tapped_layers(profile: Profile) -> list[TappedLayers]:
    """For each image model that taps an encoder of this many blocks and dimensions.

    Only what was measured is in it; a model of which no layer was is left out.
    """
    by_index = {layer.index: layer for layer in profile.layers}
    found = []
    for model in models_of_encoder(profile.blocks, profile.width):
        layers = tuple(by_index[index] for index in model.taps.layers if index in by_index)
        if layers:
            found.append(TappedLayers(model.name, model.encoder, layers))
    return found
