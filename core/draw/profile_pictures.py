"""The pictures of a profile's report: magnitudes by layer, dimensions, masking modes.

Each ``plot_*`` gives a PNG file, and ``*_figure`` the figure that is in it. Names of things stand
outside the axes, so that they cover no data.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..edit.mask_effects import ModeEffect
from ..measure.split_stats import SplitStats
from ..profile.profile import LayerProfile, Profile
from ..profile.tapped import tapped_layers
from .figures import (
    CALM,
    FLOOR,
    GREY,
    LOUD,
    QUIET,
    fit_log_axis,
    log_ticks,
    new_figure,
    positive,
    set_limits,
    to_png,
    whole_ticks,
)
from .fonts import text_style
from .labels import Mark, broken, name_above, name_on_the_right

MARKED_LAYERS = (-2, -6)
"""The layers that Z-Image and its kin read, marked wherever they were measured."""
TAP_COLORS = ("#7c3aed", "#0e7490")
"""Colours that mark the hidden states which image models take: the first model's, the second's."""
NAMED_DIMENSIONS = 8
"""Dimensions that a panel names of those that are too loud, and of those that are too quiet."""


def plot_layers(profile: Profile) -> bytes:
    """Largest and median |x| by hidden state, with emergence and fall, as a PNG file."""
    return to_png(layers_figure(profile))


def layers_figure(profile: Profile) -> Figure:
    """The figure of :func:`plot_layers`."""
    figure, [axes] = new_figure(9, 4.8)
    index = [layer.index for layer in profile.layers]
    peaks = positive(layer.max_abs for layer in profile.layers)
    medians = positive(layer.median_abs for layer in profile.layers)
    axes.set_yscale("log")
    axes.plot(index, peaks, "o-", color=LOUD, ms=4, label="largest |x|")
    axes.plot(index, medians, "o-", color=CALM, ms=4, label="median |x|")
    whole_ticks(axes.xaxis, index[0], index[-1])
    for number, tapped in enumerate(tapped_layers(profile)):
        taken = [layer.index for layer in tapped.layers]
        axes.plot(
            taken,
            [0.02 + 0.04 * number] * len(taken),
            "^",
            color=TAP_COLORS[number % len(TAP_COLORS)],
            ms=6,
            label=f"{tapped.model} takes",
            transform=axes.get_xaxis_transform(),
        )
    if fit_log_axis(axes.yaxis, [peaks, medians]):
        _mark_states(axes, profile, dict(zip(index, peaks, strict=True)))
    else:
        _say(axes, "Every value is 0, or none is finite.")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    axes.set_xlabel("hidden state (0: embeddings; the last one is normed)")
    axes.set_ylabel("magnitude")
    title = broken(f"{profile.model}: magnitudes by layer, {profile.units}", 12, 8, 1)
    axes.set_title(title, loc="left", pad=28, **text_style(title))
    return figure


def _mark_states(axes: Axes, profile: Profile, peaks: Mapping[int, float]) -> None:
    """Name above the axes where something happens, and layers -2 and -6, which get a square."""
    words: dict[int, list[str]] = {}
    for index, word in events(profile):
        words.setdefault(index, []).append(word)
        axes.axvline(index, color=GREY, lw=1, ls=":", zorder=0)
    for layer in profile.layers:
        if layer.layer in MARKED_LAYERS:
            words.setdefault(layer.index, []).append(f"layer {layer.layer}")
            axes.plot(layer.index, peaks[layer.index], "s", color="black", ms=5)
    marks = [
        Mark((index, 1.0), f"{', '.join(said)}: {index}", GREY) for index, said in words.items()
    ]
    name_above(axes, marks, 7.5)


def events(profile: Profile) -> list[tuple[int, str]]:
    """The hidden states, among those measured, where something happens, and what."""
    massive = any(layer.massive for layer in profile.layers)
    words = ("emerges", "falls") if massive else ("largest rise", "largest drop")
    places = zip((profile.emergence_layer, profile.fall_layer), words, strict=True)
    measured = {layer.index for layer in profile.layers}
    return [(index, word) for index, word in places if index in measured]


def plot_dimensions(
    stats: Sequence[tuple[LayerProfile, SplitStats]],
    threshold: float = 10.0,
    measured_against: str = "",
) -> bytes:
    """Std of every dimension with and without sink tokens, one panel a layer, as a PNG file.

    Args:
        threshold: the one that the profile was made with.
        measured_against: the reference that it was made with; empty for the layers' own medians.
    """
    return to_png(dimensions_figure(stats, threshold, measured_against))


def dimensions_figure(
    stats: Sequence[tuple[LayerProfile, SplitStats]],
    threshold: float = 10.0,
    measured_against: str = "",
) -> Figure:
    """The figure of :func:`plot_dimensions`."""
    width = 5.4 * len(stats)
    figure, panels = new_figure(width, 5.0 if measured_against else 4.6, len(stats))
    if measured_against:
        said = f"orange and green: {threshold:g}x louder and quieter than {measured_against}"
        title = broken(said, 9, width - 0.4, 2)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, color=GREY, **text_style(title))
    for axes, (layer, split) in zip(panels, stats, strict=True):
        axes.set_title(f"layer {layer.layer}: each dot a dimension", loc="left")
        bare, whole = split.without_sinks.std.numpy(), split.all.std.numpy()
        some = positive([*bare, *whole])
        if np.isnan(some).all():
            _say(axes, "No dimension varies.")
            continue
        floor = max(float(np.nanmin(some)) / 2, FLOOR)
        shown = bare.clip(floor), whole.clip(floor)
        _draw_dimensions(axes, layer, *shown, threshold, not measured_against)
    return figure


def _draw_dimensions(
    axes: Axes,
    layer: LayerProfile,
    bare: np.ndarray,
    whole: np.ndarray,
    threshold: float,
    by_median: bool,
) -> None:
    """One panel, from the (width,) stds without and with sink tokens, all positive.

    ``by_median``: whether the median std, with lines for it, decides what is out of line.
    """
    levels = {}
    if by_median:
        levels["loud"] = threshold * float(np.median(whole))
        if any(outlier.direction == "quiet" for outlier in layer.outliers):
            levels["quiet"] = float(np.median(whole)) / threshold
    low = min(bare.min(), whole.min(), *levels.values()) / 1.5
    high = max(bare.max(), whole.max(), *levels.values()) * 1.5
    axes.loglog([low, high], [low, high], color=GREY, lw=1)
    axes.loglog(bare, whole, ".", color=CALM, ms=4, alpha=0.6)
    marks = []
    for direction, color in (("loud", LOUD), ("quiet", QUIET)):
        if direction in levels:
            words = f"{threshold:g}x" if direction == "loud" else f"1/{threshold:g} of"
            axes.axhline(levels[direction], color=GREY, lw=1, ls=":")
            marks.append(Mark((high, levels[direction]), f"{words} the median", GREY))
        found = [one.dimension for one in layer.outliers if one.direction == direction]
        if found:
            axes.loglog(bare[found], whole[found], "o", color=color, ms=6)
        marks += [Mark((bare[d], whole[d]), str(d), color) for d in found[:NAMED_DIMENSIONS]]
    for axis in (axes.xaxis, axes.yaxis):
        set_limits(axis, low, high)
        log_ticks(axis, low, high)
    name_on_the_right(axes, marks, 3.4)
    axes.set_xlabel("std without sink tokens")
    axes.set_ylabel("std over all tokens")


def plot_comparison(a: Mapping[str, Any], b: Mapping[str, Any]) -> bytes:
    """Largest and median |x| of two ``profile.json`` documents over relative depth, as a PNG."""
    return to_png(comparison_figure(a, b))


def comparison_figure(a: Mapping[str, Any], b: Mapping[str, Any]) -> Figure:
    """The figure of :func:`plot_comparison`."""
    figure, [axes] = new_figure(9, 4.8)
    axes.set_yscale("log")
    drawn = []
    for letter, profile, colour in (("A", a, LOUD), ("B", b, CALM)):
        depth = [layer["index"] / profile["model"]["blocks"] for layer in profile["layers"]]
        name = broken(profile["model"]["name"], 8, 3, 1)
        for key, style in (("max_abs", "o-"), ("median_abs", "o:")):
            # null: no finite value was seen there.
            values = positive(layer[key] for layer in profile["layers"])
            axes.plot(depth, values, style, color=colour, ms=3, label=f"{letter}, {key}: {name}")
            drawn.append(values)
    if not fit_log_axis(axes.yaxis, drawn):
        _say(axes, "Every value is 0, or none is finite.")
    axes.set_xlabel("depth (0: embeddings, 1: after the last block and the final norm)")
    axes.set_ylabel("magnitude")
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set(**text_style(text.get_text()))
    return figure


def plot_masking(effects: Mapping[int, list[ModeEffect]]) -> bytes:
    """Relative L2 after RMSNorm by mode, sink tokens and others apart, one panel a layer."""
    return to_png(masking_figure(effects))


def masking_figure(effects: Mapping[int, list[ModeEffect]]) -> Figure:
    """The figure of :func:`plot_masking`."""
    figure, panels = new_figure(5.4 * len(effects), 3.8, len(effects))
    for axes, (layer, modes) in zip(panels, effects.items(), strict=True):
        rows = np.arange(len(modes))
        axes.barh(rows - 0.2, [effect.sink_l2 for effect in modes], 0.38, color=LOUD)
        axes.barh(rows + 0.2, [effect.other_l2 for effect in modes], 0.38, color=CALM)
        axes.set_yticks(rows, [effect.mode for effect in modes])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.xaxis.get_major_locator().set_params(nbins=5)
        axes.set_xlabel("relative L2 after RMSNorm (0: the DiT sees no change)", fontsize=9)
        axes.set_title(f"layer {layer}", loc="left")
        # "drop sinks" leaves its row empty: nothing is left to compare, nothing else changes.
        row = [effect.mode for effect in modes].index("drop sinks")
        axes.annotate(
            "sinks are gone, the others as before",
            (0.02, row),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            color=GREY,
            fontsize=9,
        )
    figure.legend(
        ["sink tokens", "all other tokens"], loc="outside lower center", ncols=2, frameon=False
    )
    return figure


def _say(axes: Axes, words: str) -> None:
    """In place of data."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_yticks([])
