"""The picture of a grid of images: every image pixel by pixel, under its label.

Needs Pillow and matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from ..checks import require_choice
from ..draw.picture_text import draw_lines, line_height, text_width, wrap
from .compare_grid import DIFFERENCES, Cell, Shape, differences

LARGEST_SIDE = 16383
"""Pixels; WebP, in which ComfyUI's page may ask for previews, holds no more."""
PAPER, INK, GREY, EDGE = "#ffffff", "#0f172a", "#64748b", "#cbd5e1"
BEHIND, BLANK = "#f1f5f9", "#e2e8f0"
"""Behind a smaller image, and in place of one that is missing."""
SMALLEST_FONT, LARGEST_FONT = 14, 48
CAPTION_LINES, TITLE_LINES, LEGEND_LINES = 3, 4, 2
SMALLEST_IMAGE = 16
"""Pixels of the larger side below which scaling down is given up."""


class Tile(NamedTuple):
    """What is drawn in one place of the grid.

    ``pixels`` (height, width, 3) uint8, None for a blank that says ``message``; ``caption`` and the
    grey ``note`` stand above it.
    """

    pixels: np.ndarray | None
    caption: str = ""
    note: str = ""
    message: str = "no image"


class Legend(NamedTuple):
    """``text`` under the grid; ``levels`` of 255 at the bright end of a heat map, else 0."""

    text: str = ""
    levels: int = 0


NO_LEGEND = Legend()


class GridPicture(NamedTuple):
    """``pixels`` (height, width, 3) uint8; ``scale`` of the images in it, 1 if untouched."""

    pixels: np.ndarray
    scale: float


class _Layout(NamedTuple):
    """Lengths in pixels; captions, titles and legend already broken into lines."""

    font: int
    gap: int
    cell: tuple[int, int]
    captions: list[list[str]]
    caption_height: int
    row_titles: list[list[str]]
    column_titles: list[list[str]]
    legend: list[str]
    left: int
    top: int
    width: int
    height: int


def tiles_of(
    cells: Sequence[Cell],
    shape: Shape,
    captions: Sequence[str],
    difference: str = "none",
    baseline: int = 0,
) -> tuple[list[Tile], Legend]:
    """What to draw: the images, or their differences to the baseline, which stays as it is.

    With titles, the places after the last cell are tiles without an image.

    Raises:
        ValueError: for a ``difference`` that is not one of :data:`DIFFERENCES`.
    """
    require_choice("difference", difference, DIFFERENCES)
    sizes = {cell.size for cell in cells if cell.pixels is not None}
    notes = [cell.size if len(sizes) > 1 and cell.pixels is not None else "" for cell in cells]
    pictures: list[np.ndarray | None] = [cell.pixels for cell in cells]
    legend = NO_LEGEND
    if difference != "none":
        pictures, legend = _differences(
            cells, baseline, difference, captions[baseline] or shape.place(baseline)
        )
        notes[baseline] = ", ".join(filter(None, [notes[baseline], "baseline"]))
    tiles = [
        Tile(pixels, caption, note, "no image" if cell.pixels is None else "different size")
        for pixels, caption, note, cell in zip(pictures, captions, notes, cells, strict=True)
    ]
    if shape.row_titles or shape.column_titles:
        tiles += [Tile(None)] * (shape.rows * shape.columns - len(tiles))
    return tiles, legend


def _differences(
    cells: Sequence[Cell], baseline: int, difference: str, name: str
) -> tuple[list[np.ndarray | None], Legend]:
    away = differences(cells, baseline)
    legend = Legend(f"absolute difference to {name}, unscaled")
    if difference == "heat map":
        largest = max(int(image.max()) for image in away if image is not None)
        colors = (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).round()
        levels = np.round(np.arange(256) / max(largest, 1) * 255).clip(0, 255).astype(np.uint8)
        table = colors.astype(np.uint8)[levels]
        away = [None if image is None else table[image.max(-1)] for image in away]
        legend = Legend(
            f"difference to {name}: the largest of red, green and blue, in levels of 255", largest
        )
    away[baseline] = cells[baseline].pixels
    return away, legend


def draw_grid(
    tiles: Sequence[Tile],
    shape: Shape,
    legend: Legend = NO_LEGEND,
    largest_side: int = LARGEST_SIDE,
) -> GridPicture:
    """Draw tiles row by row; a cell is as large as the largest image, smaller ones are centred.

    Images are never stretched. Only where the whole would be over ``largest_side`` are all of them
    scaled down alike, and the text stays legible.

    Raises:
        ValueError: if it does not fit even with images of 16 pixels.
    """
    sizes = [tile.pixels.shape[:2] for tile in tiles if tile.pixels is not None]
    largest = max(height for height, _ in sizes), max(width for _, width in sizes)
    scale = 1.0
    layout = _lay_out(tiles, shape, legend, largest)
    while max(layout.width, layout.height) > largest_side:
        scale *= min(0.99, largest_side / max(layout.width, layout.height))
        if scale * max(largest) < SMALLEST_IMAGE:
            raise ValueError(
                f"{shape.rows} rows x {shape.columns} columns with their labels do not fit into "
                f"{largest_side} x {largest_side} pixels: set columns to 0 or give fewer images"
            )
        layout = _lay_out(tiles, shape, legend, tuple(max(1, int(n * scale)) for n in largest))
    canvas = Image.new("RGB", (layout.width, layout.height), PAPER)
    draw = ImageDraw.Draw(canvas)
    _draw_titles(draw, layout)
    for index, tile in enumerate(tiles):
        left, top = _corner(layout, *divmod(index, shape.columns))
        _draw_tile(canvas, draw, tile, layout, index, (left, top), scale)
    if layout.legend:
        _draw_legend(canvas, draw, layout, legend)
    return GridPicture(np.asarray(canvas), scale)


