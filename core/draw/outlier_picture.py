"""The picture of an outlier survey: dimensions, the tokens that carry them, what the DiT sees.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import blended_transform_factory
from torch import Tensor

from ..dit.view import FirstMatrix, strips
from ..outliers.survey import NO_OUTLIER, Survey, SurveyedOutlier, Zeroing, zeroing
from ..record.record import Record
from .figures import (
    CALM,
    FLOOR,
    GREY,
    LOUD,
    QUIET,
    log_ticks,
    name_decades,
    open_frame,
    to_pixels,
)
from .fonts import printable, text_style
from .labels import Mark, broken, name_on_the_right
from .token_columns import Column, largest, token_columns

SIZE, DPI = (11.0, 8.8), 110
"""Inches and pixels per inch; the same for every picture, so that they make one batch. On a node
700 pixels wide a font of 10 points is 9 pixels high."""
POINTS, SMALL = 11.0, 10.0
"""Sizes of the fonts: titles, and all else."""
LEFT, RIGHT = 3.4, 5.8
"""Inches that the titles of either side have."""
MIDDLE = 4.7
"""Inches from the left edge to the panels on the right."""
LINE, PAD = 1.22 * POINTS / 72, 10 / 72
"""Inches that a line of a title takes, and that lie between it and its panel. The panels are put in
place by such numbers: for matplotlib to find them out takes longer than to draw all there is."""
ROWS, NAMED = 14, 8
"""Dimensions in the panel of tokens, and dimensions named in the panel of stds."""
TOKEN_LETTERS = 18


def outlier_picture(
    hidden: Tensor,
    record: Record,
    survey: Survey,
    weight: Tensor | None = None,
    measured_against: str = "",
    matrix: FirstMatrix | None = None,
    effect: Zeroing | None = None,
) -> np.ndarray:
    """(height, width, 3) float32 in 0..1, always of one size.

    Args:
        hidden: (batch, tokens, width); of a batch the largest value of each token is shown.
        weight: (width,) of the DiT's RMSNorm, if it is known.
        measured_against: the reference in words; empty if the states are their own.
        matrix: the DiT's layer after it, if it is known.
        effect: of the survey's dimensions, if it is known already.
    """
    figure = outlier_figure(hidden, record, survey, weight, measured_against, matrix, effect)
    return to_pixels(figure)


def outlier_figure(
    hidden: Tensor,
    record: Record,
    survey: Survey,
    weight: Tensor | None = None,
    measured_against: str = "",
    matrix: FirstMatrix | None = None,
    effect: Zeroing | None = None,
) -> Figure:
    """The figure of :func:`outlier_picture`."""
    hidden = hidden.detach().float().cpu()
    magnitude = hidden.abs().amax(0)
    rows = _rows(magnitude, survey)
    always = _always_shown(survey)
    norms = [torch.linalg.vector_norm(strip.double(), dim=-1) for strip in strips(hidden)]
    columns = token_columns(torch.cat(norms, 1).amax(0), always)
    figure = Figure(figsize=SIZE, dpi=DPI)
    std, tokens, bar, seen = (figure.add_axes((0, 0, 1, 1)) for _ in range(4))
    _draw_stds(std, survey, measured_against)
    _draw_tokens(tokens, bar, magnitude, rows, columns, survey)
    effect = effect or zeroing(hidden, survey.dimensions or rows, weight, matrix)
    _draw_seen(seen, effect, survey, rows, columns, weight, matrix)
    _name_columns(seen, columns, record, survey)
    _arrange(figure, std, tokens, bar, seen)
    title = broken(
        f"{record.source}, {record.layer_in_words}: {hidden.shape[1]} token"
        f"{'' if hidden.shape[1] == 1 else 's'} x {hidden.shape[2]} dimensions",
        12,
        SIZE[0] - 0.5,
        1,
    )
    figure.suptitle(title, x=0.01, y=0.995, ha="left", fontsize=12, **text_style(title))
    return figure


def _arrange(figure: Figure, std: Axes, tokens: Axes, bar: Axes, seen: Axes) -> None:
    """Put the panels where their texts have the room that they need."""
    renderer = FigureCanvasAgg(figure).get_renderer()

    def largest_of(texts: Sequence[Text]) -> np.ndarray:
        sizes = [Text.get_window_extent(text, renderer).size for text in texts]
        return np.max([(0, 0), *sizes], axis=0) / DPI

    width, height = SIZE
    top = height - 0.3 - max(_title_height(std), _title_height(tokens))
    numbers, _ = largest_of(std.get_yticklabels())
    names, _ = largest_of([text for text in std.texts if isinstance(text, Annotation)])
    left = 0.4 + numbers
    _place(std, left, 1.15, left + (MIDDLE - 0.84 - left - names) / 1.03, top)
    _put_label(std.yaxis, 0.24)
    numbers, _ = largest_of(bar.get_yticklabels())
    right = width - 0.36 - numbers
    _, names = largest_of(seen.get_xticklabels())
    low = min(0.46 + names, 3.9)
    room = top - low - _title_height(seen) - 0.15
    middle = top - max(0.55 * room, 0.146 * ROWS)
    _place(tokens, MIDDLE, middle, right - 0.23, top)
    _place(bar, right - 0.17, middle, right, top)
    _place(seen, MIDDLE, low, right - 0.23, low + room - (top - middle))
    _put_label(tokens.yaxis, MIDDLE - 0.6)
    _put_label(seen.yaxis, MIDDLE - 0.6)
    _put_label(seen.xaxis, 0.3)
    _put_label(bar.yaxis, width - 0.24)


def _place(axes: Axes, left: float, bottom: float, right: float, top: float) -> None:
    """All in inches from the lower left corner."""
    width, height = SIZE
    size = ((right - left) / width, (top - bottom) / height)
    axes.set_position((left / width, bottom / height, *size))


def _put_label(axis: Axis, inches: float) -> None:
    """Write the name of an axis at its middle, so far from the left or the lower edge."""
    along, across = axis.axes.transAxes, axis.get_figure().dpi_scale_trans
    if axis.axis_name == "x":
        axis.set_label_coords(0.5, inches, blended_transform_factory(along, across))
    else:
        axis.set_label_coords(inches, 0.5, blended_transform_factory(across, along))


def _title_height(axes: Axes) -> float:
    """Inches that the title takes above its panel."""
    return PAD + LINE * len(axes.get_title(loc="left").splitlines())


def _rows(magnitude: Tensor, survey: Survey) -> list[int]:
    """The findings, farthest first, then the dimensions with the largest values."""
    rows = survey.dimensions[:ROWS]
    loudest = magnitude.amax(0).argsort(descending=True, stable=True).tolist()
    more = [dimension for dimension in loudest[: 2 * ROWS] if dimension not in rows]
    return rows + more[: ROWS - len(rows)]


def _always_shown(survey: Survey) -> list[int]:
    """Positions of sink tokens and of the tokens that carry a finding."""
    sinks = survey.sinks.any(0).nonzero().flatten().tolist()
    return [*sinks, *(finding.top.position for finding in survey.outliers[:ROWS])]


def _draw_stds(axes: Axes, survey: Survey, measured_against: str) -> None:
    open_frame(axes)
    _title(
        axes, "Std of every dimension, against " + (measured_against or survey.whole.expected.name)
    )
    whole = survey.stats.all.std.numpy()
    if survey.stats.all.tokens < 2 or whole.max() <= 0:
        return _message(axes, "Fewer than two different tokens have no spread to measure.")
    bare = (
        survey.stats.without_sinks.std.numpy() if survey.stats.without_sinks.tokens > 1 else whole
    )
    reference = survey.whole.expected.std.numpy()
    floor = whole[whole > 0].min() / 3
    whole, bare = whole.clip(floor), bare.clip(floor)
    if measured_against:
        x, bare_x = _spread_out(reference), _spread_out(survey.bare.expected.std.numpy())
    else:
        x = bare_x = _ranks(whole)
    axes.set_xscale("log")
    axes.set_yscale("log")
    if survey.stats.sinks.tokens:
        ring = {"mfc": "none", "mec": CALM, "mew": 0.7, "ms": 4.5}
        axes.plot(bare_x, bare, "o", **ring, label="without sink tokens")
    axes.plot(x, whole, ".", color="black", ms=3.5, label="all tokens")
    wide = np.array([max(min(x.min(), bare_x.min()) / 2, FLOOR), max(x.max(), bare_x.max()) * 2])
    level = wide if measured_against else np.full(2, max(reference[0], floor))
    for factor in (1.0, survey.threshold, 1.0 / survey.threshold):
        axes.plot(wide, level * factor, "-" if factor == 1.0 else ":", color=GREY, lw=1)
    shown = np.concatenate([whole, bare])
    low, high = shown.min() / 2, max(shown.max(), reference.max()) * 2
    if not measured_against:
        low, high = (
            min(low, level[0] / survey.threshold / 2),
            max(high, level[0] * survey.threshold * 2),
        )
    axes.set_xlim(wide)
    axes.set_ylim(low, high)
    marks = []
    for direction, color in (("loud", LOUD), ("quiet", QUIET)):
        some = [finding for finding in survey.outliers if _direction(finding) == direction]
        if some:
            marks += _draw_findings(axes, some, (x, whole), (bare_x, bare), color)
    log_ticks(axes.xaxis, *wide)
    log_ticks(axes.yaxis, low, high)
    name_on_the_right(axes, marks, 5.5, SMALL)
    axes.set_xlabel(
        "std of the reference" + (" (equal values are spread out)" if _is_flat(reference) else "")
        if measured_against
        else "rank by std over all tokens (1: the loudest)"
    )
    axes.set_ylabel(
        f"std of these states (dotted: {survey.threshold:g}x more and less than the reference)"
    )
    inches = axes.figure.dpi_scale_trans
    axes.xaxis.set_label_coords(2.0, 0.88, inches)
    place = {"loc": "upper center", "bbox_to_anchor": (2.0, 0.68), "bbox_transform": inches}
    axes.legend(**place, ncols=2, frameon=False, fontsize=SMALL)


def _draw_findings(
    axes: Axes,
    findings: list[SurveyedOutlier],
    whole: tuple[np.ndarray, np.ndarray],
    bare: tuple[np.ndarray, np.ndarray],
    color: str,
) -> list[Mark]:
    """Draw findings, with a thin line from each one's std to that without sinks; names of some."""
    at = [finding.dimension for finding in findings]
    gap = np.full(len(at), np.nan)
    links = [
        np.stack([a[at], b[at], gap], axis=1).ravel() for a, b in zip(whole, bare, strict=True)
    ]
    axes.plot(*links, "-", color=color, lw=0.6, alpha=0.5)
    ends = []
    for finding in findings:
        x, y = bare if _only_without_sinks(finding) else whole
        ends.append((x[finding.dimension], y[finding.dimension]))
    label = f"{_direction(findings[0])}: {len(findings)}"
    size = 6 if len(findings) <= 2 * NAMED else 3.5
    axes.plot(*zip(*ends, strict=True), "o", color=color, ms=size, label=label)
    named = zip(findings[:NAMED], ends[:NAMED], strict=True)
    return [Mark(end, f"{finding.dimension} {_times(finding)}", color) for finding, end in named]


