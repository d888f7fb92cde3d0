"""What all pictures share: colours, labels, ticks, a figure as pixels or PNG.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.markers import TICKDOWN, TICKLEFT
from matplotlib.ticker import NullLocator
from PIL import Image

from .theme import follow_theme

LOUD, CALM, QUIET, GREY = "#c2410c", "#1d4ed8", "#047857", "#64748b"
"""Colours: orange what is too large (and sink tokens), blue what is ordinary, green what is too
small, grey lines and notes beside the data."""
FLOOR = 1e-12
"""Smallest value on a logarithmic axis; 0 has no place there."""
PNG_DPI = 130
"""Pixels per inch of the PNG files."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def new_figure(width: float, height: float, panels: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure of ``width`` x ``height`` inches and its ``panels`` axes, side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel in axes:
        open_frame(panel)
    return figure, axes


def open_frame(axes: Axes) -> None:
    """Leave out the upper and the right edge of the axes."""
    axes.spines[["top", "right"]].set_visible(False)


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file of :data:`PNG_DPI` pixels per inch."""
    figure.set_dpi(PNG_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # once: figure.savefig draws everything twice
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).save(buffer, "PNG", dpi=(PNG_DPI, PNG_DPI))
    return buffer.getvalue()


def to_pixels(figure: Figure) -> np.ndarray:
    """The figure as (height, width, 3) float32 in 0..1, in the theme that is on."""
    follow_theme(figure)
    # A canvas that measured the texts still knows how long they are.
    measured = isinstance(figure.canvas, FigureCanvasAgg)
    canvas = figure.canvas if measured else FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32) / 255


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Tick labels of a log axis that do not run into each other, however short its range.

    They cost little: no formulas, and the ticks between powers of ten are one artist.
    """
    axis.set_minor_locator(NullLocator())
    if high / low < 100:
        inside = _round_numbers(low, high)
        axis.set_ticks(inside, [f"{step:g}" for step in inside])
        return
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    step = 1 + (last - first) // (5 if axis.axis_name == "x" else 10)
    powers = range(first, last + 1, step)
    names = [f"10{str(power).translate(_RAISED)}" for power in powers]
    axis.set_ticks([10.0**power for power in powers], names)
    if step == 1:
        between = [n * 10.0**power for power in range(first - 1, last + 1) for n in range(2, 10)]
        _mark(axis, [number for number in between if low <= number <= high])


def _mark(axis: Axis, places: Sequence[float]) -> None:
    """Small ticks at ``places``."""
    axes, edge = axis.axes, np.zeros(len(places))
    x, y, marker, place = (
        (places, edge, TICKDOWN, axes.get_xaxis_transform())
        if axis.axis_name == "x"
        else (edge, places, TICKLEFT, axes.get_yaxis_transform())
    )
    color = rcParams[f"{axis.axis_name}tick.color"]
    style = {"ls": "", "marker": marker, "ms": 2, "mew": 0.6, "color": color, "clip_on": False}
    axes.plot(x, y, transform=place, **style)


def set_limits(axis: Axis, low: float, high: float) -> None:
    """What the axis spans, whichever it is."""
    (axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim)(low, high)


def whole_ticks(axis: Axis, first: int, last: int) -> None:
    """Ticks at hidden states ``first``..``last``, half of one left free at both ends."""
    set_limits(axis, first - 0.5, last + 0.5)
    step = next(n for n in (1, 2, 5, 10, 20, 50, 100, 1000) if last - first <= 12 * n or n == 1000)
    axis.set_ticks([index for index in range(first, last + 1) if index % step == 0])


def positive(values: Iterable[float | None]) -> np.ndarray:
    """``values`` for a logarithmic axis: NaN, of which nothing is drawn, where it has no place."""
    array = np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def fit_log_axis(axis: Axis, values: Sequence[np.ndarray]) -> bool:
    """Make room for :func:`positive` values on a log axis; False if there is not one of them."""
    every = np.concatenate([np.ravel(one) for one in values])
    if np.isnan(every).all():
        return False
    low, high = float(np.nanmin(every)) / 1.6, float(np.nanmax(every)) * 1.6
    set_limits(axis, low, high)
    log_ticks(axis, low, high)
    return True


def name_decades(bar: Colorbar, low: float, high: float, **style: Any) -> None:
    """Label a colour bar of log10(ratio), ``low`` to ``high``, with the ratios: 1x, 10x, 100x."""
    step = max(1, math.ceil((high - low) / 8))
    ticks = [float(tick) for tick in range(math.ceil(low), math.floor(high) + 1, step)]
    if len(ticks) < 2:
        ticks = [math.log10(number) for number in _round_numbers(10.0**low, 10.0**high)]
    bar.set_ticks(ticks, labels=[f"{10.0**tick:.6g}x" for tick in ticks], **style)
    bar.minorticks_off()


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 or 5 times a power of ten, from ``low`` to ``high``."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [number for number in numbers if low <= number <= high]
