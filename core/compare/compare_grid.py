"""Images and labels as the cells of a grid, their differences, and the table that compares them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import require_whole_number, shortened
from ..tables import align
from .image_metrics import grid_artifact_score, psnr, ssim

DIFFERENCES = ("none", "absolute", "heat map")
MOST_COLUMNS = 1000


class Cell(NamedTuple):
    """``label``; ``pixels`` (height, width, 3) uint8, None where there is no image."""

    label: str
    pixels: np.ndarray | None

    @property
    def size(self) -> str:
        return "no image" if self.pixels is None else "{1}x{0}".format(*self.pixels.shape)


class Shape(NamedTuple):
    """A grid that is filled row by row; without titles an axis has an empty tuple."""

    rows: int
    columns: int
    row_titles: tuple[str, ...] = ()
    column_titles: tuple[str, ...] = ()

    @property
    def titled(self) -> bool:
        """Whether titles alone tell the cells apart: every axis longer than one has them."""
        axes = ((self.rows, self.row_titles), (self.columns, self.column_titles))
        return all(titles or length == 1 for length, titles in axes) and any(
            titles for _, titles in axes
        )

    def place(self, index: int) -> str:
        """The row and the column of a cell, by title or else by number."""
        row, column = divmod(index, self.columns)
        return (
            f"{self.row_titles[row] if self.row_titles else f'row {row + 1}'} / "
            f"{self.column_titles[column] if self.column_titles else f'column {column + 1}'}"
        )


class Compared(NamedTuple):
    """One cell against the baseline; a figure that does not exist is None, as the baseline's own.

    Attributes:
        psnr: in dB, infinity where all pixels are equal.
        grid: :func:`.image_metrics.grid_artifact_score`.
        same_size: whether it has the baseline's size, without which psnr and ssim do not exist.
    """

    psnr: float | None
    ssim: float | None
    grid: float | None
    same_size: bool


def make_cells(
    images: Sequence[Tensor | None], labels: Sequence[str], sources: Sequence[str] = ()
) -> list[Cell]:
    """Every image of every batch with its label.

    Args:
        images: (batch, height, width, channels) float in 0..1 each, of any sizes, rounded to 8
            bits here; 1 channel is grey, of 4 the last (alpha) is dropped. None is a missing image.
        labels: one per image, or one per batch, whose images are then numbered. A single text has
            one label per line. Nothing but blanks, or nothing: images are numbered from 1.
        sources: what errors call each of ``images``; none: ``image 2 of the list``.

    Raises:
        ValueError: for counts that do not match, for anything that is no image, NaN or infinity.
    """
    sources = sources or [f"image {number} of the list" for number in range(1, len(images) + 1)]
    batches = [_pixels(batch, source) for batch, source in zip(images, sources, strict=True)]
    pixels = [image for batch in batches for image in batch]
    if not any(image is not None for image in pixels):
        raise ValueError("images is empty: connect at least one image")
    numbers = [str(number) for number in range(1, len(pixels) + 1)]
    given = [" ".join(str(label).split()) for label in labels]
    if len(labels) == 1:
        lines = (" ".join(line.split()) for line in str(labels[0]).splitlines())
        given = [line for line in lines if line]
    if not given:
        given = numbers
    elif len(given) == len(batches) != len(pixels):
        given = [
            f"{label} #{number}".strip() if len(batch) > 1 else label
            for label, batch in zip(given, batches, strict=True)
            for number in range(1, len(batch) + 1)
        ]
    if len(given) != len(pixels):
        count = f"{len(given)} label{'' if len(given) == 1 else 's'}"
        batched = "" if len(batches) == len(pixels) else f" in {len(batches)} batches"
        raise ValueError(
            f"labels and images differ in number: {count} for {len(pixels)} images{batched}. "
            f"Give one label per image{' or per batch' if batched else ''}, in their order "
            "(typed ones stand one per line), or none at all"
        )
    return [
        Cell(label or number, image)
        for label, number, image in zip(given, numbers, pixels, strict=True)
    ]


def _pixels(batch: Tensor | None, source: str) -> list[np.ndarray | None]:
    """The images of a batch as (height, width, 3) uint8."""
    if batch is None:
        return [None]
    if not isinstance(batch, Tensor) or batch.ndim != 4 or 0 in batch.shape:
        what = tuple(batch.shape) if isinstance(batch, Tensor) else type(batch).__name__
        raise ValueError(f"{source} is {what}; it must be (batch, height, width, channels)")
    if batch.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{source} has {batch.shape[-1]} channels: it must be 1, 3 or 4")
    if batch.is_meta:
        raise ValueError(f"{source} holds no values: look at the node before it")
    # A sum is the quicker look; one that overflows does not say that a value is infinite.
    if not bool(batch.sum().isfinite()):
        finite = batch.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            place = (~finite).nonzero()[0].item() + 1
            which = f"{source}, image {place} of its batch," if len(batch) > 1 else source
            raise ValueError(f"{which} holds NaN or infinity: look at the node that made it")
    levels = (batch[..., :3].float() * 255).round_().clamp_(0, 255).to(torch.uint8)
    return list(levels.expand(-1, -1, -1, 3).cpu().numpy())


def read_titles(name: str, given: Sequence[str], typed: bool = True) -> tuple[str, ...]:
    """Titles of one axis: a single ``typed`` text is divided at its line ends, else at its commas.

    Raises:
        ValueError: if one of several titles is empty, as its row or column would shift.
    """
    titles = list(given)
    if len(titles) == 1 and typed:
        text = str(titles[0]).strip().removesuffix(",").strip()
        titles = text.split("\n" if "\n" in text else ",") if text else []
    titles = [" ".join(str(title).split()) for title in titles]
    if titles in ([], [""]):
        return ()
    if "" in titles:
        raise ValueError(
            f"{name}: title {titles.index('') + 1} of {len(titles)} is empty; remove the extra "
            "comma or line, or write a name"
        )
    return tuple(titles)


def check_columns(columns: int, row_titles: Sequence[str], column_titles: Sequence[str]) -> int:
    """``columns``; ValueError if it is out of range or not the number of column titles."""
    columns = require_whole_number("columns", columns, 0, MOST_COLUMNS)
    if column_titles and columns not in (0, len(column_titles)):
        raise ValueError(
            f"columns is {columns}, but there are {len(column_titles)} column_titles: set columns "
            "to 0"
        )
    return columns


def grid_shape(
    cells: int, columns: int = 0, row_titles: Sequence[str] = (), column_titles: Sequence[str] = ()
) -> Shape:
    """Rows and columns for so many cells; titles define them, else 0 columns is near square.

    Raises:
        ValueError: if there are more cells than places, or if it is open which cells are missing.
    """
    columns = check_columns(columns, row_titles, column_titles)
    columns = len(column_titles) or columns
    if row_titles:
        rows = len(row_titles)
        if not columns and cells % rows:
            raise ValueError(
                f"{cells} images do not fill {rows} rows (row_titles): give column_titles or "
                "columns too, so that it is known which are missing"
            )
        columns = columns or cells // rows
        if cells > rows * columns:
            raise ValueError(
                f"{cells} images do not fit into {rows} rows (row_titles) x {columns} columns: "
                "give more titles or fewer images"
            )
    else:
        columns = columns or math.ceil(math.sqrt(cells))
        rows = math.ceil(cells / columns)
    return Shape(rows, columns, tuple(row_titles), tuple(column_titles))


def check_baseline(cells: Sequence[Cell], baseline: int) -> int:
    """``baseline``; ValueError if it is not the index (from 0) of an image."""
    baseline = require_whole_number("baseline", baseline, 0, math.inf)
    if baseline >= len(cells):
        raise ValueError(
            f"baseline is {shortened(baseline)}, but there are {len(cells)} images: it must be "
            f"between 0 (the first) and {len(cells) - 1} (the last)"
        )
    if cells[baseline].pixels is None:
        raise ValueError(f"baseline is {baseline}, which has no image: choose another one")
    return baseline


def compare(
    cells: Sequence[Cell], baseline: int = 0, progress: Callable[[], None] | None = None
) -> list[Compared]:
    """Every cell against cell ``baseline``, on the 8-bit pixels; ``progress`` after each."""
    baseline = check_baseline(cells, baseline)
    reference = _unit(cells[baseline])
    results = []
    for index, cell in enumerate(cells):
        image = _unit(cell)
        alike, similar, grid, same = None, None, None, False
        if image is not None:
            grid = grid_artifact_score(image)
            same = image.shape == reference.shape
        if same and index != baseline:
            alike, similar = psnr(image, reference), ssim(image, reference)
        results.append(Compared(alike, similar, grid, same))
        if progress:
            progress()
    return results


def _unit(cell: Cell) -> Tensor | None:
    """(height, width, 3) float32 in 0..1."""
    return None if cell.pixels is None else torch.from_numpy(cell.pixels).float().div_(255)


def differences(cells: Sequence[Cell], baseline: int) -> list[np.ndarray | None]:
    """(height, width, 3) uint8: how many levels each pixel is off; None where sizes differ."""
    baseline = check_baseline(cells, baseline)
    reference = cells[baseline].pixels
    return [
        None
        if cell.pixels is None or cell.pixels.shape != reference.shape
        else np.maximum(cell.pixels, reference) - np.minimum(cell.pixels, reference)
        for cell in cells
    ]


def compare_table(
    cells: Sequence[Cell], compared: Sequence[Compared], baseline: int, shape: Shape
) -> str:
    """The table as plain text, and what its figures are."""
    titled = bool(shape.row_titles or shape.column_titles)
    header = ("index", "size", "PSNR (dB)", "SSIM", "grid score", "label")
    rows = [header]
    for index, (cell, result) in enumerate(zip(cells, compared, strict=True)):
        if cell.pixels is None:
            figures = ("-", "-", "-")
        elif index == baseline:
            figures = ("baseline", "baseline", _grid_words(result))
        elif not result.same_size:
            figures = ("different size", "different size", _grid_words(result))
        else:
            figures = (_psnr_words(result), _ssim_words(result), _grid_words(result))
        rows.append((str(index), cell.size, *figures, cell.label))
    for _ in range(len(cells), shape.rows * shape.columns if titled else 0):
        rows.append(("-", "no image", "-", "-", "-", "-"))
    if titled:
        places = ["row / column", *(shape.place(index) for index in range(len(rows) - 1))]
        rows = [(*row, place) for row, place in zip(rows, places, strict=True)]
    missing = sum(row[1] == "no image" for row in rows)
    images = sum(cell.pixels is not None for cell in cells)
    lines = [
        f"{images} image{'' if images == 1 else 's'} in {shape.rows} x {shape.columns} "
        f"(rows x columns), against index {baseline}: {cells[baseline].label}",
        *(
            [f"{missing} of {len(rows) - 1} cells without an image; images fill the rest in order"]
            if missing
            else []
        ),
        *align(rows),
        "PSNR and SSIM (1: equal) are those of the 8-bit pixels. Grid score: energy at the "
        "16-pixel period over that of its neighbourhood; about 1 where no such grid stands out.",
    ]
    return "\n".join(lines)


def _psnr_words(result: Compared) -> str:
    return "identical" if result.psnr == math.inf else f"{result.psnr:.2f}"


def _ssim_words(result: Compared) -> str:
    return "too small" if result.ssim is None else f"{result.ssim:.4f}"


def _grid_words(result: Compared) -> str:
    return "too small to tell" if result.grid is None else f"{result.grid:.2f}"