def _lay_out(
    tiles: Sequence[Tile], shape: Shape, legend: Legend, largest: tuple[int, int]
) -> _Layout:
    font = min(max(round(max(largest) / 28), SMALLEST_FONT), LARGEST_FONT)
    line, gap = line_height(font), round(0.8 * font)
    height, width = max(largest[0], line + 2), max(largest[1], 8 * font)
    captions = [wrap(tile.caption, font, width, CAPTION_LINES) for tile in tiles]
    notes = max(len(wrap(tile.note, font, width, CAPTION_LINES)) for tile in tiles)
    lines = max(len(caption) for caption in captions) + notes
    caption_height = lines * line + (gap // 3 if lines else 0)
    titles = [wrap(title, font, min(width, 16 * font), TITLE_LINES) for title in shape.row_titles]
    longest = max((text_width(part, font) for title in titles for part in title), default=0)
    above = [wrap(title, font, width, TITLE_LINES) for title in shape.column_titles]
    left = gap + (round(longest) + gap if titles else 0)
    top = gap + (max(map(len, above)) * line + gap // 2 if above else 0)
    full = left + shape.columns * (width + gap)
    bottom = top + shape.rows * (caption_height + height + gap)
    under = wrap(legend.text, font, full - 2 * gap, LEGEND_LINES)
    bottom += len(under) * line + gap if under else 0
    bottom += line if legend.levels else 0
    return _Layout(
        font=font,
        gap=gap,
        cell=(height, width),
        captions=captions,
        caption_height=caption_height,
        row_titles=titles,
        column_titles=above,
        legend=under,
        left=left,
        top=top,
        width=full,
        height=bottom,
    )


def _corner(layout: _Layout, row: int, column: int) -> tuple[int, int]:
    """Left and top of a cell, caption included."""
    height, width = layout.cell
    return (
        layout.left + column * (width + layout.gap),
        layout.top + row * (layout.caption_height + height + layout.gap),
    )


def _draw_titles(draw: ImageDraw.ImageDraw, layout: _Layout) -> None:
    """Column titles centred above their columns, row titles beside the middle of their images."""
    height, width = layout.cell
    line = line_height(layout.font)
    for column, title in enumerate(layout.column_titles):
        left, _ = _corner(layout, 0, column)
        most = max(map(len, layout.column_titles))
        top = layout.gap + (most - len(title)) * line
        for number, part in enumerate(title):
            at = left + round((width - text_width(part, layout.font)) / 2)
            draw_lines(draw, [part], at, top + number * line, layout.font, INK)
    for row, title in enumerate(layout.row_titles):
        _, top = _corner(layout, row, 0)
        top += layout.caption_height + (height - len(title) * line) // 2
        draw_lines(draw, title, layout.gap, top, layout.font, INK)


def _draw_tile(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    tile: Tile,
    layout: _Layout,
    index: int,
    corner: tuple[int, int],
    scale: float,
) -> None:
    (left, top), (height, width), font = corner, layout.cell, layout.font
    note = wrap(tile.note, font, width, CAPTION_LINES)
    caption = layout.captions[index]
    # Captions stand right above their image, whatever others need.
    above = layout.caption_height - layout.gap // 3 if layout.caption_height else 0
    start = top + above - (len(caption) + len(note)) * line_height(font)
    draw_lines(draw, caption, left, start, font, INK)
    draw_lines(draw, note, left, start + len(caption) * line_height(font), font, GREY)
    top += layout.caption_height
    box = (left - 1, top - 1, left + width, top + height)
    if tile.pixels is None:
        draw.rectangle(box, fill=BLANK, outline=EDGE)
        draw.line((left, top, left + width - 1, top + height - 1), fill=EDGE)
        draw.line((left, top + height - 1, left + width - 1, top), fill=EDGE)
        words = wrap(tile.message, font, width, 2)
        wide = max(text_width(part, font) for part in words)
        at = left + round((width - wide) / 2)
        start = top + max(0, height - len(words) * line_height(font)) // 2
        draw.rectangle(
            (at - 4, start, at + round(wide) + 4, start + len(words) * line_height(font)),
            fill=BLANK,
        )
        draw_lines(draw, words, at, start, font, GREY)
        return
    draw.rectangle(box, fill=BEHIND, outline=EDGE)
    image = Image.fromarray(tile.pixels)
    if scale < 1:
        size = tuple(max(1, int(side * scale)) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    canvas.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))


def _draw_legend(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, layout: _Layout, legend: Legend
) -> None:
    """Text under the grid and, for a heat map, its colours from 0 to the largest difference."""
    font, line = layout.font, line_height(layout.font)
    bars = 1 if legend.levels else 0
    top = layout.height - layout.gap - (len(layout.legend) + bars) * line
    draw_lines(draw, layout.legend, layout.gap, top, font, INK)
    if not bars:
        return
    top += len(layout.legend) * line
    colors = (matplotlib.colormaps["magma"](np.linspace(0, 1, 6 * font))[:, :3] * 255).round()
    bar = np.broadcast_to(colors.astype(np.uint8), (font, 6 * font, 3))
    draw_lines(draw, ["0"], layout.gap, top, font, INK)
    left = layout.gap + font
    canvas.paste(Image.fromarray(np.ascontiguousarray(bar)), (left, top + line - font))
    draw_lines(draw, [str(legend.levels)], left + 6 * font + font // 3, top, font, INK)
