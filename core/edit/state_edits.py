"""Edits of a caption's states in a fixed order: a layer or a mix, masking, normalizing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..encoder.layers import (
    hidden_state_index,
    negative_layer,
    parse_layer_weights,
    parse_layers,
)
from ..measure.reference import Reference
from ..outliers.detection import default_reference
from ..record.record import Record
from ..tables import enumerate_some
from .layer_mix import MEAN_OF_NORMALISED, mix_layers
from .masking import SINK_MODES, MaskResult, mask_states
from .normalizing import NEEDS_REFERENCE, normalize

MOST_NAMED = 12
"""Dimensions that a record names."""


@dataclass(frozen=True)
class LayerChoice:
    """One layer, or a mix of several.

    Attributes:
        indices: the hidden states that it is made of.
        shares: a weight for each of ``indices``; empty for one layer, and for the method "mean of
            normalised layers".
        method: of :func:`.mix_layers`; empty for one layer.
        layer: the negative layer number; None for a mix.
        name: "-6", or the mix as Layer Mix writes it: "-2: 0.5, -6: 0.5".
    """

    indices: tuple[int, ...]
    shares: tuple[float, ...]
    method: str
    layer: int | None
    name: str

    @classmethod
    def parse(cls, text: str, method: str, blocks: int) -> LayerChoice:
        """From "-6", or "-2: 0.5, -6: 0.5" for a mix by ``method``; "all" is the mean of all
        layers after normalization, whatever ``method`` is.

        Raises:
            LayerRangeError: if the encoder of ``blocks`` blocks has no such layer.
            ValueError: if it is neither.

        >>> LayerChoice.parse("-6", "rms matched", 36).indices
        (31,)
        """
        if text.strip() == "all":
            layers = parse_layers("all", blocks)
            indices = tuple(hidden_state_index(layer, blocks) for layer in layers)
            return cls(indices, (), MEAN_OF_NORMALISED, None, "all")
        if ":" not in text:
            layers = parse_layers(text, blocks)
            if len(layers) != 1:
                raise ValueError(
                    f"{text!r} names {len(layers)} layers: give one such as -6, or a mix with a "
                    "weight for each, such as -2: 0.5, -6: 0.5"
                )
            index = hidden_state_index(layers[0], blocks)
            return cls((index,), (), "", layers[0], str(layers[0]))
        weights = parse_layer_weights(text, blocks)
        used = {layer: weight for layer, weight in weights.items() if weight}
        name = ", ".join(f"{layer}: {weight:g}" for layer, weight in used.items())
        indices = tuple(hidden_state_index(layer, blocks) for layer in used)
        if len(used) == 1:
            layer = negative_layer(indices[0], blocks)
            return cls(indices, (), "", layer, str(layer))
        return cls(indices, tuple(used.values()), method, None, name)

    @property
    def edit(self) -> str:
        """The mix as the record's list of edits has it; empty for one layer."""
        return f"layer mix: {self.method}, {self.name}" if self.method else ""

    def choose(self, states: Mapping[int, Tensor]) -> Tensor:
        """``states`` (hidden state index -> (..., tokens, width)) in one, in float32."""
        chosen = [states[index].float() for index in self.indices]
        return mix_layers(chosen, self.shares, self.method) if self.method else chosen[0]


@dataclass(frozen=True)
class StateEdits:
    """What is done to states after their layer was chosen; the default is nothing.

    Attributes:
        mask, threshold, direction, exclude_sinks: of :func:`.mask_states`; "" masks nothing.
        normalize, keep_sinks: of :func:`.normalize`; "" leaves the scale.
        reference: what both measure against. None: as the nodes, the published Qwen3-4B figures
            for states of width 2560 at layer -2, else the states' own.
    """

    mask: str = ""
    threshold: float = 10.0
    direction: str = "loud"
    exclude_sinks: bool = False
    normalize: str = ""
    keep_sinks: bool = True
    reference: Reference | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The edits that were asked for, in words."""
        names = []
        if self.mask in SINK_MODES:
            names.append(f"outlier mask: {self.mask}")
        elif self.mask:
            sinks = ", judged without sinks" if self.exclude_sinks else ""
            names.append(
                f"outlier mask: {self.mask}, threshold {self.threshold:g}, {self.direction}{sinks}"
            )
        if self.normalize:
            sinks = "sinks kept" if self.keep_sinks else "sinks too"
            names.append(f"normalize: {self.normalize}, {sinks}")
        return tuple(names)

    def apply(self, hidden: Tensor, record: Record) -> tuple[Tensor, Record]:
        """``hidden`` (1, tokens, width) after the edits, and its record.

        Raises:
            ValueError: as :func:`.mask_states` and :func:`.normalize`, NonFiniteError among them.
        """
        published = default_reference(hidden.shape[-1], None) if record.layer == -2 else None
        if self.mask:
            result = mask_states(
                hidden,
                mode=self.mask,
                threshold=self.threshold,
                direction=self.direction,
                exclude_sinks=self.exclude_sinks,
                reference=self.reference or published,
            )
            record = record.take(result.kept)
            if not torch.equal(result.hidden, hidden):
                record = record.with_edit(f"{self.names[0]}{self._masked(result)}")
            hidden = result.hidden
        if self.normalize:
            own = published if self.normalize in NEEDS_REFERENCE else None
            normal = normalize(hidden, self.normalize, self.reference or own, self.keep_sinks)
            if not torch.equal(normal.hidden, hidden):
                record = record.with_edit(f"{self.names[-1]}, to {normal.target}")
            hidden = normal.hidden
        return hidden, record

    def _masked(self, result: MaskResult) -> str:
        """What was masked, for the end of the record's edit."""
        if self.mask in SINK_MODES:
            return f": token {', '.join(map(str, result.touched_sinks))}"
        shown = enumerate_some([str(dimension) for dimension in result.masked], MOST_NAMED)
        return f", against {result.expected.name}: {len(result.masked)} dimensions: {shown}"
