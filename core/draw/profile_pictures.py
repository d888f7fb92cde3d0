"""The pictures of a profile: magnitudes by layer, dimensions, tokens, heat map, masking modes.

``plot_*`` give the PNG files of reports; :func:`profile_picture` gives one picture as an array.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from torch import Tensor

from ..edit.mask_effects import ModeEffect
from ..measure.split_stats import SplitStats
from ..profile.heat_map import WIDEST_MAP, HeatMap, by_column
from ..profile.profile import MASSIVE_ABSOLUTE, MASSIVE_RELATIVE, LayerProfile, Profile
from .figures import (
    CALM,
    FLOOR,
    GREY,
    LOUD,
    name_decades,
    new_figure,
    open_frame,
    printable,
    spread,
    text_style,
    to_pixels,
    to_png,
)

PICTURE_WIDTH, PICTURE_DPI = 16.0, 110
"""Inches and pixels per inch of :func:`profile_picture`."""
NAMED_IN_PLOT, NAMED_IN_PICTURE = 4, 10
"""How many of the loudest dimensions a heat map names."""


def plot_layers(profile: Profile) -> bytes:
    """Largest and median |x| by hidden state, with emergence and fall."""
    figure, [axes] = new_figure(9, 4.2)
    index = [layer.index for layer in profile.layers]
    peaks = [layer.max_abs for layer in profile.layers]
    medians = [layer.median_abs for layer in profile.layers]
    axes.semilogy(index, peaks, "o-", color=LOUD, ms=4, label="largest |x|")
    axes.semilogy(index, medians, "o-", color=CALM, ms=4, label="median |x|")
    axes.set_ylim(top=max(peaks) * 12)
    for word, place in (("emerges", profile.emergence_layer), ("falls", profile.fall_layer)):
        if place is not None:
            axes.axvline(place, color=GREY, lw=1, ls=":")
            axes.text(place, max(peaks) * 3, f"{word}: {place} ", ha="right", color=GREY)
    for layer in profile.layers:
        if layer.layer in (-2, -6):
            axes.plot(layer.index, layer.max_abs, "s", color="black")
            axes.text(layer.index, layer.max_abs * 0.3, f"layer {layer.layer} ", ha="right")
    axes.legend(frameon=False, loc="lower right")
    axes.set_xlabel("hidden state (0: embeddings; the last one is normed)")
    axes.set_ylabel("magnitude")
    title = f"{profile.model}: magnitudes by layer, {profile.prompts} {profile.unit}s"
    axes.set_title(printable(title), loc="left", **text_style())
    return to_png(figure)


def plot_dimensions(stats: Sequence[tuple[LayerProfile, SplitStats]]) -> bytes:
    """Std of every dimension with and without sink tokens, one panel a layer."""
    figure, panels = new_figure(5 * len(stats), 4.6, len(stats))
    for axes, (layer, split) in zip(panels, stats, strict=True):
        bare = split.without_sinks.std.numpy().clip(FLOOR)
        whole = split.all.std.numpy().clip(FLOOR)
        limits = [min(bare.min(), whole.min()) / 1.5, max(bare.max(), whole.max()) * 3]
        axes.loglog(limits, limits, color=GREY, lw=1)
        median = float(np.median(whole))
        axes.axhline(10 * median, color=GREY, lw=1, ls=":")
        axes.text(limits[0] * 1.1, 10.8 * median, "10x the median", color=GREY, fontsize=8)
        flagged = [outlier.dimension for outlier in layer.outliers]
        axes.loglog(bare, whole, ".", color=CALM, ms=4, alpha=0.6)
        axes.loglog(bare[flagged], whole[flagged], "o", color=LOUD, ms=6)
        for dimension in flagged[:6]:
            axes.annotate(
                str(dimension),
                (bare[dimension], whole[dimension]),
                textcoords="offset points",
                xytext=(7, -3),
                color=LOUD,
            )
        axes.set_xlim(limits)
        axes.set_ylim(limits)
        axes.set_xlabel("std without sink tokens")
        axes.set_ylabel("std over all tokens")
        axes.set_title(f"layer {layer.layer}: each dot a dimension", loc="left")
    return to_png(figure)


def plot_tokens(
    hidden: Tensor, texts: Sequence[str], dimensions: Sequence[int], layer: int
) -> bytes:
    """|x| of the ``dimensions`` for every token of one prompt, (tokens, width) ``hidden``."""
    values = hidden.abs().float()
    scale = float(values.median())
    grid = (values[:, list(dimensions)] / scale).clamp(min=0.1).log10().T.numpy()
    figure, [axes] = new_figure(max(8.0, 0.24 * len(texts)), 1.6 + 0.34 * len(dimensions))
    image = axes.imshow(grid, aspect="auto", cmap="magma", vmin=-1)
    axes.set_yticks(range(len(dimensions)), [f"dim {dimension}" for dimension in dimensions])
    names = [printable(text) for text in texts]
    axes.set_xticks(range(len(texts)), names, rotation=90, fontsize=8, **text_style())
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("|x| over the median |x|")
    name_decades(bar, *image.get_clim())
    axes.set_title(f"layer {layer}: which token carries it", loc="left")
    return to_png(figure)


def plot_comparison(a: Mapping[str, Any], b: Mapping[str, Any]) -> bytes:
    """Largest and median |x| of two ``profile.json`` documents over relative depth."""
    figure, [axes] = new_figure(9, 4.2)
    for letter, profile, colour in (("A", a, LOUD), ("B", b, CALM)):
        depth = [layer["index"] / profile["model"]["blocks"] for layer in profile["layers"]]
        for name, style in (("max_abs", "o-"), ("median_abs", "o:")):
            # null: no finite value was seen there.
            values = [layer[name] or np.nan for layer in profile["layers"]]
            label = f"{letter}, {name}: {printable(profile['model']['name'])}"
            axes.semilogy(depth, values, style, color=colour, ms=3, label=label)
    axes.set_xlabel("depth (0: embeddings, 1: after the last block and the final norm)")
    axes.set_ylabel("magnitude")
    legend = axes.legend(frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set(**text_style())
    return to_png(figure)


def plot_heat_map(heat: HeatMap, title: str) -> bytes:
    """Every hidden state (embeddings on top) by every dimension, in a figure of its own."""
    figure, [axes] = new_figure(10, max(3.0, 1.4 + 0.13 * len(heat.indices)))
    bar = _draw_heat_map(figure, axes, heat)
    bar.set_label("largest |x| over the layer's median |x|")
    step = max(1, len(heat.indices) // 12)
    rows = range(0, len(heat.indices), step)
    axes.set_yticks(list(rows), [str(heat.indices[row]) for row in rows])
    axes.set_ylabel("hidden state")
    loudest = _loudest(heat, NAMED_IN_PLOT)
    axes.set_xticks(loudest, [str(dimension) for dimension in loudest], rotation=90)
    axes.set_xlabel("dimension (the loudest are named)")
    axes.set_title(printable(title), loc="left", **text_style())
    return to_png(figure)


def plot_masking(effects: dict[int, list[ModeEffect]]) -> bytes:
    """Relative L2 after RMSNorm by mode, sink tokens and others apart, one panel a layer."""
    figure, panels = new_figure(5 * len(effects), 3.6, len(effects))
    for axes, (layer, modes) in zip(panels, effects.items(), strict=True):
        rows = np.arange(len(modes))
        axes.barh(rows - 0.2, [effect.sink_l2 for effect in modes], 0.38, color=LOUD)
        axes.barh(rows + 0.2, [effect.other_l2 for effect in modes], 0.38, color=CALM)
        axes.set_yticks(rows, [effect.mode for effect in modes])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("relative L2 after RMSNorm (0: the DiT sees no change)")
        axes.set_title(f"layer {layer}", loc="left")
        # "drop sinks" leaves its row empty: nothing is left to compare, nothing else changes.
        row = [effect.mode for effect in modes].index("drop sinks")
        axes.text(0.02, row, "sinks are gone, the others as before", va="center", color=GREY)
    figure.legend(
        ["sink tokens", "all other tokens"], loc="outside lower center", ncols=2, frameon=False
    )
    return to_png(figure)


def profile_picture(profile: Profile, heat: HeatMap, threshold: float) -> np.ndarray:
    """Magnitudes, outlier dimensions and the heat map side by side, one row a hidden state.

    The embeddings are the lowest row. ``threshold`` is the one that ``profile`` was made with.

    Returns:
        (height, width, 3) float32 in 0..1.
    """
    layers = profile.layers
    figure = Figure(
        figsize=(PICTURE_WIDTH, max(5.0, 2.4 + 0.2 * len(layers))),
        dpi=PICTURE_DPI,
        layout="constrained",
    )
    sizes, counts, cells = figure.subplots(1, 3, sharey=True, width_ratios=[1, 0.6, 2.6])
    rows = np.arange(len(layers))
    sizes.semilogx([layer.max_abs for layer in layers], rows, "o-", color=LOUD, ms=4)
    sizes.semilogx([layer.median_abs for layer in layers], rows, "o-", color=CALM, ms=4)
    sizes.set_yticks(rows, [f"{layer.index}  ({layer.layer})" for layer in layers], fontsize=8)
    sizes.set_ylabel("hidden state (layer); the last one is normed")
    sizes.set_ylim(-0.6, len(layers) - 0.4)
    _legend(sizes, ("largest |x|", LOUD), ("median |x|", CALM))
    sizes.set_title("Magnitudes", loc="left", fontsize=10)
    _mark_events(sizes, profile)

    counts.barh(rows + 0.2, [len(layer.outliers) for layer in layers], 0.38, color=LOUD)
    counts.barh(rows - 0.2, [len(layer.massive) for layer in layers], 0.38, color=CALM)
    if not any(layer.outliers or layer.massive for layer in layers):
        counts.set_xlim(0, 1)
    counts.xaxis.get_major_locator().set_params(integer=True)
    massive = f"|x| > {MASSIVE_ABSOLUTE:g} and > {MASSIVE_RELATIVE:g}x median"
    _legend(counts, (f"std {threshold:g}x out of line", LOUD), (massive, CALM))
    counts.set_title("Outlier dimensions", loc="left", fontsize=10)
    for axes in (sizes, counts):
        open_frame(axes)

    bar = _draw_heat_map(figure, cells, heat, upward=True, darkest=1.0)
    bar.ax.tick_params(labelsize=8)
    _name_loudest_above(cells, heat)
    figure.suptitle(
        f"{printable(profile.model)}: {profile.measured}",
        x=0.01,
        ha="left",
        fontsize=12,
        **text_style(),
    )
    return to_pixels(figure)


def _mark_events(axes: Axes, profile: Profile) -> None:
    places = {layer.index: row for row, layer in enumerate(profile.layers)}
    right = max(layer.max_abs for layer in profile.layers)
    massive = any(layer.massive for layer in profile.layers)
    words = ("emerges", "falls") if massive else ("largest rise", "largest drop")
    for word, index in zip(words, (profile.emergence_layer, profile.fall_layer), strict=True):
        if index in places:
            axes.axhline(places[index], color=GREY, lw=1, ls=":", zorder=0)
            axes.text(right * 4, places[index] + 0.12, word, ha="right", color=GREY, fontsize=9)
    axes.set_xlim(right=right * 5)


def _legend(axes: Axes, *entries: tuple[str, str]) -> None:
    """Names in their colours under the axes."""
    for number, (words, color) in enumerate(entries):
        axes.annotate(
            words,
            (0, 0),
            xycoords="axes fraction",
            xytext=(0, -26 - 13 * number),
            textcoords="offset points",
            va="top",
            color=color,
            fontsize=9,
        )


def _draw_heat_map(
    figure: Figure,
    axes: Axes,
    heat: HeatMap,
    upward: bool = False,
    darkest: float | None = None,
) -> Colorbar:
    """Largest |x| over the layer's median |x|, one row a hidden state, colours on a log scale.

    Args:
        upward: whether the first hidden state is the lowest row; else it is the highest.
        darkest: the ratio at the dark end of the colours, which then span one decade at least;
            None lets them span what there is (from 0.1).

    Returns:
        The colour bar, its decades labelled.
    """
    grid = by_column(heat.relative).clamp(min=darkest or 0.1).log10().numpy()
    low, high = float(grid.min()), float(grid.max())
    if darkest is not None:
        low = math.log10(darkest)
        high = max(low + 1.0, high)
    rows, width = heat.relative.shape
    # Each column spans as many dimensions as it holds at most, so that every one is in its place.
    right = grid.shape[1] * _dimensions_a_column(heat) - 0.5
    bottom, top = (-0.5, rows - 0.5) if upward else (rows - 0.5, -0.5)
    image = axes.imshow(
        grid,
        aspect="auto",
        cmap="magma",
        interpolation="nearest",
        origin="lower" if upward else "upper",
        extent=(-0.5, right, bottom, top),
        vmin=low,
        vmax=high,
    )
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(bottom, top)
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    name_decades(bar, low, high)
    return bar


def _dimensions_a_column(heat: HeatMap) -> int:
    return math.ceil(heat.relative.shape[1] / WIDEST_MAP)


def _loudest(heat: HeatMap, count: int) -> list[int]:
    """The dimensions with the largest ratio in any hidden state, largest first."""
    return heat.relative.amax(0).topk(min(count, heat.relative.shape[1])).indices.tolist()


def _name_loudest_above(axes: Axes, heat: HeatMap) -> None:
    """Title and x axis of the heat map, and the loudest dimensions' numbers above it."""
    shared = _dimensions_a_column(heat)
    note = f"; a column is the largest of {shared} dimensions" if shared > 1 else ""
    axes.set_title(
        f"Largest |x| of every dimension over the layer's median |x|{note}",
        loc="left",
        fontsize=10,
        pad=28,
    )
    axes.set_xlabel("dimension; the loudest are named above", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    width, top = heat.relative.shape[1], len(heat.indices) - 0.5
    loudest = _loudest(heat, NAMED_IN_PICTURE)
    names = spread(loudest, width * 0.038, 0, width - 1)
    for dimension, place in zip(loudest, names, strict=True):
        axes.annotate(
            str(dimension),
            (dimension, top),
            xytext=(place, 11),
            textcoords=("data", "offset points"),
            ha="center",
            va="bottom",
            fontsize=8,
            color=LOUD,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LOUD, "lw": 0.5, "shrinkA": 0, "shrinkB": 0},
        )
