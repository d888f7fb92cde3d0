"""The picture of what the image model makes of each variant of a caption.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import math
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..dit.response import Response, Responses, percent
from .figures import CALM, GREY, LOUD, QUIET, open_frame, to_pixels
from .fonts import text_style
from .labels import Mark, broken, name_on_the_right

WIDTH, ROW, LEAST, DPI = 10.5, 0.27, 5.6, 100
"""Inches of the picture, of a variant's row and of the lowest picture; pixels per inch."""
POINTS = 11
CURVES = 7
"""Variants that have a curve: those of the largest response."""
COLORS = (CALM, LOUD, QUIET, "#7c3aed", "#b45309", "#0e7490", "#be185d")
SWEEP = 12
"""From so many layers on, they are a curve and not rows."""
LOWEST = 1e-6
"""The left edge of a logarithmic axis of shares, where 0 is drawn too."""


def response_picture(responses: Responses, title: str) -> np.ndarray:
    """(height, width, 3) float32 in 0..1; the height grows with the variants, but for a sweep of
    layers."""
    return to_pixels(response_figure(responses, title))


def response_figure(responses: Responses, title: str) -> Figure:
    """Every variant's share at every step, and the curves of the largest over the noise level."""
    layers = _swept_layers(responses)
    height = LEAST if layers else max(LEAST, 2.0 + ROW * (len(responses.rows) + 1))
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    shown = broken(title, POINTS + 1, WIDTH - 0.5, 1)
    figure.suptitle(shown, x=0.01, ha="left", fontsize=POINTS + 1, **text_style(shown))
    rows, curves = figure.subplots(1, 2, width_ratios=[2 if layers else 1.25, 1])
    low = _lowest(responses)
    if layers:
        _draw_layers(rows, responses, layers)
    else:
        _draw_rows(rows, responses, low)
    _draw_curves(curves, responses, low, height)
    return figure


def _swept_layers(responses: Responses) -> list[int]:
    """The layers that the labels name, if they name :data:`SWEEP` of them or more and nothing
    else."""
    named = [re.fullmatch(r"layer (-\d+)", row.label) for row in responses.rows]
    layers = [int(match[1]) for match in named if match]
    whole = len(layers) == len(set(layers)) == len(named)
    return layers if whole and len(layers) >= SWEEP else []


def _lowest(responses: Responses) -> float:
    shares = [share for row in responses.rows for share in row.share]
    some = [share for share in shares if math.isfinite(share) and share > 0]
    return max(min([*some, 0.01]) / 2, LOWEST)


def _draw_rows(axes: Axes, responses: Responses, low: float) -> None:
    open_frame(axes)
    band = "; grey: controls" if responses.controls else ""
    title = f"Share of what removing the prompt\nchanges{band}"
    axes.set_title(title, loc="left", fontsize=POINTS)
    places = np.arange(len(responses.rows))[::-1]
    for place, row in zip(places, responses.rows, strict=True):
        span = responses.controls_of(row)
        if span:
            ends = [_drawn(share, low) for share in span]
            axes.fill_betweenx([place - 0.5, place + 0.5], *ends, color=GREY, alpha=0.18, lw=0)
    for number, step in enumerate(responses.steps):
        shares = [_drawn(row.share[number], low) for row in responses.rows]
        color = COLORS[number % len(COLORS)]
        axes.semilogx(shares, places, "o", color=color, ms=6, label=f"step {step}")
    axes.axvline(1.0, color=GREY, lw=1)
    axes.set_xlim(low / 1.3, 3.0)
    labels = [broken(row.label, POINTS - 1, 2.6, 1) for row in responses.rows]
    axes.set_yticks(places, labels, fontsize=POINTS - 1)
    for tick, label, row in zip(axes.get_yticklabels(), labels, responses.rows, strict=True):
        tick.set(color=GREY if row.is_control else "black", **text_style(label))
    axes.set_ylim(-0.7, len(responses.rows) - 0.3)
    _name_steps(axes, responses, -0.07)
    _name_shares(axes.xaxis, low)


def _draw_layers(axes: Axes, responses: Responses, layers: list[int]) -> None:
    """From the first layer on the left to the last on the right, 0 % at the bottom; -2, Z-Image's
    own, is among the named ones."""
    open_frame(axes)
    axes.set_title("Share of what removing the prompt changes", loc="left", fontsize=POINTS)
    order = np.argsort(layers)
    for number, step in enumerate(responses.steps):
        shares = [100 * responses.rows[place].share[number] for place in order]
        color = COLORS[number % len(COLORS)]
        axes.plot(np.sort(layers), shares, "o-", color=color, ms=4, lw=1.5, label=f"step {step}")
    axes.axhline(100, color=GREY, lw=1)
    axes.set_ylim(0, max(105.0, axes.get_ylim()[1]))
    apart = math.ceil((max(layers) - min(layers)) / 10)
    between = range(min(layers), max(layers) + 1)
    axes.set_xticks([layer for layer in between if (layer + 2) % apart == 0])
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_xlabel("layer", fontsize=POINTS)
    axes.tick_params(labelsize=POINTS - 1)
    _name_steps(axes, responses, -0.12)


def _name_steps(axes: Axes, responses: Responses, below: float) -> None:
    axes.legend(
        fontsize=POINTS - 1,
        loc="upper center",
        bbox_to_anchor=(0.5, below),
        ncols=min(4, len(responses.steps)),
        frameon=False,
    )


def _draw_curves(axes: Axes, responses: Responses, low: float, height: float) -> None:
    open_frame(axes)
    axes.set_title("Over the noise level, the largest", loc="left", fontsize=POINTS)
    for span in responses.controls.values():
        ends = (_drawn(share, low) for share in span)
        axes.axhspan(*ends, color=GREY, alpha=0.18, lw=0)
    judged = [row for row in responses.rows if not row.is_control]
    largest = sorted(judged, key=_mean, reverse=True)[:CURVES]
    marks = []
    for number, row in enumerate(largest):
        shares = [_drawn(share, low) for share in row.share]
        color = COLORS[number % len(COLORS)]
        axes.semilogy(responses.sigmas, shares, "o-", color=color, ms=4, lw=1.5)
        name = f"{broken(row.label, POINTS, 1.9, 1)}: {percent(row.mean_share)}"
        marks.append(Mark((responses.sigmas[-1], shares[-1]), name, color))
    axes.axhline(1.0, color=GREY, lw=1)
    axes.set_ylim(low / 1.3, 3.0)
    high, end = max(responses.sigmas), min(responses.sigmas)
    room = 0.05 * (high - end) or 0.05
    # The sampling goes from left to right.
    axes.set_xlim(high + room, end - room)
    axes.set_xlabel("noise level sigma", fontsize=POINTS)
    axes.tick_params(labelsize=POINTS - 1)
    _name_shares(axes.yaxis, low)
    name_on_the_right(axes, marks, height - 1.6, POINTS)


def _drawn(share: float, low: float) -> float:
    return max(share, low) if math.isfinite(share) else math.nan


def _mean(row: Response) -> float:
    return row.mean_share if math.isfinite(row.mean_share) else -1.0


def _name_shares(axis, low: float) -> None:
    ticks = [10.0**power for power in range(math.floor(math.log10(low)) + 1, 1)]
    axis.set_ticks(ticks, [percent(tick) for tick in ticks], fontsize=POINTS - 1)
    axis.set_minor_formatter(lambda *_: "")
