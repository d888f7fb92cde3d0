"""The std of every dimension of two models or layers, one against the other.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..outliers.std_ratios import StdRatios, StdView
from .figures import (
    CALM,
    FLOOR,
    GREY,
    LOUD,
    QUIET,
    log_ticks,
    new_figure,
    set_limits,
    to_png,
)
from .fonts import text_style
from .labels import Mark, broken, name_on_the_right

FAR = 10.0
"""The dotted lines: so many times louder and quieter."""
NAMED = 6
"""How many of the loudest, and of the quietest, dimensions a panel names."""
PANEL = 5.6
"""Inches that a panel is wide."""


def plot_ratios(ratios: StdRatios, a: str, b: str) -> bytes:
    """The figure of :func:`ratios_figure` as a PNG file."""
    return to_png(ratios_figure(ratios, a, b))


def ratios_figure(ratios: StdRatios, a: str, b: str) -> Figure:
    """One dot a dimension, its std in A over its std in B; a panel for each view that is known.

    Args:
        a, b: what the two sides are, in words: model and layer.
    """
    named = ("all tokens", "without sink tokens")[: len(ratios.views)]
    width = PANEL * len(named)
    figure, panels = new_figure(width, 6.2, len(named))
    every = np.concatenate([std.numpy() for view in ratios.views for std in (view.a, view.b)])
    some = every[every > 0] if (every > 0).any() else np.ones(1)
    # One scale for both panels. A std of 0 has no place on it: its dot stands at the edge.
    floor, top = max(float(some.min()) / (1 if (every > 0).all() else 2), FLOOR), float(some.max())
    for axes, view, name in zip(panels, ratios.views, named, strict=True):
        axes.set_title(f"{name}: each dot a dimension", loc="left")
        axes.set_xlabel("std in B")
        axes.set_ylabel("std in A")
        _draw(axes, view, floor, top)
    handles = {label: line for axes in panels for line, label in _labelled(axes)}
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    sides = (f"A: {a}", f"B: {b}")
    title = "\n".join(broken(side, 10, width - 0.5, 2) for side in sides)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, **text_style(title))
    return figure


def _labelled(axes: Axes) -> list[tuple]:
    return list(zip(*axes.get_legend_handles_labels(), strict=True))


def _draw(axes: Axes, view: StdView, floor: float, top: float) -> None:
    x, y, ratios = view.b.numpy().clip(floor), view.a.numpy().clip(floor), view.ratios.numpy()
    low, high = floor / 1.6, top * 1.6
    ends = np.array([low, high])
    axes.loglog(ends, ends, color=GREY, lw=1, label="equal")
    axes.loglog(ends, ends * FAR, ":", color=GREY, lw=1, label=f"{FAR:g}x louder and quieter")
    axes.loglog(ends, ends / FAR, ":", color=GREY, lw=1)
    loud, quiet = ratios > FAR, ratios < 1 / FAR
    groups = (
        (~(loud | quiet), CALM, 3.5, f"within {FAR:g}x"),
        (loud, LOUD, 5, f"A over {FAR:g}x louder"),
        (quiet, QUIET, 5, f"A over {FAR:g}x quieter"),
    )
    for chosen, color, size, label in groups:
        if chosen.any():
            axes.loglog(x[chosen], y[chosen], "o", color=color, ms=size, mew=0, label=label)
    for axis in (axes.xaxis, axes.yaxis):
        set_limits(axis, low, high)
        log_ticks(axis, low, high)
    colors = np.select([loud, quiet], [LOUD, QUIET], CALM)
    marks = [
        Mark((x[dimension], y[dimension]), f"{dimension}: {times}", str(colors[dimension]))
        for dimension in (*view.loudest(NAMED), *view.quietest(NAMED))
        for times in [_times(float(ratios[dimension]))]
    ]
    name_on_the_right(axes, marks, 3.6)


def _times(ratio: float) -> str:
    """A over B in few letters: "42x", "1/618x"."""
    if ratio == 0:
        return "A silent"
    if math.isinf(ratio):
        return "B silent"
    times = max(ratio, 1 / ratio)
    shown = f"{times:,.0f}" if times >= 100 else f"{times:.3g}"
    return f"{shown}x" if ratio >= 1 else f"1/{shown}x"