def _draw_tokens(
    axes: Axes,
    bar_axes: Axes,
    magnitude: Tensor,
    rows: list[int],
    columns: list[Column],
    survey: Survey,
) -> None:
    scale = max(float(magnitude.median()), FLOOR)
    grid = largest(magnitude[:, rows].T / scale, columns).clamp(min=0.1).log10().numpy()
    top = max(float(grid.max()), 1.0)
    image = axes.imshow(grid, aspect="auto", cmap="magma", vmin=-1, vmax=top)
    axes.set_yticks(range(len(rows)), [str(dimension) for dimension in rows], fontsize=SMALL)
    directions = {f.dimension: _direction(f) for f in survey.outliers}
    colors = {"loud": LOUD, "quiet": QUIET}
    for label, dimension in zip(axes.get_yticklabels(), rows, strict=True):
        if dimension in directions:
            label.set(color=colors[directions[dimension]], fontweight="bold")
    axes.set_ylabel("dimension")
    axes.set_xticks([])
    bar = axes.figure.colorbar(image, cax=bar_axes)
    bar.set_label("|x| over the median |x|", fontsize=SMALL)
    name_decades(bar, -1, top, fontsize=SMALL)
    flagged = min(len(survey.outliers), len(rows))
    what = f"{flagged} of {len(survey.outliers)} out of line (coloured), then the loudest others"
    if flagged == 0:
        what = "none is out of line: the loudest"
    elif flagged == len(rows):
        what = f"the farthest of {len(survey.outliers)} out of line (orange loud, green quiet)"
    title = f"Which token carries the dimension: {what}"
    runs = [column for column in columns if column.is_run]
    if runs:
        hidden = sum(column.last - column.first + 1 for column in runs)
        title += (
            f". {len(columns) - len(runs)} tokens alone (sinks, largest norms), the other {hidden} "
            f"as {len(runs)} runs, each by its largest value"
        )
    _title(axes, title, RIGHT)


