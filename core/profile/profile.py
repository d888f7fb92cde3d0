"""Statistics of every hidden state of a model over a list of prompts, and their summary.

The words are the field's: a massive activation *emerges* at one layer, stays, and *falls* before
the end (arXiv 2603.05498, 2605.08504).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..encoder.layers import is_normed, negative_layer
from ..measure.carriers import Carried, Carriers
from ..measure.dimension_stats import Place
from ..measure.histogram import MagnitudeHistogram
from ..measure.reference import Reference
from ..measure.sink_positions import MOST_LISTED, SinkPositions
from ..measure.sinks import find_sinks, sequence_medians
from ..measure.split_stats import SplitStats, selected_rows
from ..outliers.detection import Outlier, expected_for, find_outliers

SCHEMA_VERSION = 1
MASSIVE_ABSOLUTE, MASSIVE_RELATIVE = 100.0, 1000.0
"""Sun et al. 2024: a massive activation is over 100 and over 1000 times its layer's median."""
LEAST_FALL = 2.0
"""A drop to more than the inverse of this is no fall (design choice)."""
REPORTED_LAYERS = (-2, -6)
"""Layers whose loudest dimension is followed through all hidden states."""


@dataclass
class ProfileStats:
    """Streaming statistics of some or all hidden states of a decoder of ``blocks`` blocks.

    Memory grows with the prompts by 56 bytes per pair of a dimension and a token of the vocabulary
    that has a far value there (:class:`.Carriers`), and over the first 10,000 of them by 16 bytes
    per sink token and layer.

    Attributes:
        indices: the hidden states that are measured, ascending.
        dimensions: hidden state -> statistics of every dimension, sink tokens apart.
        magnitudes: hidden state -> histogram, for the median of |x|.
        carriers: hidden state -> what each position and token carries of each dimension.
        sinks: hidden state -> where its sink tokens stand.
    """

    blocks: int
    width: int
    indices: tuple[int, ...] = ()
    prompts: int = 0
    tokens: int = 0
    dimensions: dict[int, SplitStats] = field(init=False)
    magnitudes: dict[int, MagnitudeHistogram] = field(init=False)
    sinks: dict[int, SinkPositions] = field(init=False)
    carriers: dict[int, Carriers] = field(init=False)

    def __post_init__(self) -> None:
        self.indices = tuple(sorted(set(self.indices))) or tuple(range(self.blocks + 1))
        self.dimensions = {index: SplitStats(self.width) for index in self.indices}
        self.magnitudes = {index: MagnitudeHistogram() for index in self.indices}
        self.sinks = {index: SinkPositions() for index in self.indices}
        self.carriers = {index: Carriers(self.width) for index in self.indices}

    def update(self, states: Mapping[int, Tensor], ids: Sequence[int] | None = None) -> None:
        """Add the next prompt: hidden state -> (tokens, width), and its token ids if known."""
        batch = {index: states[index].unsqueeze(0) for index in self.indices}
        selected = torch.ones(batch[self.indices[0]].shape[:2], dtype=torch.bool)
        numbers = None if ids is None else torch.tensor(list(ids))[None]
        self.update_batch(batch, selected, [self.prompts], numbers)

    def update_batch(
        self,
        states: Mapping[int, Tensor],
        selected: Tensor,
        numbers: Sequence[int],
        ids: Tensor | None = None,
    ) -> None:
        """Add several prompts.

        Args:
            states: hidden state -> (batch, tokens, width).
            selected: (batch, tokens) bool, False on padding, which is not counted anywhere.
            numbers: each prompt's number, from 0, for the :class:`.Place` of its tokens.
            ids: (batch, tokens) int64, the token ids; without them nothing is said by token.
        """
        for index in self.indices:
            self.update_layer(index, states[index], selected, numbers, ids)
        self.finish_batch(selected)

    def update_layer(
        self,
        index: int,
        hidden: Tensor,
        selected: Tensor,
        numbers: Sequence[int],
        ids: Tensor | None = None,
    ) -> None:
        """Add one hidden state (batch, tokens, width) of a batch; see :meth:`update_batch`.

        Once every hidden state in ``indices`` is added, call :meth:`finish_batch`.
        """
        selected = selected.cpu()
        medians = sequence_medians(hidden, selected)
        sinks = find_sinks(hidden, selected, medians=medians).cpu()
        ids = None if ids is None else ids.cpu()
        self.carriers[index].update(hidden, selected, numbers, medians, ids)
        tokens, order = hidden.shape[1], torch.tensor(list(numbers))
        layer = self.dimensions[index]
        for stats, chosen in (
            (layer.without_sinks, selected & ~sinks),
            (layer.sinks, selected & sinks),
        ):
            rows, places = selected_rows(hidden, chosen)
            stats.update(rows, places % tokens, order[places // tokens])
        self.magnitudes[index].update(selected_rows(hidden, selected)[0])
        self.sinks[index].update(sinks, numbers)

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
            merged.sinks[index] = self.sinks[index].merge(other.sinks[index])
            merged.carriers[index] = self.carriers[index].merge(other.carriers[index])
        return merged

    def sink_positions(self, index: int) -> tuple[tuple[int, ...], ...]:
        """Per prompt, the positions of its sink tokens at hidden state ``index``; nothing for more
        than 10,000 prompts."""
        return self.sinks[index].by_prompt(self.prompts)


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
        carried: what carries each of ``outliers``, in their order.
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
    carried: tuple[Carried, ...] = ()


class Course(NamedTuple):
    """Where the largest |x| of one dimension rises and falls; as in :class:`Profile`."""

    dimension: int
    emergence_layer: int
    fall_layer: int | None


@dataclass(frozen=True)
class Profile:
    """All hidden states of one model; ``to_json`` is the documented ``profile.json``.

    Attributes:
        threshold: a std over this many times the median std, or under its reciprocal, is out of
            line.
        emergence_layer: hidden state with the largest relative rise of max|x| over the one before;
            None if not all hidden states were measured.
        fall_layer: un-normed hidden state with the largest relative drop after it; None likewise,
            or if no drop is to half or less.
        courses: the same of the loudest dimension of layers -2 and -6, the former first; empty
            if not all hidden states were measured.
        sink_positions: per prompt, at the layer after emergence (where that is not known: at the
            deepest un-normed layer measured); empty for more than 10,000 prompts.
        sink_index: the hidden state that ``sink_positions`` and the next two are of.
        sink_prompts: how many prompts have a sink token.
        sink_counts: (position, how many sink tokens stand there), ascending, zeros left out.
        reference: what dimensions are out of line with; None: their layer's median std.
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
    courses: tuple[Course, ...] = ()
    sink_index: int = 0
    reference: Reference | None = None
    image_tokens: str = ""
    sink_prompts: int = 0
    sink_counts: tuple[tuple[int, int], ...] = ()

    @property
    def unit(self) -> str:
        """What one prompt is called: "prompt", or "image" where each was one."""
        return "image" if self.image_tokens else "prompt"

    @property
    def units(self) -> str:
        """How many prompts were measured, in words: "1 prompt", "12 images"."""
        return f"{self.prompts} {self.unit}{'s' * (self.prompts != 1)}"

    @property
    def measured(self) -> str:
        """How much was measured, in words: "12 prompts, 595 tokens"."""
        kind = "image tokens" if self.image_tokens == "image" else "tokens"
        return f"{self.units}, {self.tokens} {kind}"

    def layer(self, number: int) -> LayerProfile:
        """The entry of a negative layer number."""
        return next(entry for entry in self.layers if entry.layer == number)

    def to_json(self, token_text: Callable[[Place], str]) -> dict[str, Any]:
        """``profile.json``, schema version 1; ``token_text`` gives the text of a token."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "model": {"name": self.model, "blocks": self.blocks, "width": self.width},
            "tokens": self.tokens,
            "prompts": self.prompts,
            "images": self.prompts if self.image_tokens else 0,
            "image_tokens": self.image_tokens or None,
            "threshold": self.threshold,
            "sink_positions": [list(positions) for positions in self.sink_positions],
            "sink_prompts": self.sink_prompts,
            "sink_counts": [list(pair) for pair in self.sink_counts],
            "sink_index": self.sink_index,
            "emergence_layer": self.emergence_layer,
            "fall_layer": self.fall_layer,
            "reference": None if self.reference is None else _reference_json(self.reference),
            "dimensions": [course._asdict() for course in self.courses],
            "layers": [_layer_json(layer, token_text) for layer in self.layers],
        }
        if self.prompts > MOST_LISTED:
            del document["sink_positions"]
        return document


def summarise(
    stats: ProfileStats,
    model: str,
    threshold: float = 10.0,
    reference: Reference | None = None,
    image_tokens: str = "",
) -> Profile:
    """The profile computed from streamed statistics.

    A dimension's ratio is its std over that of ``reference``, of whatever layer it is; without one
    over the median std of its layer's dimensions. ``image_tokens``: see :class:`Profile`.

    Raises:
        ValueError: if no prompt was added, for a bad threshold, or a reference of another width.
    """
    if stats.prompts == 0:
        raise ValueError("there is nothing to profile: no prompt was given")
    layers = tuple(_summarise_layer(stats, index, threshold, reference) for index in stats.indices)
    emergence = fall = None
    courses: tuple[Course, ...] = ()
    sink_index = max((i for i in stats.indices if i < stats.blocks), default=stats.blocks)
    if len(layers) == stats.blocks + 1:
        emergence, fall = rise_and_fall([layer.max_abs for layer in layers])
        sink_index = min(emergence + 1, stats.blocks - 1)
        courses = _courses(stats, layers)
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
        courses=courses,
        sink_index=sink_index,
        reference=reference,
        image_tokens=image_tokens,
        sink_prompts=stats.sinks[sink_index].prompts,
        sink_counts=stats.sinks[sink_index].by_position(),
    )


