"""The picture of what the image model's first layer does with each dimension and token.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..dit.gain import Energy, Gains, times
from .figures import CALM, FLOOR, GREY, LOUD, log_ticks, open_frame, to_pixels
from .fonts import text_style
from .labels import Mark, broken, name_on_the_right

SIZE, DPI = (12.0, 6.4), 110
"""Inches and pixels per inch."""
POINTS = 11
"""Font size of labels and names: 8 pixels where the picture is shown 650 pixels wide."""
NAMED, BARS = 6, 12


def gain_picture(
    gains: Gains,
    title: str,
    suspects: Sequence[int] = (),
    energy: Energy | None = None,
    token_names: Sequence[str] = (),
    names: Sequence[str] = (),
) -> np.ndarray:
    """(height, width, 3) float32 in 0..1, always of one size; as :func:`gain_figure`."""
    return to_pixels(gain_figure(gains, title, suspects, energy, token_names, names))


def gain_figure(
    gains: Gains,
    title: str,
    suspects: Sequence[int] = (),
    energy: Energy | None = None,
    token_names: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Figure:
    """One dot a dimension, its gain over the median; beside it what a caption's parts carry.

    Args:
        suspects: outlier dimensions, marked and named.
        energy: of a caption's states; without it only the gains are drawn.
        token_names: of the first sequence, one a token.
        names: what each dimension is called; its number if not given.
    """
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    shown = broken(title, POINTS + 2, SIZE[0] - 0.5, 1)
    figure.suptitle(shown, x=0.01, ha="left", fontsize=POINTS + 2, **text_style(shown))
    called = list(names) or [str(number) for number in range(len(gains.values))]
    if energy is None:
        _draw_gains(figure.subplots(), gains, suspects, called)
        return figure
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    _draw_gains(left, gains, suspects, called)
    _draw_energy(right, energy, suspects, token_names, called)
    return figure


def _draw_gains(axes: Axes, gains: Gains, suspects: Sequence[int], called: Sequence[str]) -> None:
    open_frame(axes)
    axes.set_title("Gain of every dimension over the median", loc="left", fontsize=POINTS + 1)
    relative = gains.relative.numpy()
    finite = relative[np.isfinite(relative) & (relative > 0)]
    if len(finite) == 0:
        axes.text(0.5, 0.5, "every gain is 0", ha="center", transform=axes.transAxes)
        return
    floor = max(float(finite.min()) / (1 if (relative > 0).all() else 2), FLOOR)
    drawn = np.where(np.isfinite(relative), relative, finite.max()).clip(floor)
    axes.semilogy(drawn, ".", color=CALM, ms=3)
    axes.axhline(1.0, color=GREY, lw=1)
    axes.set_xlim(-0.02 * len(drawn), 1.02 * len(drawn))
    low, high = floor / 1.6, float(drawn.max()) * 1.6
    axes.set_ylim(low, high)
    if len(suspects):
        axes.semilogy(list(suspects), drawn[list(suspects)], "o", color=LOUD, ms=6)
    largest = gains.values.argsort(descending=True, stable=True)[:NAMED].tolist()
    named = list(dict.fromkeys([*list(suspects)[:NAMED], *largest]))
    marks = [
        Mark(
            (number, float(drawn[number])),
            f"{called[number]}: {times(float(relative[number]))}",
            LOUD if number in suspects else CALM,
        )
        for number in named
    ]
    name_on_the_right(axes, marks, SIZE[1] - 1.5, POINTS)
    log_ticks(axes.yaxis, low, high)
    axes.set_xlabel("dimension; orange: asked for, or out of line", fontsize=POINTS)
    axes.tick_params(labelsize=POINTS - 1)


def _draw_energy(
    axes: Axes,
    energy: Energy,
    suspects: Sequence[int],
    token_names: Sequence[str],
    called: Sequence[str],
) -> None:
    """Bars: the largest shares of dimensions and suspects, then the largest of tokens."""
    open_frame(axes)
    axes.set_title("Share of what the caption sends on", loc="left", fontsize=POINTS + 1)
    shares = energy.dimensions
    largest = shares.argsort(descending=True, stable=True)[: BARS // 2].tolist()
    dimensions = list(dict.fromkeys([*list(suspects)[: BARS // 2], *largest]))[: BARS // 2 + 2]
    rows = [
        (f"dimension {called[number]}", float(shares[number]), LOUD if number in suspects else CALM)
        for number in sorted(dimensions, key=lambda one: -float(shares[one]))
    ]
    tokens = energy.tokens[0] / max(float(energy.tokens[0].sum()), 1e-300)
    for number in tokens.argsort(descending=True, stable=True)[: BARS // 2].tolist():
        name = token_names[number] if number < len(token_names) else f"token {number}"
        rows.append((name, float(tokens[number]), GREY))
    places = np.arange(len(rows))[::-1]
    axes.barh(places, [share for _, share, _ in rows], 0.7, color=[color for *_, color in rows])
    labels = [broken(name, POINTS, 2.0, 1) for name, *_ in rows]
    axes.set_yticks(places, labels, fontsize=POINTS - 1)
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set(**text_style(label))
    reach = max((share for _, share, _ in rows), default=0.0) or 1.0
    axes.set_xlim(0, 1.25 * reach)
    for place, (_, share, _) in zip(places, rows, strict=True):
        axes.annotate(f" {share:.2%}", (share, place), va="center", fontsize=POINTS - 1, color=GREY)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel("blue, orange: dimensions; grey: tokens", fontsize=POINTS)


def tap_picture(weights: Tensor, attention: Tensor | None, title: str) -> np.ndarray:
    """(height, width, 3) float32 in 0..1: a bar for each tap's weight, and who attends to whom.

    Args:
        weights: (taps,).
        attention: (blocks, taps, taps), a row for each tap that attends.
    """
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=POINTS + 2)
    blocks = [] if attention is None else list(attention.numpy())
    panels = figure.subplots(1, 1 + len(blocks), squeeze=False)[0]
    taps = np.arange(1, len(weights) + 1)
    bars, *maps = panels
    open_frame(bars)
    bars.set_title("Weight of each tap", loc="left", fontsize=POINTS + 1)
    bars.bar(taps, weights.numpy(), color=CALM)
    bars.axhline(0.0, color=GREY, lw=1)
    for number, (axes, block) in enumerate(zip(maps, blocks, strict=True)):
        axes.set_title(f"Attention in block {number + 1}", loc="left", fontsize=POINTS + 1)
        edges = (0.5, len(taps) + 0.5)
        shown = axes.imshow(block, cmap="Blues", vmin=0.0, extent=(*edges, *edges[::-1]))
        axes.set_ylabel("tap that attends", fontsize=POINTS)
        figure.colorbar(shown, ax=axes, shrink=0.6, format=lambda value, _: f"{value:.0%}")
    for axes in panels:
        axes.set_xticks(taps)
        axes.set_xlabel("tap", fontsize=POINTS)
        axes.tick_params(labelsize=POINTS - 2)
    return to_pixels(figure)
