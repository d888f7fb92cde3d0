"""The pictures of a profile, as PNG bytes.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..edit.mask_effects import ModeEffect
from ..measure.split_stats import SplitStats
from ..profile.heat_map import WIDEST_MAP, HeatMap, by_column
from ..profile.profile import LayerProfile, Profile

LOUD, CALM, QUIET, GREY = "#c2410c", "#1d4ed8", "#047857", "#64748b"
FLOOR = 1e-12


def plot_layers(profile: Profile) -> bytes:
    """Largest and median |x| by hidden state, with emergence and fall."""
    figure, axes = _figure(9, 4.2)
    index = [layer.index for layer in profile.layers]
    peaks = [layer.max_abs for layer in profile.layers]
    medians = [layer.median_abs for layer in profile.layers]
    axes.semilogy(index, peaks, "o-", color=LOUD, ms=4, label="largest |x|")
    axes.semilogy(index, medians, "o-", color=CALM, ms=4, label="median |x|")
    axes.set_ylim(top=max(peaks) * 12)
    for word, place in (("emerges", profile.emergence_layer), ("falls", profile.fall_layer)):
        if place is not None:
            axes.axvline(place, color=GREY, lw=1, ls=":")
            axes.text(place, max(peaks) * 3, f"{word}: {place} ", ha="right", color=GREY)
    for layer in profile.layers:
        if layer.layer in (-2, -6):
            axes.plot(layer.index, layer.max_abs, "s", color="black")
            axes.text(layer.index, layer.max_abs * 0.3, f"layer {layer.layer} ", ha="right")
    axes.legend(frameon=False, loc="lower right")
    axes.set_xlabel("hidden state (0: embeddings; the last one is normed)")
    axes.set_ylabel("magnitude")
    title = f"{profile.model}: magnitudes by layer, {profile.prompts} prompts"
    axes.set_title(title, loc="left", parse_math=False)
    return _png(figure)


def plot_dimensions(stats: Sequence[tuple[LayerProfile, SplitStats]]) -> bytes:
    """Std of every dimension with and without sink tokens, one panel a layer."""
    figure, panels = _figure(5 * len(stats), 4.6, len(stats))
    for axes, (layer, channels) in zip(np.atleast_1d(panels), stats, strict=True):
        bare = channels.without_sinks.std.numpy().clip(FLOOR)
        whole = channels.all.std.numpy().clip(FLOOR)
        limits = [min(bare.min(), whole.min()) / 1.5, max(bare.max(), whole.max()) * 3]
        axes.loglog(limits, limits, color=GREY, lw=1)
        median = float(np.median(whole))
        axes.axhline(10 * median, color=GREY, lw=1, ls=":")
        axes.text(limits[0] * 1.1, 10.8 * median, "10x the median", color=GREY, fontsize=8)
        flagged = [outlier.dimension for outlier in layer.outliers]
        axes.loglog(bare, whole, ".", color=CALM, ms=4, alpha=0.6)
        axes.loglog(bare[flagged], whole[flagged], "o", color=LOUD, ms=6)
        for dimension in flagged[:6]:
            axes.annotate(
                str(dimension),
                (bare[dimension], whole[dimension]),
                textcoords="offset points",
                xytext=(7, -3),
                color=LOUD,
            )
        axes.set_xlim(limits)
        axes.set_ylim(limits)
        axes.set_xlabel("std without sink tokens")
        axes.set_ylabel("std over all tokens")
        axes.set_title(f"layer {layer.layer}: each dot a dimension", loc="left")
    return _png(figure)


def plot_tokens(
    hidden: Tensor, texts: Sequence[str], dimensions: Sequence[int], layer: int
) -> bytes:
    """|x| of the ``dimensions`` for every token of one prompt, (tokens, width) ``hidden``."""
    values = hidden.abs().float()
    scale = float(values.median())
    grid = (values[:, list(dimensions)] / scale).clamp(min=0.1).log10().T.numpy()
    figure, axes = _figure(max(8.0, 0.24 * len(texts)), 1.6 + 0.34 * len(dimensions))
    image = axes.imshow(grid, aspect="auto", cmap="magma", vmin=-1)
    axes.set_yticks(range(len(dimensions)), [f"dim {dimension}" for dimension in dimensions])
    axes.set_xticks(range(len(texts)))
    axes.set_xticklabels(
        [text.replace("\n", "\\n") for text in texts], rotation=90, fontsize=8, parse_math=False
    )
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("|x| over the median |x|")
    ticks = range(-1, int(np.ceil(grid.max())) + 1)
    bar.set_ticks(list(ticks), labels=[f"{10.0**tick:g}x" for tick in ticks])
    axes.set_title(f"layer {layer}: which token carries it", loc="left")
    return _png(figure)


def plot_comparison(a: Mapping[str, Any], b: Mapping[str, Any]) -> bytes:
    """Largest and median |x| of two ``profile.json`` documents over relative depth."""
    figure, axes = _figure(9, 4.2)
    for letter, profile, colour in (("A", a, LOUD), ("B", b, CALM)):
        depth = [layer["index"] / profile["model"]["blocks"] for layer in profile["layers"]]
        for name, style in (("max_abs", "o-"), ("median_abs", "o:")):
            # null: no finite value was seen there.
            values = [layer[name] or np.nan for layer in profile["layers"]]
            label = f"{letter}, {name}: {profile['model']['name']}"
            axes.semilogy(depth, values, style, color=colour, ms=3, label=label)
    axes.set_xlabel("depth (0: embeddings, 1: after the last block and the final norm)")
    axes.set_ylabel("magnitude")
    legend = axes.legend(frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _png(figure)


def plot_heat_map(heat: HeatMap, title: str) -> bytes:
    """Every hidden state by every dimension: largest |x| over the layer's median, log colour."""
    grid = by_column(heat.relative)
    width = heat.relative.shape[1]
    right = grid.shape[1] * math.ceil(width / WIDEST_MAP) - 0.5
    figure, axes = _figure(10, max(3.0, 1.4 + 0.13 * len(heat.indices)))
    image = axes.imshow(
        grid.clamp(min=0.1).log10().numpy(),
        aspect="auto",
        cmap="magma",
        interpolation="nearest",
        extent=(-0.5, right, len(heat.indices) - 0.5, -0.5),
    )
    axes.set_xlim(-0.5, width - 0.5)
    step = max(1, len(heat.indices) // 12)
    rows = range(0, len(heat.indices), step)
    axes.set_yticks(list(rows), [str(heat.indices[row]) for row in rows])
    axes.set_ylabel("hidden state")
    loudest = heat.relative.amax(0).topk(min(4, heat.relative.shape[1])).indices.tolist()
    axes.set_xticks(loudest, [str(dimension) for dimension in loudest], rotation=90)
    axes.set_xlabel("dimension (the loudest are named)")
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("largest |x| over the layer's median |x|")
    low, high = image.get_clim()
    ticks = range(math.ceil(low), math.floor(high) + 1)
    bar.set_ticks(list(ticks), labels=[f"{10.0**tick:g}x" for tick in ticks])
    axes.set_title(title, loc="left", parse_math=False)
    return _png(figure)


def plot_masking(effects: dict[int, list[ModeEffect]]) -> bytes:
    """Relative L2 after RMSNorm by mode, sink tokens and others apart, one panel a layer."""
    figure, panels = _figure(5 * len(effects), 3.6, len(effects))
    for axes, (layer, modes) in zip(np.atleast_1d(panels), effects.items(), strict=True):
        rows = np.arange(len(modes))
        axes.barh(rows - 0.2, [effect.sink_l2 for effect in modes], 0.38, color=LOUD)
        axes.barh(rows + 0.2, [effect.other_l2 for effect in modes], 0.38, color=CALM)
        axes.set_yticks(rows, [effect.mode for effect in modes])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("relative L2 after RMSNorm (0: the DiT sees no change)")
        axes.set_title(f"layer {layer}", loc="left")
        # "drop sinks" leaves its row empty: nothing is left to compare, nothing else changes.
        row = [effect.mode for effect in modes].index("drop sinks")
        axes.text(0.02, row, "sinks are gone, the others as before", va="center", color=GREY)
    figure.legend(
        ["sink tokens", "all other tokens"], loc="outside lower center", ncols=2, frameon=False
    )
    return _png(figure)


def _figure(width: float, height: float, panels: int = 1) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels)
    for panel in np.atleast_1d(axes):
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
