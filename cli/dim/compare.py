"""``layerlab compare`` of two dim.json: the same dimensions in two models, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ... import __version__
from ...core.dimension.dim_file import DimFileError, find_dim_file, load_dim
from ...core.dimension.verdict import RULE
from ...core.dimension.ways import ALL, MEAN, OTHERS, SHUFFLE, SINKS, ZERO
from ...core.files.atomic import write_whole
from ..out_folder import writing_in
from ..profile.compare import run_compare as compare_profiles
from ..show.console import make_console, print_table
from ..show.html_report import Section, Table, render_report

PAIRS = ((ZERO, ALL), (ZERO, SINKS), (ZERO, OTHERS), (MEAN, ALL), (SHUFFLE, OTHERS))
HEADER = ("", "A", "B")
Probe = Mapping[str, Any]


def run_compare(options: argparse.Namespace) -> int:
    """Compare ``options.a`` with ``options.b``, two profiles or two dim.json; the exit status."""
    paths = find_dim_file(options.a), find_dim_file(options.b)
    if not any(paths):
        return compare_profiles(options)
    if not all(paths):
        odd, other = (options.b, options.a) if paths[0] else (options.a, options.b)
        raise DimFileError(
            f"{other} is of layerlab dim and {odd} is not: give two dim.json, or two profiles"
        )
    a, b = map(load_dim, paths)
    pairs = shared_probes(a, b)
    console = make_console()
    models = model_table(a, b)
    tables = [pair_table(*pair) for pair in pairs]
    words = sentences(a, b, pairs)
    for table in (models, *tables):
        print_table(console, table)
    for line in words:
        console.print(line, markup=False)
    page = render_report(
        "Two models' dimensions side by side",
        f"A: {a['model']['name']}; B: {b['model']['name']}",
        words,
        [
            Section("The models", [], tables=[models]),
            Section(
                "What replacing a dimension costs",
                ["In nats of the next-token loss, with the 95 % interval over the prompts.", RULE],
                tables=tables,
            ),
        ],
        f"Written by layerlab compare, Z-Image Layer Lab {__version__}.",
    )
    with writing_in(options.out):
        path = write_whole(options.out / "report.html", page)
    console.print(f"\nWrote {path}.", style="bold", markup=False)
    return 0


def shared_probes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[Probe, Probe]]:
    """The pairs of the same dimension at the same layer, in A's order.

    Raises:
        DimFileError: if there are none.
    """
    theirs = {(probe["dimension"], probe["layer"]): probe for probe in b["probes"]}
    pairs = [
        (probe, theirs[key])
        for probe in a["probes"]
        if (key := (probe["dimension"], probe["layer"])) in theirs
    ]
    if not pairs:
        raise DimFileError(
            f"A probed {_probed(a)} and B {_probed(b)}: they share no dimension at one layer. Run "
            "layerlab dim on both with the same DIM and --layers"
        )
    return pairs


def model_table(a: Mapping[str, Any], b: Mapping[str, Any]) -> Table:
    """The models and what was measured of them."""
    rows = [
        ("model", *(side["model"]["name"] for side in (a, b))),
        *((name, *(str(side["model"][name]) for side in (a, b))) for name in ("blocks", "width")),
        *((name, *(str(side[name]) for side in (a, b))) for name in ("prompts", "tokens")),
        ("prompts with losses", *(str(side["loss_prompts"]) for side in (a, b))),
    ]
    return Table(HEADER, rows, "models")


def pair_table(a: Probe, b: Probe) -> Table:
    """One dimension at one layer of both."""
    rows = [
        ("verdict", *(side["verdict"]["name"] for side in (a, b))),
        ("std", *(f"{side['std']:.4g}" for side in (a, b))),
        ("std without sinks", *(f"{side['std_without_sinks']:.4g}" for side in (a, b))),
    ]
    for way, place in PAIRS:
        costs = [_cost(side, way, place) for side in (a, b)]
        rows.append(
            (
                f"{way}, {place}",
                *(f"{one['mean']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})" for one in costs),
            )
        )
    return Table(HEADER, rows, f"dimension {a['dimension']} at layer {a['layer']}")


def sentences(
    a: Mapping[str, Any], b: Mapping[str, Any], pairs: list[tuple[Probe, Probe]]
) -> list[str]:
    """Where the two agree and where they differ."""
    lines = []
    for first, second in pairs:
        where = f"Dimension {first['dimension']} at layer {first['layer']}"
        names = first["verdict"]["name"], second["verdict"]["name"]
        same = names[0] == names[1]
        verdict = f"{names[0]} in both" if same else f"{names[0]} in A, {names[1]} in B"
        zero = [_cost(side, ZERO, ALL) for side in (first, second)]
        apart = zero[0]["low"] > zero[1]["high"] or zero[1]["low"] > zero[0]["high"]
        lines.append(
            f"{where}: {verdict}; zeroing it costs {zero[0]['mean']:+.3g} nats in A and "
            f"{zero[1]['mean']:+.3g} in B, whose intervals {'lie apart' if apart else 'overlap'}."
        )
    if a["prompts"] != b["prompts"] or a["loss_prompts"] != b["loss_prompts"]:
        lines.append("The two were measured on different prompts: small differences say nothing.")
    if a["model"]["width"] != b["model"]["width"]:
        lines.append(
            "The models have different widths, so their dimensions' numbers do not correspond."
        )
    return lines


def _cost(probe: Probe, way: str, place: str) -> Mapping[str, Any]:
    return next(cost for cost in probe["costs"] if (cost["way"], cost["place"]) == (way, place))


def _probed(side: Mapping[str, Any]) -> str:
    named = [f"{probe['dimension']} at {probe['layer']}" for probe in side["probes"]]
    return ", ".join(named[:6]) or "nothing"
