"""The picture of a profile: magnitudes, outliers and a heat map, one row a hidden state.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..profile.heat_map import WIDEST_MAP, HeatMap, by_column
from ..profile.profile import MASSIVE_ABSOLUTE, MASSIVE_RELATIVE, Profile
from .figures import printable, spread, text_style, to_pixels
from .plots import CALM, GREY, LOUD

WIDTH, DPI = 16.0, 110
NAMED = 10


def profile_picture(profile: Profile, heat: HeatMap, threshold: float) -> np.ndarray:
    """(height, width, 3) float32 in 0..1; the embeddings are the lowest row."""
    layers = profile.layers
    figure = Figure(
        figsize=(WIDTH, max(5.0, 2.4 + 0.2 * len(layers))), dpi=DPI, layout="constrained"
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
        axes.spines[["top", "right"]].set_visible(False)

    _draw_heat(figure, cells, heat, profile.width)
    figure.suptitle(
        f"{printable(profile.model)}: {profile.prompts} prompt{'' if profile.prompts == 1 else 's'}"
        f", {profile.tokens} tokens",
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


def _draw_heat(figure: Figure, axes: Axes, heat: HeatMap, width: int) -> None:
    grid = by_column(heat.relative).clamp(min=1.0).log10().numpy()
    right = grid.shape[1] * math.ceil(width / WIDEST_MAP) - 0.5
    edges = (-0.5, right, -0.5, len(heat.indices) - 0.5)
    image = axes.imshow(
        grid,
        aspect="auto",
        cmap="magma",
        interpolation="nearest",
        origin="lower",
        extent=edges,
        vmin=0,
        vmax=max(1.0, float(grid.max())),
    )
    axes.set_xlim(-0.5, width - 0.5)
    shared = math.ceil(width / WIDEST_MAP)
    note = f"; a column is the largest of {shared} dimensions" if shared > 1 else ""
    axes.set_title(
        f"Largest |x| of every dimension over the layer's median |x|{note}",
        loc="left",
        fontsize=10,
        pad=28,
    )
    axes.set_ylim(edges[2:])
    axes.set_xlabel("dimension; the loudest are named above", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    ticks = list(range(int(image.get_clim()[1]) + 1))
    bar.set_ticks(ticks, labels=[f"{10.0**tick:g}x" for tick in ticks], fontsize=8)
    loudest = heat.relative.amax(0).topk(min(NAMED, width)).indices.tolist()
    names = spread(loudest, width * 0.038, 0, width - 1)
    for dimension, place in zip(loudest, names, strict=True):
        axes.annotate(
            str(dimension),
            (dimension, edges[3]),
            xytext=(place, 11),
            textcoords=("data", "offset points"),
            ha="center",
            va="bottom",
            fontsize=8,
            color=LOUD,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LOUD, "lw": 0.5, "shrinkA": 0, "shrinkB": 0},
        )
