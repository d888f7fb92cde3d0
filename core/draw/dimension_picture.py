"""A dimension's picture: what replacing it costs, and its values by class of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..dimension.probe import DimensionProbe
from ..dimension.words import NAMES
from .figures import CALM, GREY, LOUD, QUIET, open_frame, to_pixels, to_png
from .fonts import text_style
from .labels import broken

POINTS, NODE_POINTS = 9, 12
"""Size of the letters on a page, and on a node."""
LINEAR = 0.01
"""Nats up to which the axis of costs is linear, and logarithmic beyond."""
TINY = 1e-30
COLORS = {"zero": LOUD, "mean": CALM, "shuffle": QUIET}


def plot_probes(probes: Sequence[DimensionProbe], title: str) -> bytes:
    """A PNG: per hidden state a row with the costs of one dimension, and its mean by class."""
    return to_png(draw_probes(probes, title))


def probe_picture(probe: DimensionProbe, title: str) -> np.ndarray:
    """(height, width, 3) float32 in 0..1 of one hidden state, with letters that can be read at the
    size of a node."""
    return to_pixels(draw_probes([probe], title, NODE_POINTS))


def draw_probes(probes: Sequence[DimensionProbe], title: str, points: float = POINTS) -> Figure:
    """As :func:`plot_probes`, as a figure with letters of ``points``."""
    height = 0.6 + 3.3 * len(probes) * points / POINTS
    figure = Figure(figsize=(11.5, height), layout="constrained")
    axes = figure.subplots(len(probes), 2, squeeze=False, width_ratios=(1.2, 1))
    shown = broken(title, points + 2, 11.0, 1)
    figure.suptitle(shown, x=0.01, ha="left", fontsize=points + 2, **text_style(shown))
    for (left, right), probe in zip(axes, probes, strict=True):
        for panel in (left, right):
            open_frame(panel)
        _draw_costs(left, probe, points)
        _draw_classes(right, probe, points)
    return figure


def _draw_costs(axes: Axes, probe: DimensionProbe, points: float) -> None:
    verdict = "" if probe.verdict is None else f": {probe.verdict.name}"
    grey = "; grey: controls" if any(trial.controls for trial in probe.trials.values()) else ""
    axes.set_title(
        f"Layer {probe.layer}{verdict}. Cost in nats{grey}",
        loc="left",
        fontsize=points + 1,
    )
    pairs = list(probe.costs)
    places = np.arange(len(pairs))[::-1]
    for place, pair in zip(places, pairs, strict=True):
        cost = probe.costs[pair]
        trial = probe.trials.get(pair)
        if trial is not None and trial.controls:
            ends = min(trial.controls), max(trial.controls)
            axes.fill_betweenx([place - 0.4, place + 0.4], *ends, color=GREY, alpha=0.3, lw=0)
        color = COLORS[pair[0]]
        axes.plot([cost.low, cost.high], [place, place], color=color, lw=2)
        axes.plot([cost.mean], [place], "o", color=color, ms=6)
        axes.annotate(
            f"{cost.mean:+.3g}",
            (max(cost.high, cost.mean), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=points - 1,
            color=GREY,
        )
    axes.axvline(0, color=GREY, lw=1)
    axes.set_xscale("symlog", linthresh=LINEAR)
    controls = [one for trial in probe.trials.values() for one in trial.controls]
    far = max(0.0, *controls, *(cost.high for cost in probe.costs.values()))
    low = min(0.0, *controls, *(cost.low for cost in probe.costs.values()))
    axes.set_xlim(1.5 * low - LINEAR / 2, 4 * far)  # The numbers on it widen it, to 1 at least.
    axes.set_yticks(places, [f"{NAMES[way]}, {place}" for way, place in pairs], fontsize=points)
    powers = range(-2, math.ceil(math.log10(max(far, 1.0))) + 1)
    negative = [-LINEAR] if low < -LINEAR / 2 else []
    ticks = [*negative, 0.0, *(10.0**power for power in powers)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=points - 1)
    axes.xaxis.set_minor_formatter(lambda *_: "")


def _draw_classes(axes: Axes, probe: DimensionProbe, points: float) -> None:
    axes.set_title("Mean and std of its values", loc="left", fontsize=points + 1)
    sinks, others = probe.where.sides
    parts = [part for part in (*probe.where.classes, others, sinks) if part.tokens]
    places = np.arange(len(parts))[::-1]
    for place, part in zip(places, parts, strict=True):
        color = LOUD if part is sinks else CALM
        axes.plot([part.mean - part.std, part.mean + part.std], [place, place], color=color, lw=2)
        axes.plot([part.mean], [place], "o", color=color, ms=6)
    labels = [f"{part.name} ({part.tokens}): {part.share:.0%}" for part in parts]
    axes.set_yticks(places, labels, fontsize=points)
    axes.axvline(0, color=GREY, lw=1)
    ends = [part.mean + sign * part.std for part in parts for sign in (-1, 1)]
    far = max(max(map(abs, ends)), TINY)
    middle = max(float(np.median([abs(part.mean) + part.std for part in parts])), TINY)
    axes.set_xscale("symlog", linthresh=middle)
    first = math.ceil(math.log10(middle))
    powers = [10.0**power for power in range(first, max(first, math.floor(math.log10(far))) + 1)]
    sides = [-power for power in powers if power <= 2 * -min(ends)]
    ticks = [*sides[::-1], 0.0, *(power for power in powers if power <= 2 * max(ends))]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=points - 1)
    axes.set_xlim(min(2 * min(ends), 0.0) - middle / 4, max(2 * max(ends), 0.0) + middle / 4)
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel("value; % of its variance beside each name", fontsize=points - 1, color=GREY)
