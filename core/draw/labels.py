"""Names outside the axes, each with a thin line to what it names, and texts cut to a width.

Beside the data no name can cover it, and in a row or column of their own they are moved apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from .picture_text import text_width, wrap

MEASURED_AT = 100
"""Pixels of the font in which widths are measured."""
SLACK = 1.05
"""matplotlib sets a text up to so much wider than Pillow, which measures it."""


class Mark(NamedTuple):
    """A ``point`` in the axes' own numbers, and the name that is written beside the axes."""

    point: tuple[float, float]
    name: str
    color: str


def inches(text: str, points: float) -> float:
    """The width of one line of text at a font size in points."""
    return SLACK * text_width(text, MEASURED_AT) / MEASURED_AT * points / 72


def broken(text: str, points: float, width: float, most_lines: int) -> str:
    """``text``, as it can be drawn, in lines of at most ``width`` inches; too long a one loses its
    middle."""
    pixels = int(width * 72 / points * MEASURED_AT / SLACK)
    return "\n".join(wrap(text, MEASURED_AT, pixels, most_lines))


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


def name_on_the_right(axes: Axes, marks: Sequence[Mark], height: float, points: float = 8) -> None:
    """Write the names in a column to the right of axes whose limits are set.

    Args:
        height: what the axes have at least, in inches.
    """
    gap = 1.4 * points / 72 / height
    at = _in_axes(axes, [mark.point for mark in marks])
    for mark, place in zip(marks, spread([y for _, y in at], gap, 0.0, 1.0), strict=True):
        _name(axes, mark, ("data", "axes fraction"), (1.03, place), points, ("left", "center"))


def name_above(axes: Axes, marks: Sequence[Mark], width: float, points: float = 8) -> None:
    """Write the names in a row above axes whose limits are set; only a mark's x counts.

    Args:
        width: what the axes have at least, in inches.
    """
    widest = max((inches(mark.name, points) for mark in marks), default=0.0) / width
    tops = [mark._replace(point=(mark.point[0], 1.0)) for mark in marks]
    at = _in_axes(axes, [mark.point for mark in marks])
    places = spread([x for x, _ in at], widest + 0.08 / width, widest / 2, 1 - widest / 2)
    where = axes.get_xaxis_transform(), ("axes fraction", "offset points")
    for mark, place in zip(tops, places, strict=True):
        _name(axes, mark, where, (place, 11), points, ("center", "bottom"))


def _in_axes(axes: Axes, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    place = axes.transData + axes.transAxes.inverted()
    return [tuple(place.transform(point)) for point in points]


def _name(
    axes: Axes,
    mark: Mark,
    coordinates: tuple[Any, Any],
    place: tuple[float, float],
    points: float,
    alignment: tuple[str, str],
) -> None:
    # From the middle of the side that faces the axes, so that it crosses no other name.
    start = (0.0, 0.5) if alignment[0] == "left" else (0.5, 0.0)
    line = {"arrowstyle": "-", "color": mark.color, "lw": 0.5, "alpha": 0.6, "relpos": start}
    axes.annotate(
        mark.name,
        mark.point,
        xycoords=coordinates[0],
        xytext=place,
        textcoords=coordinates[1],
        ha=alignment[0],
        va=alignment[1],
        fontsize=points,
        color=mark.color,
        annotation_clip=False,
        arrowprops={**line, "shrinkA": 0, "shrinkB": 0},
    )