def _courses(stats: ProfileStats, layers: Sequence[LayerProfile]) -> tuple[Course, ...]:
    loudest = (
        next((one.dimension for one in layer.outliers if one.direction == "loud"), None)
        for number in REPORTED_LAYERS
        for layer in layers
        if layer.layer == number
    )
    peaks = torch.stack([stats.dimensions[index].all.max_abs for index in stats.indices])
    return tuple(
        Course(dimension, *rise_and_fall(peaks[:, dimension].tolist()))
        for dimension in dict.fromkeys(loudest)
        if dimension is not None
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
    with the largest relative drop after that, to half or less (None if there is none); among the
    un-normed states.
    """
    peaks = torch.tensor(max_abs[:-1], dtype=torch.float64).clamp(min=1e-30).log()
    if len(peaks) < 2:
        return 0, None
    steps = peaks.diff()
    emergence = int(steps.argmax()) + 1
    after = steps[emergence:]
    if len(after) == 0 or float(after.min()) > -math.log(LEAST_FALL):
        return emergence, None
    return emergence, emergence + int(after.argmin()) + 1


def _summarise_layer(
    stats: ProfileStats, index: int, threshold: float, reference: Reference | None
) -> LayerProfile:
    split = stats.dimensions[index]
    whole = split.all
    median = stats.magnitudes[index].median()
    outliers = tuple(find_outliers(split, expected_for(split, reference), threshold))
    massive = (whole.max_abs > MASSIVE_ABSOLUTE) & (whole.max_abs > MASSIVE_RELATIVE * median)
    return LayerProfile(
        layer=negative_layer(index, stats.blocks),
        index=index,
        normed=is_normed(index, stats.blocks),
        median_abs=median,
        max_abs=float(whole.max_abs.max()),
        std=whole.global_std,
        std_without_sinks=split.without_sinks.global_std,
        outliers=outliers,
        massive=tuple(massive.nonzero().flatten().tolist()),
        non_finite=whole.non_finite,
        carried=tuple(stats.carriers[index].of(one.dimension, whole) for one in outliers),
    )


def _reference_json(reference: Reference) -> dict[str, Any]:
    return {"name": reference.name, "provenance": dict(reference.provenance)}


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
            "constant": outlier.constant,
            "mean_without_sinks": outlier.mean_without_sinks,
            "top_token": {**outlier.top._asdict(), "text": token_text(outlier.top)},
            **_carried_json(carried, token_text),
        }
        for outlier, carried in zip(layer.outliers, layer.carried, strict=True)
    ]
    del entry["carried"]
    return entry


def _carried_json(carried: Carried, token_text: Callable[[Place], str]) -> dict[str, Any]:
    return {
        "positions": [
            {"position": position, "share": share, "text": place and token_text(place)}
            for position, (share, place) in enumerate(
                zip(carried.positions, carried.places, strict=True)
            )
        ],
        "later_positions_share": carried.later,
        "tokens": [
            {"share": one.share, "far_values": one.values, "text": token_text(one.place)}
            for one in carried.tokens
        ],
    }