def _draw_seen(
    axes: Axes,
    effect: Zeroing,
    survey: Survey,
    rows: list[int],
    columns: list[Column],
    weight: Tensor | None,
    matrix: FirstMatrix | None,
) -> None:
    open_frame(axes)
    places = np.arange(len(columns))
    change, before, after = (
        largest(values.cpu().amax(0).double(), columns).numpy()
        for values in (effect.change.relative_l2, effect.share_before, effect.share_after)
    )
    axes.bar(places, change, 0.8, color="#cbd5e1", label="change if zeroed (relative L2)")
    axes.plot(places, before, "o", mfc="none", mec=CALM, ms=7, label="share before the norm")
    axes.plot(places, after, "o", color=LOUD, ms=3.5, label="share after it")
    axes.set_ylim(0, 1.2 * max(1.0, float(change.max())))
    axes.set_ylabel("per token")
    close = {"handlelength": 1.2, "handletextpad": 0.3, "columnspacing": 0.8, "borderpad": 0.2}
    axes.legend(
        loc="upper right", ncols=3, fontsize=SMALL - 1, framealpha=0.85, edgecolor="none", **close
    )
    number = len(survey.outliers)
    which = f"the {number} out of line" if number else f"the {len(rows)} above"
    norm = (
        "RMSNorm with weight 1, as no MODEL is connected: shares are the same before and after"
        if weight is None
        else "The norm and the matrix after it are this MODEL's own (cap_embedder)"
        if matrix is not None
        else "RMSNorm with this MODEL's own cap_embedder[0].weight"
    )
    _title(axes, f"What the DiT sees of {which}: share of each token's squared norm. {norm}", RIGHT)


