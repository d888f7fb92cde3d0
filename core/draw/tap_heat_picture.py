"""Taps by dimensions: how far each dimension of each tap is out of line, as colours.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure

from ..outliers.tap_survey import TapSurvey
from ..profile.heat_map import WIDEST_MAP
from .figures import LOUD, name_decades, to_pixels
from .fonts import text_style
from .labels import Mark, broken, name_above
from .outlier_picture import DPI, SIZE

POINTS = 11
UNDER = "#7c3aed"
"""The colour of the names of dimensions under the reference: the map's own purple."""
NAMED, COLUMNS = 10, 16
"""Dimensions named above the map, and those drawn one by one below it."""
ON_PALE = "#111111"
"""The colour of numbers in pale cells, which are pale on dark paper too."""
LEAST, MOST = 1.0, 4.0
"""Decades that the colours span at least and at most, either way."""


def tap_heat_picture(survey: TapSurvey, title: str) -> np.ndarray:
    """(height, width, 3) float32 in 0..1, of the size of Outlier Report's other picture."""
    return to_pixels(tap_heat_figure(survey, title))


def tap_heat_figure(survey: TapSurvey, title: str) -> Figure:
    """Above, all dimensions; below, each of those that are farthest out of line in any tap.

    Orange is over the reference, purple under it.
    """
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    shown = broken(title, POINTS + 1, SIZE[0] - 0.5, 1)
    figure.suptitle(shown, x=0.01, ha="left", fontsize=POINTS + 1, **text_style(shown))
    ratios = survey.ratios.clamp(10.0**-MOST, 10.0**MOST).log10()
    reach = min(max(float(ratios.abs().max()), LEAST), MOST)
    colors = {"cmap": "PuOr_r", "vmin": -reach, "vmax": reach, "aspect": "auto"}
    names = [survey.taps.name(tap) for tap in range(len(survey.taps))]
    farthest = list(dict.fromkeys(one.dimension for _, one in survey.outliers))[:COLUMNS]
    panels = figure.subplots(2 if farthest else 1, 1, squeeze=False)[:, 0]
    whole = panels[0]
    each = math.ceil(ratios.shape[1] / WIDEST_MAP)
    grid = farthest_of(ratios, each)
    rows, right = len(names), grid.shape[1] * each - 0.5
    image = whole.imshow(
        grid.numpy(), interpolation="nearest", extent=(-0.5, right, rows - 0.5, -0.5), **colors
    )
    whole.set_xlim(-0.5, ratios.shape[1] - 0.5)
    marks = [
        Mark((dimension, 0.0), str(dimension), LOUD if _is_loud(ratios[:, dimension]) else UNDER)
        for dimension in farthest[:NAMED]
    ]
    name_above(whole, marks, SIZE[0] - 3, POINTS - 2)
    shared = f"; a column is the farthest of {each}" if each > 1 else ""
    whole.set_xlabel(f"dimension of a tap{shared}", fontsize=POINTS)
    bar = figure.colorbar(image, ax=list(panels), pad=0.01)
    name_decades(bar, -reach, reach)
    bar.set_label("std over the reference", fontsize=POINTS)
    if farthest:
        cells = panels[1]
        chosen = ratios[:, farthest]
        cells.imshow(chosen.numpy(), **colors)
        cells.set_xlim(-0.5, max(len(farthest), 8) - 0.5)
        cells.set_xticks(range(len(farthest)), [str(number) for number in farthest])
        cells.set_xlabel("the dimensions that are farthest out of line in one tap", fontsize=POINTS)
        for (tap, column), value in np.ndenumerate(survey.ratios[:, farthest].numpy()):
            dark = abs(float(chosen[tap, column])) > 0.65 * reach
            cells.annotate(
                f"{value:.2g}",
                (column, tap),
                ha="center",
                va="center",
                fontsize=POINTS - 3,
                color="white" if dark else ON_PALE,
            )
    step = math.ceil(rows / 16)
    for axes in panels:
        axes.set_yticks(range(0, rows, step), names[::step])
        axes.tick_params(labelsize=POINTS - 1)
    return figure


def farthest_of(ratios: torch.Tensor, each: int) -> torch.Tensor:
    """(taps, columns): of every ``each`` neighbouring logarithms the one farthest from 0."""
    padded = torch.nn.functional.pad(ratios, (0, -ratios.shape[1] % each))
    groups = padded.unflatten(1, (-1, each))
    chosen = groups.abs().argmax(-1, keepdim=True)
    return groups.gather(-1, chosen)[..., 0]


def _is_loud(ratios: torch.Tensor) -> bool:
    """Whether the tap that is farthest out of line is over its reference."""
    return bool(ratios[ratios.abs().argmax()] > 0)
