"""The files of ``layerlab dim``: dim.json, a PNG per dimension, report.html."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.dimension.dim_file import FILE_NAME, dim_document
from ...core.dimension.probe import DimensionProbe
from ...core.dimension.verdict import RULE
from ...core.dimension.words import (
    CAUSAL,
    COST_COLUMNS,
    KNOWN_COLUMNS,
    PART_COLUMNS,
    RECEIVED_COLUMNS,
    cost_rows,
    gain_sentence,
    headline,
    known_rows,
    known_sentence,
    part_rows,
    received_rows,
    sink_sentence,
    token_rows,
    writing_sentences,
)
from ...core.draw.dimension_picture import plot_probes
from ...core.files.atomic import write_whole
from ..show.html_report import Section, Table, render_report

PICTURE = "dim_{}.png"
_PICTURE_NAME = re.compile(r"dim_\d+\.png")


def write_report(
    out: Path, probes: Sequence[DimensionProbe], facts: Mapping[str, Any], note: str = ""
) -> list[Path]:
    """Write everything into ``out``, each file whole or not at all; returns the paths.

    Args:
        facts: as :func:`.dim_document` takes them.
        note: how the dimensions were chosen.
    """
    paths = [write_whole(out / FILE_NAME, dim_document(facts, list(probes)))]
    sections = [Section("The rule", [RULE, CAUSAL])]
    for dimension in dict.fromkeys(probe.dimension for probe in probes):
        own = [probe for probe in probes if probe.dimension == dimension]
        png = plot_probes(own, f"{facts['model']['name']}: dimension {dimension}")
        paths.append(write_whole(out / PICTURE.format(dimension), png))
        sections += _sections(dimension, own, png)
    for stale in set(out.glob(PICTURE.format("*"))) - set(paths):
        if _PICTURE_NAME.fullmatch(stale.name):  # Of an earlier run, of other dimensions.
            stale.unlink()
    flat = {
        **facts["model"],
        **{name: value for name, value in facts.items() if isinstance(value, int)},
        **facts["provenance"],
    }
    rows = [(name, str(value)) for name, value in flat.items() if value != ""]
    sections.append(Section("Provenance", tables=[Table(("what", "value"), rows, prose=True)]))
    page = render_report(
        "What a dimension does in its language model",
        f"{facts['model']['name']}, {facts['model']['blocks']} blocks, width "
        f"{facts['model']['width']}: {facts['prompts']} prompts, {facts['tokens']} tokens; losses "
        f"over {facts['loss_prompts']} of them, controls over {facts['control_prompts']}",
        [*map(headline, probes), *([note] if note else [])],
        sections,
        f"Written by layerlab dim, Z-Image Layer Lab {__version__}.",
    )
    return [*paths, write_whole(out / "report.html", page)]


def cost_table(probe: DimensionProbe) -> Table:
    """What every ablation of a dimension costs."""
    caption = f"dimension {probe.dimension} at layer {probe.layer}: {probe.verdict.name}"
    return Table(tuple(COST_COLUMNS), cost_rows(probe), caption)


def _sections(dimension: int, probes: Sequence[DimensionProbe], png: bytes) -> list[Section]:
    first = probes[0]
    by_layer = [f"layer {probe.layer}" for probe in probes]
    return [
        Section(
            f"Dimension {dimension}: what it causes",
            [line for probe in probes for line in (headline(probe), sink_sentence(probe))],
            png,
            [cost_table(probe) for probe in probes],
            tables_say="What it costs the language model to replace the dimension's values.",
            columns=COST_COLUMNS,
        ),
        Section(
            f"Dimension {dimension}: where it is",
            tables=[
                Table(tuple(PART_COLUMNS), part_rows(probe), name)
                for name, probe in zip(by_layer, probes, strict=True)
            ],
            columns=PART_COLUMNS,
        ),
        Section(
            f"Dimension {dimension}: tokens that drive it",
            ["The token at each quantile of the values, from the smallest to the largest, in []."],
            tables=[
                Table(("quantile", "value", "token in its context"), token_rows(probe), name)
                for name, probe in zip(by_layer, probes, strict=True)
            ],
        ),
        Section(f"Dimension {dimension}: what it writes", writing_sentences(first)),
        Section(
            f"Dimension {dimension}: what it knows",
            [f"Layer {probe.layer}: {known_sentence(probe)}" for probe in probes],
            tables=[
                Table(tuple(KNOWN_COLUMNS), known_rows(probe), name)
                for name, probe in zip(by_layer, probes, strict=True)
                if probe.knows
            ],
            columns=KNOWN_COLUMNS,
        ),
        Section(
            f"Dimension {dimension}: what the image model receives",
            [line for line in [gain_sentence(first)] if line],
            tables=[
                Table(tuple(RECEIVED_COLUMNS), received_rows(probe), name)
                for name, probe in zip(by_layer, probes, strict=True)
            ],
            columns=RECEIVED_COLUMNS,
        ),
    ]