def _name_columns(axes: Axes, columns: list[Column], record: Record, survey: Survey) -> None:
    """Tokens by position and text, sinks in colour, runs by their ends."""
    sinks = survey.sinks.any(0)
    labels = [
        f"{column.first} to {column.last}"
        if column.is_run
        else f"'{printable(record.texts[column.first], TOKEN_LETTERS)}' {column.first}"
        for column in columns
    ]
    axes.set_xticks(range(len(columns)), labels, rotation=90, fontsize=SMALL, **text_style(*labels))
    axes.set_xlim(-0.6, len(columns) - 0.4)
    for label, column in zip(axes.get_xticklabels(), columns, strict=True):
        if column.is_run:
            label.set(color=GREY, fontstyle="italic")
        elif bool(sinks[column.first]):
            label.set(color=LOUD, fontweight="bold")
    named = "tokens (position last; sink tokens in orange)" if bool(sinks.any()) else "tokens"
    axes.set_xlabel(named, fontsize=SMALL)


def _only_without_sinks(finding: SurveyedOutlier) -> bool:
    """Whether it is out of line only in the view without sink tokens."""
    return finding.whole.direction == NO_OUTLIER


def _direction(finding: SurveyedOutlier) -> str:
    view = finding.bare if _only_without_sinks(finding) else finding.whole
    return view.direction


def _times(finding: SurveyedOutlier) -> str:
    """The ratio in the view that put the dimension out of line."""
    ratio = (finding.bare if _only_without_sinks(finding) else finding.whole).ratio
    if ratio == 0:
        return "(silent)"
    times = max(ratio, 1 / ratio)
    shown = f"{times:,.0f}" if times >= 100 else f"{times:.3g}"
    return f"({shown}x)" if ratio >= 1 else f"(1/{shown}x)"


def _ranks(std: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(std))
    ranks[np.argsort(-std, kind="stable")] = np.arange(1, len(std) + 1)
    return ranks


def _is_flat(reference: np.ndarray) -> bool:
    """Whether most dimensions share one reference value, as in the published figures."""
    return bool(np.mean(reference == np.median(reference)) > 0.5)


def _spread_out(reference: np.ndarray) -> np.ndarray:
    """``reference``, positive, equal values fanned out by up to 15 % so that dots can be told."""
    positive = reference[reference > 0]
    x = reference.clip(positive.min() / 3 if len(positive) else 1.0)
    if _is_flat(reference):
        fan = np.linspace(-0.06, 0.06, len(x))
        x = np.where(reference == np.median(reference), x * 10**fan, x)
    return x


def _title(axes: Axes, text: str, width: float = LEFT) -> None:
    """``width`` in inches."""
    shown = broken(text, POINTS, width, 4)
    axes.set_title(shown, loc="left", fontsize=POINTS, y=1.0, pad=72 * PAD, **text_style(shown))


def _message(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, broken(text, 10, 3.5, 3), ha="center", va="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])
