"""What Layer Profile measures of its prompts or images, and its report.

Imported when the node runs: ComfyUI's start does not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import torch

from ..core.measure.dimension_stats import Place
from ..core.outliers.detection import ratio_in_words
from ..core.outliers.table import carriers_in_words
from ..core.profile.profile import Course, LayerProfile, Profile, ProfileStats, left_out
from ..core.profile.tapped import tapped_layers
from ..core.record.record import Record, Role, role_mask
from ..core.tables import align
from .encoder import Encoding

LAYER_HEADER = (
    "state",
    "layer",
    "median |x|",
    "max |x|",
    "max/median",
    "std (no sinks)",
    "out of line",
    "massive",
    "farthest dimension",
)


def measure_layers(
    encoded: Iterable[list[Encoding]], roles: Iterable[Role], blocks: int
) -> tuple[ProfileStats, list[Record]]:
    """Statistics of the tokens with these ``roles`` at all hidden states, and each prompt's record.

    Args:
        encoded: of each prompt or image, one encoding for every hidden state.
        blocks: of the encoder.
    """
    records: list[Record] = []
    stats = None
    for number, encodings in enumerate(encoded):
        record = encodings[0].record
        states = {index: e.conditioning[0][0][:1] for index, e in enumerate(encodings)}
        stats = stats or ProfileStats(blocks, states[0].shape[-1])
        selected = role_mask(record.roles, roles)[None]
        stats.update_batch(states, selected, [number], torch.tensor([record.ids]))
        records.append(record)
    return stats, records


def profile_report(profile: Profile, records: list[Record], threshold: float, path: Path) -> str:
    """The report; ``records``: of each prompt or image, ``path``: where the figures are written."""
    lines = [
        f"{profile.model}: {profile.measured}, {profile.blocks} blocks, {profile.width} dimensions",
        *events_in_words(profile),
        _sinks(profile),
        *(tapped.in_words for tapped in tapped_layers(profile)),
        *left_out(profile),
        f"out of line: std over {threshold:g}x the layer's median std or under 1/{threshold:g} of "
        "it; massive (Sun et al. 2024): |x| over 100 and over 1000x the layer's median",
        *align([LAYER_HEADER, *(_row(layer, records) for layer in profile.layers)]),
        f"written: {path.name} in ComfyUI's output folder",
    ]
    return "\n".join(lines)


def events_in_words(profile: Profile) -> list[str]:
    """Where massive activations emerge and fall, a sentence each."""
    sizes = {layer.index: layer for layer in profile.layers}

    def step(index: int) -> str:
        before, after = sizes[index - 1].max_abs, sizes[index].max_abs
        return f"from {before:.4g} to {after:.4g}, layer {sizes[index].layer}"

    if not profile.emergence_layer:
        return ["one block has no layers between which anything could emerge"]
    lines = [
        f"emergence: hidden state {profile.emergence_layer} has the largest relative rise of max "
        f"|x| ({step(profile.emergence_layer)})"
    ]
    if profile.fall_layer is None:
        lines.append("fall: max |x| does not drop to half in one step before the final norm")
    else:
        lines.append(
            f"fall: hidden state {profile.fall_layer} has the largest drop after it "
            f"({step(profile.fall_layer)})"
        )
    lines += [
        f"dimension {course.dimension} (the loudest of layer -2 or -6): {_course(course)}"
        for course in profile.courses
    ]
    if not any(layer.massive for layer in profile.layers):
        lines.append("no layer has a massive activation")
    return lines


def _course(course: Course) -> str:
    end = (
        "does not drop to half in one step"
        if course.fall_layer is None
        else (f"drops most at {course.fall_layer}")
    )
    return f"its largest |x| rises most at hidden state {course.emergence_layer} and {end}"


def _sinks(profile: Profile) -> str:
    counts = dict(profile.sink_counts)
    first = counts.pop(0, 0)
    others = sum(counts.values())
    return (
        f"sink tokens at hidden state {profile.sink_index}: position 0 in {first} of "
        f"{profile.prompts} {profile.unit}s; {others} at other positions"
    )


def _row(layer: LayerProfile, records: list[Record]) -> tuple[str, ...]:
    ratio = layer.max_abs / layer.median_abs if layer.median_abs > 0 else math.inf
    return (
        str(layer.index),
        f"{layer.layer}{' normed' if layer.normed else ''}",
        f"{layer.median_abs:.4g}",
        f"{layer.max_abs:.4g}",
        f"{ratio:.4g}",
        f"{layer.std:.4g} ({layer.std_without_sinks:.4g})",
        str(len(layer.outliers)),
        str(len(layer.massive)),
        _farthest(layer, records),
    )


def _farthest(layer: LayerProfile, records: list[Record]) -> str:
    if not layer.outliers:
        return "-"
    outlier = layer.outliers[0]
    carriers = carriers_in_words(layer.carried[0], lambda place: token_text(place, records))
    return (
        f"{outlier.dimension}, {ratio_in_words(outlier.ratio)}, {outlier.kind_in_words}; carried "
        f"by {carriers}"
    )


def token_text(place: Place, records: list[Record]) -> str:
    """The text of the token at ``place``."""
    return records[place.prompt].texts[place.position]
