"""Statistics of every hidden state of a model over a list of prompts, and their summary.

The words are the field's: a massive activation *emerges* at one layer, stays, and *falls* before
the end (arXiv 2603.05498, 2605.08504).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..encoder.layers import is_normed, negative_layer
from ..measure.dimension_stats import Place
from ..measure.histogram import MagnitudeHistogram
from ..measure.sinks import find_sinks
from ..measure.split_stats import SplitStats, selected_rows
from ..outliers.detection import Outlier, expected_for, find_outliers

SCHEMA_VERSION = 1
MASSIVE_ABSOLUTE, MASSIVE_RELATIVE = 100.0, 1000.0
"""Sun et al. 2024: a massive activation is over 100 and over 1000 times its layer's median."""


@dataclass
class ProfileStats:
    """Streaming statistics of some or all hidden states of a decoder of ``blocks`` blocks.

    Memory grows with the prompts by 16 bytes per sink token and layer, and by nothing else.

    Attributes:
        indices: the hidden states that are measured, ascending.
        dimensions: hidden state -> statistics of every dimension, sink tokens apart.
        magnitudes: hidden state -> histogram, for the median of |x|.
        sinks: hidden state -> [prompt, position, prompt, position, ...] of its sink tokens.
    """

    blocks: int
    width: int
    indices: tuple[int, ...] = ()
    prompts: int = 0
    tokens: int = 0
    dimensions: dict[int, SplitStats] = field(init=False)
    magnitudes: dict[int, MagnitudeHistogram] = field(init=False)
    sinks: dict[int, array] = field(init=False)

    def __post_init__(self) -> None:
        self.indices = tuple(sorted(set(self.indices))) or tuple(range(self.blocks + 1))
        self.dimensions = {index: SplitStats(self.width) for index in self.indices}
        self.magnitudes = {index: MagnitudeHistogram() for index in self.indices}
        self.sinks = {index: array("q") for index in self.indices}

    def update(self, states: Mapping[int, Tensor]) -> None:
        """Add the next prompt: hidden state -> (tokens, width)."""
        batch = {index: states[index].unsqueeze(0) for index in self.indices}
        selected = torch.ones(batch[self.indices[0]].shape[:2], dtype=torch.bool)
        self.update_batch(batch, selected, [self.prompts])

    def update_batch(
        self, states: Mapping[int, Tensor], selected: Tensor, numbers: Sequence[int]
    ) -> None:
        """Add several prompts.

        Args:
            states: hidden state -> (batch, tokens, width).
            selected: (batch, tokens) bool, False on padding, which is not counted anywhere.
            numbers: each prompt's number, from 0, for the :class:`.Place` of its tokens.
        """
        for index in self.indices:
            self.update_layer(index, states[index], selected, numbers)
        self.finish_batch(selected)

    def update_layer(
        self, index: int, hidden: Tensor, selected: Tensor, numbers: Sequence[int]
    ) -> None:
        """Add one hidden state (batch, tokens, width) of a batch; see :meth:`update_batch`.

        Once every hidden state in ``indices`` is added, call :meth:`finish_batch`.
        """
        selected = selected.cpu()
        sinks = find_sinks(hidden, selected).cpu()
        tokens, order = hidden.shape[1], torch.tensor(list(numbers))
        layer = self.dimensions[index]
        for stats, chosen in (
            (layer.without_sinks, selected & ~sinks),
            (layer.sinks, selected & sinks),
        ):
            rows, places = selected_rows(hidden, chosen)
            stats.update(rows, places % tokens, order[places // tokens])
            self.magnitudes[index].update(rows)
        for row, position in sinks.nonzero().tolist():
            self.sinks[index].extend((numbers[row], position))

    def finish_batch(self, selected: Tensor) -> None:
        """Count the prompts and tokens of a batch whose hidden states were all added."""
        self.prompts += len(selected)
        self.tokens += int(selected.sum())

    def merge(self, other: ProfileStats) -> ProfileStats:
        """A new object with both; they must measure the same hidden states."""
        if (self.blocks, self.width, self.indices) != (other.blocks, other.width, other.indices):
            raise ValueError("profiles of different models or layers cannot be merged")
        merged = ProfileStats(self.blocks, self.width, self.indices)
        merged.prompts = self.prompts + other.prompts
        merged.tokens = self.tokens + other.tokens
        for index in self.indices:
            merged.dimensions[index] = self.dimensions[index].merge(other.dimensions[index])
            merged.magnitudes[index] = self.magnitudes[index].merge(other.magnitudes[index])
            merged.sinks[index] = self.sinks[index] + other.sinks[index]
        return merged

    def sink_positions(self, index: int) -> tuple[tuple[int, ...], ...]:
        """Per prompt, the positions of its sink tokens at hidden state ``index``."""
        found: list[list[int]] = [[] for _ in range(self.prompts)]
        pairs = self.sinks[index]
        for prompt, position in zip(pairs[::2], pairs[1::2], strict=True):
            found[prompt].append(position)
        return tuple(tuple(sorted(positions)) for positions in found)


@dataclass(frozen=True)
class LayerProfile:
    """What was measured of one hidden state.

    Attributes:
        layer: the negative layer number, -1 for the last hidden state.
        index: the hidden state, 0 for the embeddings.
        normed: whether the decoder's final norm has been applied.
        median_abs, max_abs: median and largest |x| over tokens and dimensions.
        std, std_without_sinks: std of all values, tokens x width, with and without sink tokens.
        outliers: dimensions whose std is out of line by the profile's threshold.
        massive: dimensions with a massive activation (Sun et al., arXiv 2402.17762): |x| over 100
            and over 1000 times the layer's median.
        non_finite: values that are NaN or infinite; they are left out of everything else.
    """

    layer: int
    index: int
    normed: bool
    median_abs: float
    max_abs: float
    std: float
    std_without_sinks: float
    outliers: tuple[Outlier, ...]
    massive: tuple[int, ...]
    non_finite: int


@dataclass(frozen=True)
class Profile:
    """All hidden states of one model; ``to_json`` is the documented ``profile.json``.

    Attributes:
        threshold: a std over this many times the median std, or under its reciprocal, is out of
            line.
        emergence_layer: hidden state with the largest relative rise of max|x| over the one before;
            None if not all hidden states were measured.
        fall_layer: un-normed hidden state with the largest relative drop after it; None likewise,
            or if nothing drops.
        sink_positions: per prompt, at the layer after emergence (where that is not known: at the
            deepest un-normed layer measured).
        image_tokens: where each prompt was an image, which of its tokens were measured: "image" or
            "all"; empty where they were texts.
    """

    model: str
    blocks: int
    width: int
    prompts: int
    tokens: int
    threshold: float
    emergence_layer: int | None
    fall_layer: int | None
    sink_positions: tuple[tuple[int, ...], ...]
    layers: tuple[LayerProfile, ...]
    image_tokens: str = ""

    @property
    def unit(self) -> str:
        """What one prompt is called: "prompt", or "image" where each was one."""
        return "image" if self.image_tokens else "prompt"

    @property
    def measured(self) -> str:
        """How much was measured, in words: "12 prompts, 595 tokens"."""
        kind = "image tokens" if self.image_tokens == "image" else "tokens"
        return f"{self.prompts} {self.unit}{'s' * (self.prompts != 1)}, {self.tokens} {kind}"

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
            "images": self.prompts if self.image_tokens else 0,
            "image_tokens": self.image_tokens or None,
            "threshold": self.threshold,
            "sink_positions": [list(positions) for positions in self.sink_positions],
            "emergence_layer": self.emergence_layer,
            "fall_layer": self.fall_layer,
            "layers": [_layer_json(layer, token_text) for layer in self.layers],
        }


def summarise(
    stats: ProfileStats, model: str, threshold: float = 10.0, image_tokens: str = ""
) -> Profile:
    """The profile computed from streamed statistics.

    A dimension's ratio is its std over the median std of its layer's dimensions. ``image_tokens``:
    see :class:`Profile`.

    Raises:
        ValueError: if no prompt was added, or for a bad threshold.
    """
    if stats.prompts == 0:
        raise ValueError("there is nothing to profile: no prompt was given")
    layers = tuple(_summarise_layer(stats, index, threshold) for index in stats.indices)
    emergence = fall = None
    # The hidden state whose sink tokens are named; see Profile.sink_positions.
    sink_index = max((i for i in stats.indices if i < stats.blocks), default=stats.blocks)
    if len(layers) == stats.blocks + 1:
        emergence, fall = rise_and_fall([layer.max_abs for layer in layers])
        sink_index = min(emergence + 1, stats.blocks - 1)
    return Profile(
        model=model,
        blocks=stats.blocks,
        width=stats.width,
        prompts=stats.prompts,
        tokens=stats.tokens,
        threshold=threshold,
        emergence_layer=emergence,
        fall_layer=fall,
        sink_positions=stats.sink_positions(sink_index),
        layers=layers,
        image_tokens=image_tokens,
    )


def left_out(profile: Profile) -> list[str]:
    """One line for each hidden state that held NaN or infinity."""
    return [
        f"hidden state {layer.index} held {layer.non_finite} NaN or infinite values, which are "
        "left out"
        for layer in profile.layers
        if layer.non_finite
    ]


def rise_and_fall(max_abs: list[float]) -> tuple[int, int | None]:
    """Emergence and fall from max|x| of hidden states 0..N, of which the last one is normed.

    Emergence is the hidden state with the largest relative rise over the one before, fall the one
    with the largest relative drop after that (None if there is none), among the un-normed states.
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
    split = stats.dimensions[index]
    whole = split.all
    median = stats.magnitudes[index].median()
    massive = (whole.max_abs > MASSIVE_ABSOLUTE) & (whole.max_abs > MASSIVE_RELATIVE * median)
    return LayerProfile(
        layer=negative_layer(index, stats.blocks),
        index=index,
        normed=is_normed(index, stats.blocks),
        median_abs=median,
        max_abs=float(whole.max_abs.max()),
        std=whole.global_std,
        std_without_sinks=split.without_sinks.global_std,
        outliers=tuple(find_outliers(split, expected_for(split, None), threshold)),
        massive=tuple(massive.nonzero().flatten().tolist()),
        non_finite=whole.non_finite,
    )


def _layer_json(layer: LayerProfile, token_text: Callable[[Place], str]) -> dict[str, Any]:
    entry = {**asdict(layer), "massive": list(layer.massive)}
    if math.isnan(layer.median_abs):
        entry["median_abs"] = None  # nothing finite was seen
    entry["outliers"] = [
        {
            "dimension": outlier.dimension,
            "std": outlier.std,
            "std_without_sinks": outlier.std_without_sinks,
            "reference_std": outlier.reference_std,
            # JSON has no infinity: a ratio to a reference of zero is null.
            "ratio": outlier.ratio if math.isfinite(outlier.ratio) else None,
            "direction": outlier.direction,
            "sink_share": outlier.sink_share,
            "class": outlier.kind,
            "top_token": {**outlier.top._asdict(), "text": token_text(outlier.top)},
        }
        for outlier in layer.outliers
    ]
    return entry
