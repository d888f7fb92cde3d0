"""The std of every dimension of two profiles, one against the other, from their references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...core.measure.reference import Reference, ReferenceFileError, load_reference
from ...core.outliers.detection import ratio_in_words
from ...core.outliers.std_ratios import StdRatios, StdView, std_ratios
from ...core.tables import enumerate_some
from ..show.html_report import Table

EXTREMES = 5
"""How many of the loudest, and of the quietest, dimensions a table lists."""
FAR = 10.0
"""From so many times on dimensions are counted as far apart."""
MOST_NAMED = 8
"""How many layers a sentence about missing files names."""
HEADER = (
    "A against B",
    "dim",
    "std A",
    "std B",
    "A/B",
    "B/A",
    "no sinks: std A",
    "std B",
    "A/B",
    "B/A",
)
RATIO_TABLE_SAYS = (
    "The first table has the layers as wholes. Each row of the second is a dimension: its std in A "
    "and in B, the one over the other (A/B), and the inverse (B/A), over all tokens and then over "
    f"those that are no sinks. It lists the {EXTREMES} in which A is loudest against B, and the "
    f"{EXTREMES} in which it is quietest, in whichever of the two views they are farther apart."
)


class Side(NamedTuple):
    """One profile of the two: "A" or "B", where its file lies, and its document."""

    letter: str
    folder: Path
    profile: Mapping[str, Any]

    @classmethod
    def of(cls, letter: str, path: Path, profile: Mapping[str, Any]) -> Side:
        """``path``: profile.json or its folder."""
        return cls(letter, path if path.is_dir() else path.parent, profile)


class Compared(NamedTuple):
    """What came of comparing the dimensions of some pairs of layers.

    Attributes:
        ratios: for each pair, None where one side's reference is not there to be used.
        gaps: sentences on what could not be compared, and why.
    """

    ratios: list[StdRatios | None]
    gaps: list[str]


def compare_dimensions(a: Side, b: Side, layers: Sequence[tuple[int, int]]) -> Compared:
    """Compare the pairs of ``layers`` (of A, of B), from the references beside each profile."""
    references: dict[tuple[str, int], Reference] = {}
    missing: dict[tuple[str, str], list[int]] = {}
    for side, numbers in ((a, [one for one, _ in layers]), (b, [other for _, other in layers])):
        for layer in dict.fromkeys(numbers):
            found = _find(side, layer)
            if isinstance(found, Reference):
                references[side.letter, layer] = found
            else:
                missing.setdefault((side.letter, found), []).append(layer)
    ratios: list[StdRatios | None] = []
    for one, other in layers:
        pair = references.get(("A", one)), references.get(("B", other))
        ratios.append(None if None in pair else std_ratios(*pair))
    gaps = [
        f"The std of each dimension is not compared at {_layers(numbers)} of {letter}: {why}."
        for (letter, why), numbers in missing.items()
    ]
    blind = {
        (letter, layer): None
        for (letter, layer), reference in references.items()
        if reference.std_without_sinks is None
    }
    for letter in ("A", "B"):
        numbers = [layer for side, layer in blind if side == letter]
        if numbers:
            gaps.append(
                f"The reference of {letter} at {_layers(numbers)} has no figures without sink "
                "tokens: that view is left out there."
            )
    return Compared(ratios, gaps)


def ratio_table(ratios: StdRatios, a: int, b: int) -> Table:
    """The dimensions whose std differs most, in both views, both ways."""
    extremes = [("louder", dimension) for dimension in ratios.loudest(EXTREMES)]
    extremes += [("quieter", dimension) for dimension in ratios.quietest(EXTREMES)]
    rows = [
        (
            word,
            str(dimension),
            *_cells(ratios.whole, dimension),
            *(["-"] * 4 if ratios.bare is None else _cells(ratios.bare, dimension)),
        )
        for word, dimension in extremes
    ]
    caption = f"layer {a} of A against layer {b} of B: dimensions whose std differs most"
    return Table(HEADER, rows, caption)


def ratio_sentences(ratios: StdRatios, a: int, b: int) -> list[str]:
    """What the std of each dimension does, one sentence a view."""
    where = f"Layer {a} of A against layer {b} of B, std of each dimension"
    lines = [f"{where} over all tokens: {_view_in_words(ratios.whole)}."]
    if ratios.bare is not None:
        lines.append(f"{where} without sink tokens: {_view_in_words(ratios.bare)}.")
    return lines


def _find(side: Side, layer: int) -> Reference | str:
    """The reference of one layer that lies beside a profile, or why there is none."""
    path = side.folder / f"reference_{layer}.safetensors"
    if not path.is_file():
        return (
            f"there is no reference_<layer>.safetensors of it in {side.folder}, where layerlab "
            "profile writes one beside profile.json"
        )
    try:
        reference = load_reference(path)
    except ReferenceFileError as error:
        return str(error)
    profile = side.profile
    facts = {
        "model": profile["model"]["name"],
        "layer": str(layer),
        "prompts": str(profile["prompts"]),
        "tokens": str(profile["tokens"]),
    }
    known = reference.provenance
    differing = [name for name, fact in facts.items() if known.get(name, fact) != fact]
    if reference.width != profile["model"]["width"]:
        differing.append("width")
    if differing:
        return f"{path.name} beside it is of another run ({', '.join(differing)} differ)"
    return reference


def _cells(view: StdView, dimension: int) -> tuple[str, ...]:
    columns = (view.a, view.b, view.ratios, view.inverses)
    return tuple(f"{float(column[dimension]):.4g}" for column in columns)


def _view_in_words(view: StdView) -> str:
    parts = [
        f"{word} against B is dimension {dimension} ({float(view.a[dimension]):.4g} against "
        f"{float(view.b[dimension]):.4g}: {_both_ways(view, dimension)})"
        for word, found in (("loudest", view.loudest(1)), ("quietest", view.quietest(1)))
        for dimension in found
    ]
    if not parts:
        return "no dimension differs"
    loud, quiet = int((view.ratios > FAR).sum()), int((view.ratios < 1 / FAR).sum())
    counts = f"over {FAR:g}x louder: {loud} of {len(view.ratios)} dimensions, quieter: {quiet}"
    return f"{', '.join(parts)}; {counts}"


def _both_ways(view: StdView, dimension: int) -> str:
    ratio, inverse = float(view.ratios[dimension]), float(view.inverses[dimension])
    return f"{ratio_in_words(ratio)}, A/B {ratio:.4g}, B/A {inverse:.4g}"


def _layers(numbers: Sequence[int]) -> str:
    named = enumerate_some(map(str, numbers), MOST_NAMED)
    return f"layer {named}" if len(numbers) == 1 else f"layers {named}"
