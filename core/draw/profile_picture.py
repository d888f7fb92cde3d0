"""The one picture of a profile: magnitudes, outlier dimensions and heat map, a row a hidden state.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..profile.heat_map import HeatMap
from ..profile.profile import MASSIVE_ABSOLUTE, MASSIVE_RELATIVE, LayerProfile, Profile
from ..profile.tapped import tapped_layers
from .figures import CALM, GREY, LOUD, fit_log_axis, open_frame, positive, to_pixels
from .fonts import text_style
from .heat_map_picture import draw_heat_map, name_loudest, shared_columns
from .labels import broken
from .profile_pictures import TAP_COLORS, events

WIDTH, MAP_WIDTH, DPI = 12.0, 5.2, 110
"""Inches of the picture and of its map, pixels per inch. On a node 700 pixels wide a font of 10
points is 8 pixels high."""


def profile_picture(profile: Profile, heat: HeatMap, threshold: float) -> np.ndarray:
    """Magnitudes, outlier dimensions and the heat map side by side, one row a hidden state.

    The embeddings are the lowest row. ``threshold`` is the one that ``profile`` was made with.

    Returns:
        (height, width, 3) float32 in 0..1.
    """
    return to_pixels(profile_figure(profile, heat, threshold))


def profile_figure(profile: Profile, heat: HeatMap, threshold: float) -> Figure:
    """The figure of :func:`profile_picture`."""
    height = max(5.0, 2.4 + 0.2 * len(profile.layers))
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    sizes, counts, cells = figure.subplots(1, 3, sharey=True, width_ratios=[1, 0.6, 2.6])
    _draw_magnitudes(sizes, profile)
    _draw_counts(counts, profile.layers, threshold)
    _mark_taps(counts, profile)
    bar = draw_heat_map(figure, cells, heat, upward=True, darkest=1.0)
    bar.ax.tick_params(labelsize=10)
    name_loudest(cells, heat, MAP_WIDTH)
    what = f"Largest |x| of every dimension over the layer's median |x|{shared_columns(heat)}"
    cells.set_title(
        broken(what, 11, MAP_WIDTH, 2),
        loc="left",
        fontsize=11,
        pad=28,
    )
    cells.set_xlabel("dimension; the loudest are named above", fontsize=10)
    cells.tick_params(axis="x", labelsize=10)
    title = f"{profile.model}: {profile.measured}"
    shown = broken(title, 12, WIDTH - 0.5, 1)
    figure.suptitle(shown, x=0.01, ha="left", fontsize=12, **text_style(shown))
    return figure


def _draw_magnitudes(axes: Axes, profile: Profile) -> None:
    """Largest and median |x|; a row's label says what happens there."""
    open_frame(axes)
    axes.set_title("Magnitudes", loc="left", fontsize=11)
    rows = np.arange(len(profile.layers))
    peaks = positive(layer.max_abs for layer in profile.layers)
    medians = positive(layer.median_abs for layer in profile.layers)
    axes.set_xscale("log")
    axes.plot(peaks, rows, "o-", color=LOUD, ms=4)
    axes.plot(medians, rows, "o-", color=CALM, ms=4)
    if not fit_log_axis(axes.xaxis, [peaks, medians]):
        axes.set_xticks([])
    _legend(axes, ("largest |x|", LOUD), ("median |x|", CALM))
    happens = dict(events(profile))
    names = [
        f"{happens.get(layer.index, '')}   {layer.index}  ({layer.layer})".strip()
        for layer in profile.layers
    ]
    axes.set_yticks(rows, names, fontsize=10)
    for row, layer in enumerate(profile.layers):
        if layer.index in happens:
            axes.axhline(row, color=GREY, lw=1, ls=":", zorder=0)
            axes.get_yticklabels()[row].set_fontweight("bold")
    axes.set_ylabel("hidden state (layer); the last one is normed")


def _draw_counts(axes: Axes, layers: tuple[LayerProfile, ...], threshold: float) -> None:
    """How many dimensions are out of line, and how many hold a massive activation."""
    open_frame(axes)
    axes.set_title("Outlier dimensions", loc="left", fontsize=11)
    rows = np.arange(len(layers))
    axes.barh(rows + 0.2, [len(layer.outliers) for layer in layers], 0.38, color=LOUD)
    axes.barh(rows - 0.2, [len(layer.massive) for layer in layers], 0.38, color=CALM)
    if not any(layer.outliers or layer.massive for layer in layers):
        axes.set_xlim(0, 1)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
    massive = f"|x| > {MASSIVE_ABSOLUTE:g} and > {MASSIVE_RELATIVE:g}x median"
    _legend(axes, (f"std {threshold:g}x out of line", LOUD), (massive, CALM))


def _mark_taps(axes: Axes, profile: Profile) -> None:
    """Triangles beside the bars at hidden states that an image model takes, a column for each."""
    for number, tapped in enumerate(tapped_layers(profile)):
        color = TAP_COLORS[number % len(TAP_COLORS)]
        rows = [profile.layers.index(layer) for layer in tapped.layers]
        axes.plot(
            [1.03 + 0.06 * number] * len(rows),
            rows,
            "<",
            color=color,
            ms=6,
            transform=axes.get_yaxis_transform(),
            clip_on=False,
        )
        _legend(axes, (f"{tapped.model} takes", color), first=2 + number)


def _legend(axes: Axes, *entries: tuple[str, str], first: int = 0) -> None:
    """Names in their colours under the axes, from line ``first`` on."""
    for number, (words, color) in enumerate(entries, first):
        axes.annotate(
            words,
            (0, 0),
            xycoords="axes fraction",
            xytext=(0, -28 - 15 * number),
            textcoords="offset points",
            va="top",
            color=color,
            fontsize=10,
        )
