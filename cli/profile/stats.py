"""``layerlab stats``: show and convert reference statistics."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.measure.reference import Reference, ReferenceFileError, load_reference, save_reference
from ..show.console import make_console, print_table
from ..show.html_report import Table

SHOWN_DIMENSIONS = 10


def run_show(options: argparse.Namespace) -> int:
    """Print the reference ``options.file``; returns the exit status."""
    reference = load_reference(options.file)
    console = make_console()
    for table in reference_tables(reference):
        print_table(console, table)
    return 0


def run_convert(options: argparse.Namespace) -> int:
    """Write ``options.source`` as ``options.target``; returns the exit status."""
    source, target = Path(options.source), Path(options.target)
    if target.exists() and not options.force:
        raise ReferenceFileError(f"{target} exists: --force replaces it")
    save_reference(load_reference(source), target)
    make_console().print(f"Wrote {target}", markup=False)
    return 0


def reference_tables(reference: Reference) -> list[Table]:
    """Provenance, overall figures, and the dimensions with the largest std."""
    bare = reference.std_without_sinks
    overall = [
        ("width", str(reference.width)),
        ("global mean", f"{reference.global_mean:.6g}"),
        ("global std", f"{reference.global_std:.6g}"),
        ("median std of a dimension", f"{float(reference.std.quantile(0.5)):.6g}"),
        ("smallest std", f"{float(reference.std.min()):.6g}"),
    ]
    if bare is not None:
        overall.append(("median std without sinks", f"{float(bare.quantile(0.5)):.6g}"))
    loudest = reference.std.argsort(descending=True)[:SHOWN_DIMENSIONS].tolist()
    rows = [
        (
            str(dimension),
            f"{float(reference.mean[dimension]):.6g}",
            f"{float(reference.std[dimension]):.6g}",
            "not known" if bare is None else f"{float(bare[dimension]):.6g}",
        )
        for dimension in loudest
    ]
    return [
        Table(("what", "value"), list(reference.provenance.items()), "provenance"),
        Table(("figure", "value"), overall, "all dimensions"),
        Table(("dimension", "mean", "std", "std without sinks"), rows, "largest std"),
    ]
