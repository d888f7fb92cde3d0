"""Compare Grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import comfy.utils
import numpy as np
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..core.compare.compare_grid import (
    DIFFERENCES,
    MOST_COLUMNS,
    Cell,
    Compared,
    check_baseline,
    check_columns,
    compare,
    compare_table,
    grid_shape,
    make_cells,
    read_titles,
)
from .lists import only, require_values
from .node import Node
from .pictures import require_matplotlib, to_image
from .preview_files import write_preview
from .report import shown_report
from .types import CATEGORY

MORE_IMAGES = [f"image{number}" for number in range(2, 101)]
"""Sockets beside ``images``: the page shows the next one as soon as the last is connected."""
MOST_SHOWN = 64 * 1024 * 1024
"""Pixels of all cells together that are written for the page's viewer."""


class CompareGrid(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabCompareGrid",
            display_name="Compare Grid",
            category=CATEGORY,
            description="Puts a list of images into one labelled picture, each pixel by pixel, and "
            "measures them against one of them: PSNR, SSIM and how much of a 16-pixel grid each "
            "shows.",
            search_aliases=[
                "artifact",
                "contact sheet",
                "xy plot",
                "image grid",
                "psnr",
                "ssim",
                "difference",
            ],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.Image.Input(
                    "images",
                    tooltip="A list of images of any sizes; every image of a batch is a cell. The "
                    "grid is filled row by row.",
                ),
                io.String.Input(
                    "labels",
                    default="",
                    multiline=True,
                    tooltip="One label per image, in their order: Layer Sweep's list, or typed, "
                    "one per line. Empty: 1, 2, 3... Fewer or more labels than images are refused.",
                ),
                io.Int.Input(
                    "columns",
                    default=0,
                    min=0,
                    max=MOST_COLUMNS,
                    tooltip="0: as many as the titles say, or near square.",
                ),
                io.Int.Input(
                    "baseline",
                    default=0,
                    min=0,
                    max=9999,
                    tooltip="The image that the others are measured against, by the report's "
                    "index: 0 is the first.",
                ),
                _titles("row_titles", "from the top"),
                _titles("column_titles", "from the left"),
                io.Combo.Input(
                    "difference",
                    options=list(DIFFERENCES),
                    default="none",
                    optional=True,
                    advanced=True,
                    tooltip="none: the images. absolute: how far each pixel is from the "
                    "baseline's. heat map: the same in colours, on one scale for all cells.",
                ),
                io.Autogrow.Input(
                    "more_images",
                    template=io.Autogrow.TemplateNames(
                        io.Image.Input("image", optional=True), names=MORE_IMAGES, min=0
                    ),
                    optional=True,
                    tooltip="More images, one socket each: they are the cells after those of "
                    "images, in the order of the sockets. A new socket appears with every one "
                    "that is connected.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Size, PSNR, SSIM and grid score of every image.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, columns=None, row_titles=None, column_titles=None, more_images=None
    ) -> bool | str:
        """``more_images`` is not looked at: the host hands it over whether asked to or not."""
        typed = [
            [value for value in values or () if value is not None]  # None: connected
            for values in (columns, row_titles, column_titles)
        ]
        try:
            rows = read_titles("row_titles", typed[1])
            above = read_titles("column_titles", typed[2])
            for number in typed[0]:
                check_columns(number, rows, above)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def _is_typed(cls, name: str) -> bool:
        """Whether an input is a text on the node: a connected one may be a prompt with commas."""
        node = (cls.hidden.prompt or {}).get(cls.hidden.unique_id) if cls.hidden else None
        return not isinstance((node or {}).get("inputs", {}).get(name), list)

    @classmethod
    def execute(
        cls,
        images: Sequence[Tensor],
        labels: Sequence[str] = (),
        columns: Sequence[int] = (0,),
        baseline: Sequence[int] = (0,),
        row_titles: Sequence[str] = (),
        column_titles: Sequence[str] = (),
        difference: Sequence[str] = (DIFFERENCES[0],),
        more_images: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> io.NodeOutput:
        require_matplotlib()
        from ..core.compare.grid_picture import draw_grid, tiles_of

        batches, sources = _in_order(images, more_images or {})
        cells = make_cells(batches, labels, sources)
        shape = grid_shape(
            len(cells),
            only("columns", columns),
            read_titles("row_titles", row_titles, cls._is_typed("row_titles")),
            read_titles("column_titles", column_titles, cls._is_typed("column_titles")),
        )
        chosen = check_baseline(cells, only("baseline", baseline))
        named = any(str(label).strip() for label in labels)
        captions = ["" if shape.titled and not named else cell.label for cell in cells]
        tiles, legend = tiles_of(cells, shape, captions, only("difference", difference), chosen)
        picture = draw_grid(tiles, shape, legend)
        image = to_image([picture.pixels]).float().div_(255)
        names = [
            shape.place(index) if shape.titled and not named else cell.label
            for index, cell in enumerate(cells)
        ]
        progress = comfy.utils.ProgressBar(len(cells))
        prompt = cls.hidden.prompt if cls.hidden else None
        compared = compare(cells, chosen, lambda: progress.update(1))
        # The grid has as many pixels as all cells, and a PNG keeps one core busy. Not beside the
        # comparing, which has all cores: its threads would wait for each other.
        with ThreadPoolExecutor(1) as beside:
            preview = beside.submit(write_preview, picture.pixels, prompt)
            files = _cells_to_compare(cells, names)
        report = compare_table(cells, compared, chosen, shape)
        if picture.scale < 1:
            height, width = picture.pixels.shape[:2]
            report += (
                f"\nThe picture would have been too large: its images are scaled to "
                f"{picture.scale:.1%}, and it is {width}x{height}. The figures are of the images "
                "at their own size."
            )
        verdict = _verdict(cells, compared, chosen)
        shown = shown_report(report, verdict, ui.SavedImages([preview.result()]))
        shown.update(cells=files, baseline=[chosen])
        return io.NodeOutput(image, report, ui=shown)


def _verdict(cells: Sequence[Cell], compared: Sequence[Compared], chosen: int) -> str:
    """How like the baseline the others are, in one line."""
    others = [
        (one.ssim, cell.label)
        for index, (cell, one) in enumerate(zip(cells, compared, strict=True))
        if index != chosen and one.ssim is not None
    ]
    baseline = cells[chosen].label
    if not others:
        return f"no other image has the size of {baseline}, the baseline"
    least, label = min(others)
    if len(others) == 1:
        return f"{label} against {baseline}: SSIM {least:.3f}"
    most, nearest = max(others)
    return (
        f"against {baseline}: {label} differs most (SSIM {least:.3f}), {nearest} least ({most:.3f})"
    )


def _in_order(
    images: Sequence[Tensor | None], more_images: Mapping[str, Sequence[Tensor | None]]
) -> tuple[list[Tensor | None], list[str]]:
    """The batches of ``images``, then those of the sockets, and what errors call each."""
    batches = list(images)
    sources = [f"image {number} of the list" for number in range(1, len(batches) + 1)]
    for name in MORE_IMAGES:
        if name not in more_images:
            continue
        values, socket = more_images[name], f"more_images.{name}"
        require_values(socket, values)
        batches += values
        sources += [
            f"image {number} of the list at {socket}" if len(values) > 1 else socket
            for number in range(1, len(values) + 1)
        ]
    return batches, sources


def _cells_to_compare(cells: Sequence[Cell], names: Sequence[str]) -> list[list[str | int]]:
    """Write the cells as previews; [filename, subfolder, type, name, width, height] of each.

    The width and the height are the image's own, which the file has too unless all cells together
    are over :data:`MOST_SHOWN` pixels; 0 where there is no image. Filenames are empty where nothing
    is written: without an image, and where there is only one, which the grid's picture shows.
    Lists, as the host takes every dict in a node's answer for one more picture.
    """
    sizes = [(0, 0) if cell.pixels is None else cell.pixels.shape[1::-1] for cell in cells]
    scale = min(1.0, math.sqrt(MOST_SHOWN / sum(width * height for width, height in sizes)))
    comparable = sum(width > 0 for width, _ in sizes) > 1

    def row(cell: Cell, name: str, size: tuple[int, int]) -> list[str | int]:
        place = ["", "", ""]
        if comparable and cell.pixels is not None:
            saved = write_preview(_scaled(cell.pixels, scale))
            place = [saved["filename"], saved["subfolder"], saved["type"]]
        return [*place, name, *size]

    return [row(*of_one) for of_one in zip(cells, names, sizes, strict=True)]


def _scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return pixels
    height, width = (max(1, int(side * scale)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _titles(name: str, where: str) -> io.String.Input:
    axis = name.removesuffix("_titles")
    return io.String.Input(
        name,
        default="",
        optional=True,
        advanced=True,
        tooltip=f"One title per {axis}, {where}, for sweeps of two axes: divided by commas, by "
        "lines where there are several, or a connected list. Cells left over are shown as missing.",
    )
