"""What all pictures share: colours, text from outside, tick labels, a figure as pixels or PNG.

A text that comes from outside (a token, a model's name) is drawn as ``printable(text)`` with the
properties of :func:`text_style`; then any characters can be in it.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.ticker import NullFormatter

LOUD, CALM, QUIET, GREY = "#c2410c", "#1d4ed8", "#047857", "#64748b"
"""Colours: orange what is too large (and sink tokens), blue what is ordinary, green what is too
small, grey lines and notes beside the data."""
FLOOR = 1e-12
"""Smallest value on a logarithmic axis; 0 has no place there."""
PNG_DPI = 130
"""Pixels per inch of the PNG files."""

BUNDLED_FAMILY = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic, Arabic, symbols, but no Chinese."""

FALLBACK_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "SimHei",
    "Arial Unicode MS",
    "Droid Sans Fallback",
)
"""Fonts with Chinese that systems commonly have; the ones that are installed are used."""


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """The bundled font and those :data:`FALLBACK_FAMILIES` that this system has."""
    installed = {entry.name for entry in fontManager.ttflist}
    return BUNDLED_FAMILY, *(name for name in FALLBACK_FAMILIES if name in installed)


@lru_cache(maxsize=1)
def _drawable() -> frozenset[int]:
    paths = [fontManager.findfont(FontProperties(family=name)) for name in families()]
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


def printable(text: str, limit: int = 0) -> str:
    r"""``text`` as it can be drawn: a newline is ``\n``, a character that no font has ``\uXXXX``.

    ``limit`` cuts it to that many characters, the last one an ellipsis; 0 does not.
    """
    drawable = _drawable()
    shown = "".join(
        character
        if ord(character) in drawable and character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
    return f"{shown[: limit - 1]}…" if 0 < limit < len(shown) else shown


def text_style() -> dict[str, Any]:
    """Properties of every matplotlib Text that may hold a user's words: ``$`` is no formula."""
    return {"family": list(families()), "parse_math": False}


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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()


def to_pixels(figure: Figure) -> np.ndarray:
    """The figure as (height, width, 3) float32 in 0..1."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32) / 255


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """``places`` moved apart so that neighbours are ``gap`` away, kept in order.

    They stay inside ``low``..``high`` where that has the room.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved: list[float] = []
    for rank, i in enumerate(order):
        floor = low if rank == 0 else moved[-1] + gap
        moved.append(max(floor, min(places[i], high)))
    ceiling = high
    for rank in reversed(range(len(moved))):
        moved[rank] = min(moved[rank], ceiling)
        ceiling = moved[rank] - gap
    result = [0.0] * len(places)
    for rank, i in enumerate(order):
        result[i] = moved[rank]
    return result


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Tick labels of a log axis that do not run into each other, however short its range."""
    axis.set_minor_formatter(NullFormatter())
    if high / low < 100:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        inside = [step for step in steps if low <= step <= high]
        axis.set_ticks(inside, [f"{step:g}" for step in inside])


def name_decades(bar: Colorbar, low: float, high: float, **style: Any) -> None:
    """Label a colour bar of log10(ratio), ``low`` to ``high``, with the ratios: 1x, 10x, 100x."""
    ticks = list(range(math.ceil(low), math.floor(high) + 1))
    bar.set_ticks(ticks, labels=[f"{10.0**tick:g}x" for tick in ticks], **style)


def label_points(
    axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str], color: str
) -> None:
    """Write labels beside points of log-log axes (limits already set), none over another."""
    if not points:
        return
    place = axes.transData + axes.transAxes.inverted()
    where = place.transform(np.asarray(points, dtype=float))
    heights = spread(where[:, 1].tolist(), 0.026, 0.02, 0.97)
    for (x, _), point, height, label in zip(where, points, heights, labels, strict=True):
        left = x > 0.8
        axes.annotate(
            label,
            point,
            xytext=(x - 0.05 if left else x + 0.05, height),
            textcoords="axes fraction",
            ha="right" if left else "left",
            va="center",
            fontsize=8,
            color=color,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5, "alpha": 0.6},
        )
