"""Every hidden state by every dimension, and every token by some dimensions, as colours.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from torch import Tensor

from ..profile.heat_map import WIDEST_MAP, HeatMap, by_column
from .figures import FLOOR, LOUD, name_decades, new_figure, to_png
from .fonts import printable, text_style
from .labels import Mark, broken, inches, name_above

NAMED = 10
"""How many of the loudest dimensions a heat map names."""
TOKEN_LETTERS = 24
"""A token's text is cut to so many letters."""
SHOWN_ROWS = 16
"""Hidden states whose number stands beside a heat map, at most."""


def plot_heat_map(heat: HeatMap, title: str) -> bytes:
    """Every hidden state (embeddings on top) by every dimension, as a PNG file."""
    return to_png(heat_map_figure(heat, title))


def heat_map_figure(heat: HeatMap, title: str) -> Figure:
    """The figure of :func:`plot_heat_map`."""
    figure, [axes] = new_figure(10, max(3.0, 1.8 + 0.13 * len(heat.indices)))
    bar = draw_heat_map(figure, axes, heat)
    bar.set_label("largest |x| over the layer's median |x|")
    step = math.ceil(len(heat.indices) / SHOWN_ROWS)
    rows = range(0, len(heat.indices), step)
    axes.set_yticks(list(rows), [str(heat.indices[row]) for row in rows])
    axes.set_ylabel("hidden state")
    name_loudest(axes, heat, 7.5)
    axes.set_xlabel(f"dimension; the loudest are named above{shared_columns(heat)}")
    shown = broken(title, 12, 9, 1)
    axes.set_title(shown, loc="left", pad=30, **text_style(shown))
    return figure


def plot_tokens(
    hidden: Tensor, texts: Sequence[str], dimensions: Sequence[int], layer: int
) -> bytes:
    """|x| of the ``dimensions`` for every token of one prompt, as a PNG file.

    Args:
        hidden: (tokens, width).
        texts: of each token.
    """
    return to_png(tokens_figure(hidden, texts, dimensions, layer))


def tokens_figure(
    hidden: Tensor, texts: Sequence[str], dimensions: Sequence[int], layer: int
) -> Figure:
    """The figure of :func:`plot_tokens`."""
    values = hidden.abs().float()
    scale = max(float(values.median()), FLOOR)
    grid = (values[:, list(dimensions)] / scale).clamp(min=0.1).log10().T.numpy()
    top = max(float(grid.max()), 0.0)
    names = [printable(text, TOKEN_LETTERS) for text in texts]
    longest = max(inches(name, 8) for name in names)
    height = max(2.4, 0.34 * len(dimensions)) + 0.8 + longest
    figure, [axes] = new_figure(max(8.0, 0.24 * len(texts)), height)
    image = axes.imshow(grid, aspect="auto", cmap="magma", vmin=-1, vmax=top)
    axes.set_yticks(range(len(dimensions)), [f"dim {dimension}" for dimension in dimensions])
    axes.set_xticks(range(len(texts)), names, rotation=90, fontsize=8, **text_style(*names))
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("|x| over the median |x|")
    name_decades(bar, -1, top)
    axes.set_title(f"layer {layer}: which token carries it", loc="left")
    return figure


def draw_heat_map(
    figure: Figure,
    axes: Axes,
    heat: HeatMap,
    upward: bool = False,
    darkest: float | None = None,
) -> Colorbar:
    """Largest |x| over the layer's median |x|, one row a hidden state, colours on a log scale.

    Args:
        upward: whether the first hidden state is the lowest row; else it is the highest.
        darkest: the ratio at the dark end of the colours; None lets them span what there is (from
            0.1). They span one decade at least.

    Returns:
        The colour bar, its decades labelled.
    """
    relative = torch.nan_to_num(heat.relative, nan=0.0)
    grid = by_column(relative).clamp(min=darkest or 0.1).log10().numpy()
    low = float(grid.min()) if darkest is None else math.log10(darkest)
    high = max(float(grid.max()), low + 1.0)
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
    axes.xaxis.get_major_locator().set_params(integer=True)
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    name_decades(bar, low, high)
    return bar


def name_loudest(axes: Axes, heat: HeatMap, width: float) -> None:
    """The numbers of the loudest dimensions above a map at least ``width`` inches wide."""
    peaks = torch.nan_to_num(heat.relative, nan=0.0).amax(0)
    loudest = peaks.topk(min(NAMED, len(peaks))).indices.tolist()
    name_above(axes, [Mark((dimension, 0.0), str(dimension), LOUD) for dimension in loudest], width)


def shared_columns(heat: HeatMap) -> str:
    """Says, where it is so, how many dimensions share a column."""
    each = _dimensions_a_column(heat)
    return f"; a column is the largest of {each} dimensions" if each > 1 else ""


def _dimensions_a_column(heat: HeatMap) -> int:
    return math.ceil(heat.relative.shape[1] / WIDEST_MAP)
