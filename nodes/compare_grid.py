"""Compare Grid."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.utils
from comfy_api.latest import io, ui
from torch import Tensor

from ..core.draw.compare_grid import (
    DIFFERENCES,
    MOST_COLUMNS,
    check_baseline,
    check_columns,
    compare,
    compare_table,
    grid_shape,
    make_cells,
    read_titles,
)
from .lists import only
from .node import Node
from .pictures import require_matplotlib, to_image
from .types import CATEGORY


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
    def validate_inputs(cls, columns=None, row_titles=None, column_titles=None) -> bool | str:
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
    ) -> io.NodeOutput:
        require_matplotlib()
        from ..core.draw.grid_picture import draw_grid, tiles_of

        cells = make_cells(images, labels)
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
        progress = comfy.utils.ProgressBar(len(cells))
        compared = compare(cells, chosen, lambda: progress.update(1))
        report = compare_table(cells, compared, chosen, shape)
        if picture.scale < 1:
            height, width = picture.pixels.shape[:2]
            report += (
                f"\nThe picture would have been too large: its images are scaled to "
                f"{picture.scale:.1%}, and it is {width}x{height}. The figures are of the images "
                "at their own size."
            )
        image = to_image([picture.pixels]).float() / 255
        return io.NodeOutput(image, report, ui=ui.PreviewImage(image, cls=cls))


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
