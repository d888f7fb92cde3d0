"""The files of a profile: profile.json, references, PNGs and report.html."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ... import __version__
from ...core.draw.profile_pictures import plot_dimensions, plot_heat_map, plot_layers
from ...core.files.atomic import write_whole
from ...core.measure.dimension_stats import Place
from ...core.measure.reference import (
    ReferenceFileError,
    load_reference,
    reference_from_stats,
    save_reference,
)
from ...core.outliers.table import OUTLIER_HEADER, carriers_in_words, outlier_row
from ...core.profile.heat_map import heat_map
from ...core.profile.profile import LayerProfile, Profile, ProfileStats, left_out
from ..show.html_report import Section, Table, heat_map_data, render_report
from .findings import layer_finding, sink_finding

LAYER_COLUMNS = (
    "hidden state",
    "layer",
    "median |x|",
    "max |x|",
    "max / median",
    "std",
    "std without sinks",
    "10x outliers",
    "massive (Sun et al.)",
)
SHOWN_LAYERS = (-2, -6)


def write_profile(
    out: Path,
    stats: ProfileStats,
    profile: Profile,
    token_text: Callable[[Place], str],
    provenance: Mapping[str, str],
) -> list[Path]:
    """Write everything into ``out``, each file whole or not at all; returns the paths.

    Args:
        token_text: the text of the token at a place.
        provenance: model, fingerprint, prompts, tokens, dtype, date, command: kept in every
            reference, with its layer.
    """
    document = json.dumps(
        profile.to_json(token_text), ensure_ascii=False, indent=1, allow_nan=False
    )
    paths = [write_whole(out / "profile.json", document + "\n")]
    for layer in profile.layers:
        path = out / f"reference_{layer.layer}.safetensors"
        own = {**provenance, "layer": str(layer.layer)}
        save_reference(reference_from_stats(stats.dimensions[layer.index], own), path)
        paths.append(path)
    for stale in set(out.glob("reference_-*.safetensors")) - set(paths):
        # Of an earlier run on this model with more layers: it would pass for this one's.
        if provenance.get("fingerprint") == _fingerprint_in(stale):
            stale.unlink()
    shown = shown_layers(profile)
    heat = heat_map(stats)
    pictures = {
        "layers": plot_layers(profile),
        "outliers": plot_dimensions([(layer, stats.dimensions[layer.index]) for layer in shown]),
        "heat_map": plot_heat_map(heat, f"{profile.model}: every layer, every dimension"),
    }
    paths += [write_whole(out / f"{name}.png", png) for name, png in pictures.items()]
    sections = [
        Section(
            "Layers",
            ["The largest and the median magnitude of every hidden state measured."],
            pictures["layers"],
            [Table(LAYER_COLUMNS, [layer_row(layer) for layer in profile.layers])],
        ),
        Section(
            "Every layer, every dimension",
            heat_map=heat_map_data(heat, profile.blocks, token_text, profile.unit),
        ),
        Section(
            "Outliers",
            [
                "A dot far above the diagonal owes its spread to a few tokens. Ratios are to the "
                "median std of the layer's own dimensions."
            ],
            pictures["outliers"],
            [
                Table(
                    OUTLIER_HEADER,
                    [
                        outlier_row(outlier, carriers_in_words(carried, token_text))
                        for outlier, carried in zip(layer.outliers, layer.carried, strict=True)
                    ],
                    f"layer {layer.layer}",
                )
                for layer in shown
            ],
        ),
        Section("Provenance", tables=[Table(("what", "value"), list(provenance.items()))]),
    ]
    page = render_report(
        f"Hidden states of {profile.model}",
        f"{profile.blocks} blocks, width {profile.width}; {profile.measured}",
        [
            *(layer_finding(layer, token_text, profile.prompts, profile.unit) for layer in shown),
            sink_finding(profile),
            *left_out(profile),
        ],
        sections,
        f"Written by layerlab profile, Z-Image Layer Lab {__version__}.",
    )
    return [*paths, write_whole(out / "report.html", page)]


def _fingerprint_in(path: Path) -> str | None:
    """The model that a reference file names, "" if it is no readable reference."""
    try:
        return load_reference(path).provenance.get("fingerprint")
    except ReferenceFileError:
        return ""


def shown_layers(profile: Profile) -> list[LayerProfile]:
    """Layers -2 and -6 where they were measured, else the two deepest un-normed ones."""
    shown = [layer for layer in profile.layers if layer.layer in SHOWN_LAYERS]
    deepest = [layer for layer in profile.layers if not layer.normed] or list(profile.layers)
    return shown[::-1] or deepest[-2:]


def layer_row(layer: LayerProfile) -> tuple[str, ...]:
    """One layer under :data:`LAYER_COLUMNS`."""
    return (
        str(layer.index),
        f"{layer.layer}{' (normed)' if layer.normed else ''}",
        f"{layer.median_abs:.4g}",
        f"{layer.max_abs:.5g}",
        f"{layer.max_abs / layer.median_abs:.4g}" if layer.median_abs > 0 else "-",
        f"{layer.std:.4g}",
        f"{layer.std_without_sinks:.4g}",
        str(len(layer.outliers)),
        str(len(layer.massive)),
    )
