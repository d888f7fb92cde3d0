"""Statistics of every hidden state of a model over a list of prompts, and what they say.

The words are the field's: a massive activation *emerges* at one layer, stays, and *falls* before
the end (arXiv 2603.05498, 2605.08504).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from .channel_stats import Place, SplitStats
from .layers import is_normed, negative_layer
from .magnitudes import MagnitudeHistogram
from .outliers import Outlier, baseline_for, find_outliers
from .sinks import find_sinks

SCHEMA_VERSION = 1


@dataclass
class ProfileStats:
    """Streaming statistics of hidden states 0..``blocks``; constant memory but for sink places.

    Attributes:
        channels: per hidden state, sinks and content apart.
        magnitudes: per hidden state, for the median of |x|.
        sinks: per hidden state, per prompt: positions of its sink tokens at that layer.
    """

    blocks: int
    width: int
    prompts: int = 0
    tokens: int = 0
    channels: list[SplitStats] = field(init=False)
    magnitudes: list[MagnitudeHistogram] = field(init=False)
    sinks: list[list[list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        states = range(self.blocks + 1)
        self.channels = [SplitStats(self.width) for _ in states]
        self.magnitudes = [MagnitudeHistogram() for _ in states]
        self.sinks = [[] for _ in states]

    def update(self, states: Mapping[int, Tensor]) -> None:
        """Add one prompt: hidden state index -> (tokens, width), every index 0..``blocks``."""
        for index in range(self.blocks + 1):
            hidden = states[index]
            sinks = find_sinks(hidden.unsqueeze(0))[0]
            self.channels[index].update(hidden, sinks=sinks, prompt=self.prompts)
            self.magnitudes[index].update(hidden)
            self.sinks[index].append(sinks.nonzero().flatten().tolist())
        self.prompts += 1
        self.tokens += len(states[0])


@dataclass(frozen=True)
class LayerProfile:
    """One hidden state; ``std`` is of all its values, tokens x width, together."""

    layer: int
    index: int
    normed: bool
    median_abs: float
    max_abs: float
    std: float
    std_without_sinks: float
    outliers: tuple[Outlier, ...]


@dataclass(frozen=True)
class Profile:
    """All hidden states of one model; ``to_json`` is the documented ``profile.json``.

    Attributes:
        emergence_layer: hidden state with the largest relative rise of max|x| over the one before.
        fall_layer: un-normed hidden state with the largest relative drop after it, None if there
            is none after it.
        sink_positions: per prompt, at the layer after emergence.
    """

    model: str
    blocks: int
    width: int
    prompts: int
    tokens: int
    emergence_layer: int
    fall_layer: int | None
    sink_positions: tuple[tuple[int, ...], ...]
    layers: tuple[LayerProfile, ...]

    def layer(self, number: int) -> LayerProfile:
        """The entry of a negative layer number."""
        return next(entry for entry in self.layers if entry.layer == number)

    def to_json(self, token_text: Callable[[Place], str]) -> dict[str, Any]:
        """``profile.json``, schema version 1; ``token_text`` gives the text of a token."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": {"name": self.model, "blocks": self.blocks, "width": self.width},
            "tokens": self.tokens,
            "prompts": self.prompts,
            "sink_positions": [list(positions) for positions in self.sink_positions],
            "emergence_layer": self.emergence_layer,
            "fall_layer": self.fall_layer,
            "layers": [_layer_json(layer, token_text) for layer in self.layers],
        }


def summarise(stats: ProfileStats, model: str, threshold: float = 10.0) -> Profile:
    """The profile that streamed statistics amount to.

    A dimension's ratio is its std over the median std of its layer's dimensions.

    Raises:
        ValueError: if no prompt was added, or for a bad threshold.
    """
    if stats.prompts == 0:
        raise ValueError("there is nothing to profile: no prompt was given")
    layers = tuple(_summarise_layer(stats, index, threshold) for index in range(stats.blocks + 1))
    emergence, fall = rise_and_fall([layer.max_abs for layer in layers])
    settled = min(emergence + 1, stats.blocks - 1)
    return Profile(
        model=model,
        blocks=stats.blocks,
        width=stats.width,
        prompts=stats.prompts,
        tokens=stats.tokens,
        emergence_layer=emergence,
        fall_layer=fall,
        sink_positions=tuple(tuple(positions) for positions in stats.sinks[settled]),
        layers=layers,
    )


def rise_and_fall(max_abs: list[float]) -> tuple[int, int | None]:
    """Emergence and fall from max|x| of hidden states 0..N, of which the last one is normed.

    The largest relative rise over the state before, and the largest relative drop after it; both
    among the un-normed states.
    """
    peaks = torch.tensor(max_abs[:-1], dtype=torch.float64).clamp(min=1e-30).log()
    if len(peaks) < 2:
        return 0, None
    steps = peaks.diff()
    emergence = int(steps.argmax()) + 1
    after = steps[emergence:]
    if len(after) == 0 or float(after.min()) >= 0:
        return emergence, None
    return emergence, emergence + int(after.argmin()) + 1


def _summarise_layer(stats: ProfileStats, index: int, threshold: float) -> LayerProfile:
    channels = stats.channels[index]
    whole = channels.all
    return LayerProfile(
        layer=negative_layer(index, stats.blocks),
        index=index,
        normed=is_normed(index, stats.blocks),
        median_abs=stats.magnitudes[index].median(),
        max_abs=float(whole.max_abs.max()),
        std=whole.global_std,
        std_without_sinks=channels.content.global_std,
        outliers=tuple(find_outliers(channels, baseline_for(channels, None), threshold)),
    )


def _layer_json(layer: LayerProfile, token_text: Callable[[Place], str]) -> dict[str, Any]:
    entry = asdict(layer)
    entry["outliers"] = [
        {
            "dimension": outlier.dimension,
            "std": outlier.std,
            "std_without_sinks": outlier.std_without_sinks,
            "reference_std": outlier.reference_std,
            "ratio": outlier.ratio,
            "direction": outlier.direction,
            "sink_share": outlier.sink_share,
            "class": outlier.kind,
            "top_token": {**outlier.top._asdict(), "text": token_text(outlier.top)},
        }
        for outlier in layer.outliers
    ]
    return entry
