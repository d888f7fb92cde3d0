"""The files of a profile: profile.json, references, PNGs and report.html."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ... import __version__
from ...core.draw.heat_map_picture import plot_heat_map
from ...core.draw.profile_pictures import plot_dimensions, plot_layers
from ...core.files.atomic import write_whole
from ...core.measure.dimension_stats import Place
from ...core.measure.reference import (
    ReferenceFileError,
    load_reference,
    reference_from_stats,
    save_reference,
)
from ...core.outliers.table import OUTLIER_COLUMNS, OUTLIER_HEADER, carriers_in_words, outlier_row
from ...core.profile.heat_map import heat_map
from ...core.profile.profile import (
    MASSIVE_ABSOLUTE,
    MASSIVE_RELATIVE,
    LayerProfile,
    Profile,
    ProfileStats,
    left_out,
)
from ...core.profile.tapped import tapped_layers
from ..show.html_report import Section, Table, heat_map_data, render_report
from .against import reference_notes
from .findings import layer_finding, sink_finding

LAYER_COLUMNS = {
    "hidden state": "0 is what comes out of the embeddings, 1 what comes out of the first block",
    "layer": "the same counted from the end, as the nodes count it",
    "median |x|": "of all values, tokens times dimensions",
    "max |x|": "the largest of them",
    "max / median": "the one over the other",
    "std": "the standard deviation of all values together",
    "std without sinks": "the same of the tokens that are no sinks",
    "out of line": "dimensions whose std is far from the median std of the layer's dimensions",
    "massive (Sun et al.)": f"dimensions with a value over {MASSIVE_ABSOLUTE:g} and over "
    f"{MASSIVE_RELATIVE:g} times the median |x|",
}
"""What each column of the table of layers says, in plain words."""
SHOWN_LAYERS = (-2, -6)
SHOWN_OUTLIERS = 24
"""Rows of a table of outliers."""


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
    against = ""
    if profile.reference is not None:
        against = profile.reference.name_for(provenance.get("fingerprint", ""))
    heat = heat_map(stats)
    pictures = {
        "layers": plot_layers(profile),
        "outliers": plot_dimensions(
            [(layer, stats.dimensions[layer.index]) for layer in shown],
            profile.threshold,
            against,
        ),
        "heat_map": plot_heat_map(heat, f"{profile.model}: every layer, every dimension"),
    }
    paths += [write_whole(out / f"{name}.png", png) for name, png in pictures.items()]
    sections = [
        Section(
            "Layers",
            ["The largest and the median magnitude of every hidden state measured."],
            pictures["layers"],
            [Table(tuple(LAYER_COLUMNS), [layer_row(layer) for layer in profile.layers])],
            tables_say="Each row is a hidden state, with its magnitudes over all prompts.",
            columns=layer_columns(against),
        ),
        Section(
            "Every layer, every dimension",
            heat_map=heat_map_data(heat, profile.blocks, token_text, profile.unit),
        ),
        Section(
            "Outliers",
            ["A dot far above the diagonal owes its spread to a few tokens."],
            pictures["outliers"],
            [outliers_of(layer, token_text, against) for layer in shown],
            tables_say=outliers_say(profile, against),
            columns=OUTLIER_COLUMNS,
        ),
        Section(
            "Provenance", tables=[Table(("what", "value"), list(provenance.items()), prose=True)]
        ),
    ]
    page = render_report(
        f"Hidden states of {profile.model}",
        f"{profile.blocks} blocks, width {profile.width}; {profile.measured}",
        [
            *reference_notes(profile, stats, provenance.get("fingerprint", "")),
            *(layer_finding(profile, layer, token_text) for layer in shown),
            sink_finding(profile),
            *(f"{tapped.in_words}." for tapped in tapped_layers(profile)),
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


def layer_columns(against: str = "") -> dict[str, str]:
    """:data:`LAYER_COLUMNS` of a profile that was measured ``against`` a reference, by its name."""
    if not against:
        return LAYER_COLUMNS
    words = f"dimensions whose std is far from that of the same dimension of {against}"
    return {**LAYER_COLUMNS, "out of line": words}


def outliers_say(profile: Profile, against: str = "") -> str:
    """What stands in the tables of outliers, before any of their columns.

    ``against``: the name of the reference, where one was measured against.
    """
    normal = "the median std of its layer's dimensions (the reference)"
    if against:
        normal = f"that of the same dimension of the reference ({against})"
    return (
        "Each row is a dimension that is out of line: its std over all tokens is more than "
        f"{profile.threshold:g} times {normal}, or less than 1/{profile.threshold:g} of it; the "
        "farthest comes first."
    )


def outliers_of(
    layer: LayerProfile, token_text: Callable[[Place], str], against: str = ""
) -> Table:
    """The first :data:`SHOWN_OUTLIERS` of one layer, and in the caption how many there are.

    ``against``: as in :func:`outliers_say`.
    """
    pairs = list(zip(layer.outliers, layer.carried, strict=True))
    caption = f"layer {layer.layer}" + (f" against {against}" if against else "")
    if len(pairs) > SHOWN_OUTLIERS:
        caption += (
            f": the first {SHOWN_OUTLIERS} of {len(pairs)} dimensions; profile.json has them all"
        )
    rows = [
        outlier_row(outlier, carriers_in_words(carried, token_text))
        for outlier, carried in pairs[:SHOWN_OUTLIERS]
    ]
    return Table(OUTLIER_HEADER, rows, caption)


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
