"""What a reader gets of a figure: every text that is drawn, where, and what it lies on."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

INSIDE = 1.0
"""Pixels: letters do not reach to the edge of their box."""


class Seen(NamedTuple):
    """One text and its box in pixels, from the lower left corner."""

    text: str
    box: Bbox
    color: str


@contextmanager
def no_warning() -> Iterator[None]:
    """Nothing warns, such as of a character that no font has; what is old elsewhere may."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def seen_texts(figure: Figure) -> list[Seen]:
    """The texts that drawing ``figure`` draws; tick labels out of sight are none of them."""
    canvas, drawn = FigureCanvasAgg(figure), []
    original = Text.draw

    def draw(text, renderer, *arguments, **keywords):
        if text.get_visible() and text.get_text().strip():
            drawn.append((text, renderer))
        return original(text, renderer, *arguments, **keywords)

    Text.draw = draw
    try:
        canvas.draw()
    finally:
        Text.draw = original
    return [
        Seen(text.get_text(), Text.get_window_extent(text, renderer), to_hex(text.get_color()))
        for text, renderer in drawn
    ]


def words(figure: Figure) -> list[str]:
    """The texts that are drawn, sorted."""
    return sorted(seen.text for seen in seen_texts(figure))


def assert_readable(figure: Figure) -> None:
    """No text leaves the canvas, lies over another one, or over a line, a bar, a dot or an image.

    The lines that lead from a name to what it names may cross data, and do not count.
    """
    seen = seen_texts(figure)
    width, height = figure.bbox.width, figure.bbox.height
    for text, box, _ in seen:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} leaves the canvas of {width} x {height} pixels: {box}"
    for number, (text, box, _) in enumerate(seen):
        for other, second, _ in seen[:number]:
            assert not _meet(box, second), f"{text!r} and {other!r} overlap: {box}, {second}"
    for axes in figure.axes:
        for name, shape in _data_of(axes):
            for text, box, _ in seen:
                assert not _covers(_shrunk(box), shape), f"{text!r} lies over {name} at {box}"


def _data_of(axes) -> Iterator[tuple[str, Bbox | np.ndarray]]:
    """Boxes, and lines as many (x, y) in pixels, of what the axes show, where it is shown."""
    window = axes.bbox.frozen()
    for line in axes.lines:
        points = line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float))
        dense = _dense(points) if line.get_linestyle() != "None" else points
        dense = dense[np.isfinite(dense).all(1)]
        low, high = np.array([window.x0, window.y0]), np.array([window.x1, window.y1])
        yield f"a line of {len(points)} points", dense[((dense >= low) & (dense <= high)).all(1)]
    for bar in axes.patches:
        box = bar.get_window_extent().frozen()
        if np.isfinite(box.extents).all() and box.width > 0 and box.height > 0:
            yield "a bar", box
    if axes.images:
        yield "an image", window


def _dense(points: np.ndarray) -> np.ndarray:
    """Points every half pixel along the line."""
    pieces = [points]
    for start, end in zip(points[:-1], points[1:], strict=True):
        length = np.abs(end - start).max()
        if np.isfinite(length) and length > 0:
            steps = np.linspace(0, 1, min(20_000, int(2 * length) + 2))[:, None]
            pieces.append(start + steps * (end - start))
    return np.concatenate(pieces)


def _shrunk(box: Bbox) -> Bbox:
    return Bbox.from_extents(box.x0 + INSIDE, box.y0 + INSIDE, box.x1 - INSIDE, box.y1 - INSIDE)


def _meet(a: Bbox, b: Bbox) -> bool:
    a, b = _shrunk(a), _shrunk(b)
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


def _covers(box: Bbox, shape: Bbox | np.ndarray) -> bool:
    if isinstance(shape, Bbox):
        return _meet(box, shape)
    x, y = shape.T
    return bool(((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).any())
