"""``layerlab compare``: two profiles side by side, as tables, a picture and sentences."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from rich.progress import track

from ... import __version__
from ...core.draw.profile_pictures import plot_comparison
from ...core.draw.ratio_picture import plot_ratios
from ...core.encoder.layers import LayerRangeError, parse_layers
from ...core.files.atomic import write_whole
from ...core.outliers.std_ratios import StdRatios
from ...core.profile.profile_file import ProfileFileError, load_profile, sink_counts
from ..out_folder import writing_in
from ..show.console import make_console, print_table
from ..show.html_report import Section, Table, render_report
from .findings import number_of
from .ratios import (
    RATIO_TABLE_SAYS,
    Compared,
    Side,
    compare_dimensions,
    ratio_sentences,
    ratio_table,
)

NOTABLE = 1.5
"""Layer figures of two profiles are called different from this factor on (a choice of words)."""

RATIO_PICTURE = "compare_{}_{}.png"
"""The picture of one pair of layers: of A, of B."""
_PICTURE_NAME = re.compile(r"compare_-\d+_-\d+\.png")


def run_compare(options: argparse.Namespace) -> int:
    """Compare ``options.a`` with ``options.b``; returns the exit status."""
    a, b = load_profile(options.a), load_profile(options.b)
    text_b = options.layers if options.layers_b is None else options.layers_b
    chosen_a = find_layers(a, options.layers, options.a)
    chosen_b = find_layers(b, text_b, options.b)
    if len(chosen_a) != len(chosen_b):
        other = "the same of B" if options.layers_b is None else "--layers-b"
        raise ProfileFileError(
            f"--layers names {len(chosen_a)} layers and {other} {len(chosen_b)}: give as many"
        )
    pairs = list(zip(chosen_a, chosen_b, strict=True))
    layers = [(first["layer"], second["layer"]) for first, second in pairs]
    compared = Compared([None] * len(pairs), [])
    if a["model"]["width"] == b["model"]["width"]:
        sides = Side.of("A", options.a, a), Side.of("B", options.b, b)
        compared = compare_dimensions(*sides, layers)
    names = named(a), named(b)
    console = make_console()
    to_show = track(
        list(zip(pairs, compared.ratios, strict=True)),
        "Drawing",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    sections = [pair_section(pair, ratios, names) for pair, ratios in to_show]
    pictures = {"compare.png": plot_comparison(a, b)} | {
        RATIO_PICTURE.format(*numbers): section.png
        for numbers, section in zip(layers, sections, strict=True)
        if section.png
    }
    models = model_table(a, b)
    words = [*verdict(a, b, pairs), *compared.gaps]
    for table in (models, *(table for section in sections for table in section.tables)):
        print_table(console, table)
    for line in (*words, *(line for section in sections for line in section.paragraphs)):
        console.print(line, markup=False)
    page = render_report(
        "Two profiles side by side",
        f"A: {names[0]}; B: {names[1]}",
        words,
        [Section("Magnitudes by depth", [], pictures["compare.png"], [models]), *sections],
        f"Written by layerlab compare, Z-Image Layer Lab {__version__}.",
    )
    with writing_in(options.out):
        paths = [write_whole(options.out / name, png) for name, png in pictures.items()]
        for stale in set(options.out.glob(RATIO_PICTURE.format("-*", "-*"))) - set(paths):
            if _PICTURE_NAME.fullmatch(stale.name):  # Of an earlier run, of other layers.
                stale.unlink()
        path = write_whole(options.out / "report.html", page)
    console.print(f"\nWrote {path} and {', '.join(pictures)}.", style="bold", markup=False)
    return 0


def find_layers(profile: dict[str, Any], text: str, path: Path) -> list[dict[str, Any]]:
    """The entries of a profile that ``text`` names, such as "-2,-6", "-2..-6" or "all".

    "all" is every layer that the profile has, in its order.

    Raises:
        ProfileFileError: if ``text`` is no such list, or names a layer that the profile lacks.
    """
    entries = {entry["layer"]: entry for entry in profile["layers"]}
    if text.strip().lower() == "all":
        return list(entries.values())
    there, blocks = ", ".join(map(str, entries)), profile["model"]["blocks"]
    try:
        parse_layers(text, blocks)
        # Part by part: a layer may be named twice, to stand against two of the other profile.
        layers = [layer for part in text.split(",") for layer in parse_layers(part, blocks)]
    except LayerRangeError as error:
        raise ProfileFileError(f"{path}: {error}; the profile has {there}") from None
    except ValueError as error:
        raise ProfileFileError(
            f"{text!r} is no list of layers such as -2,-6 or -2..-6, nor 'all': {error}"
        ) from None
    for layer in layers:
        if layer not in entries:
            raise ProfileFileError(f"{path} has no layer {layer}; it has {there}")
    return [entries[layer] for layer in layers]


def model_table(a: dict[str, Any], b: dict[str, Any]) -> Table:
    """The models and texts of the two profiles."""
    sides = [_model_facts(side) for side in (a, b)]
    rows = [(name, *(side[name] for side in sides)) for name in sides[0]]
    return Table(("", "A", "B"), rows, "models")


def pair_section(
    pair: tuple[dict[str, Any], dict[str, Any]], ratios: StdRatios | None, names: tuple[str, str]
) -> Section:
    """What there is on one pair of layers.

    Args:
        ratios: of their dimensions, where both references are there.
        names: of the models.
    """
    layers = pair[0]["layer"], pair[1]["layer"]
    title, figures = _against(*layers), layer_table(*pair)
    if ratios is None:
        return Section(title, tables=[figures])
    sides = [f"{name}, layer {layer}" for name, layer in zip(names, layers, strict=True)]
    return Section(
        title,
        ratio_sentences(ratios, *layers),
        plot_ratios(ratios, *sides),
        [figures, ratio_table(ratios, *layers)],
        tables_say=RATIO_TABLE_SAYS,
    )


def layer_table(a: dict[str, Any], b: dict[str, Any]) -> Table:
    """The figures of one layer of each profile."""
    names = ("median_abs", "max_abs", "std", "std_without_sinks")
    rows = [(name, _figure(a[name]), _figure(b[name])) for name in names]
    rows.append(("out of line", str(len(a["outliers"])), str(len(b["outliers"]))))
    rows.append(("loudest", _loudest(a), _loudest(b)))
    header = ("", f"A, layer {a['layer']}", f"B, layer {b['layer']}")
    return Table(header, rows, f"layer {a['layer']} against layer {b['layer']}")


def verdict(
    a: dict[str, Any], b: dict[str, Any], pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> list[str]:
    """Sentences that say what the numbers do, and no more."""
    lines = [f"{letter}: {_course(side)}" for letter, side in (("A", a), ("B", b))]
    for first, second in pairs:
        where = f"{_against(first['layer'], second['layer'])}: "
        lines.append(where + _shared(first, second, a["model"]["width"] == b["model"]["width"]))
    lines.append(_widest_difference(pairs))
    if _measured_against(a) != _measured_against(b):
        lines.append(
            f"Dimensions of A are out of line with {_measured_against(a)}, those of B with "
            f"{_measured_against(b)}: their numbers do not compare."
        )
    if a.get("threshold", 10) != b.get("threshold", 10):
        lines.append("The two count dimensions as out of line from different thresholds on.")
    if measured(a) != measured(b):
        of_images = a.get("image_tokens") or b.get("image_tokens")
        lines.append(
            f"The two were measured on different {'things' if of_images else 'text'} "
            f"({measured(a)}; {measured(b)}): small differences say nothing."
        )
    return lines


def named(profile: dict[str, Any]) -> str:
    """The model of a profile, and that it is of images where it is."""
    kinds = {"image": " (image tokens)", "all": " (images, all tokens)"}
    return profile["model"]["name"] + kinds.get(profile.get("image_tokens"), "")


def measured(profile: dict[str, Any]) -> str:
    """How much a profile measured: "130 prompts, 5210 tokens", "12 images, 960 image tokens"."""
    kind = "image tokens" if profile.get("image_tokens") == "image" else "tokens"
    return f"{_units(profile)}, {profile['tokens']} {kind}"


def _units(profile: dict[str, Any]) -> str:
    return number_of(profile["prompts"], "image" if profile.get("image_tokens") else "prompt")


def _model_facts(profile: dict[str, Any]) -> dict[str, str]:
    model = profile["model"]
    return {
        "model": str(model["name"]),
        "blocks": str(model["blocks"]),
        "width": str(model["width"]),
        "measured": measured(profile),
        "emergence": str(profile.get("emergence_layer")),
        "fall": str(profile.get("fall_layer")),
        "out of line with": _measured_against(profile),
        "out of line from": f"{profile.get('threshold', 10):g}x",
        "with sinks": str(sink_counts(profile)[0]),
    }


def _against(a: int, b: int) -> str:
    return f"Layer {a} of A against layer {b} of B"


def _measured_against(profile: dict[str, Any]) -> str:
    """What the outliers of a profile are measured against, in words."""
    reference = profile.get("reference")
    return reference["name"] if reference else "its layers' own medians"


def _course(profile: dict[str, Any]) -> str:
    blocks, emergence = profile["model"]["blocks"], profile.get("emergence_layer")
    prompts, counts = sink_counts(profile)
    places = list(counts)
    sinks = f"sink tokens at position {', '.join(map(str, places[:8]))} in " if places else ""
    sinks += f"{prompts} of {_units(profile)}"
    sinks = sinks if places else f"no sink token in {_units(profile)}"
    if emergence is None:
        return f"{sinks}; emergence is not known (not every layer was measured)."
    line = f"{sinks}; max|x| rises most at hidden state {emergence} of {blocks} "
    line += f"({emergence / blocks:.0%} of the depth)"
    fall = profile.get("fall_layer")
    return line + (
        f" and drops most after it at {fall} ({fall / blocks:.0%})." if fall else ", and stays up."
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _loudest(layer: dict[str, Any]) -> str:
    if not layer["outliers"]:
        return "none"
    top = layer["outliers"][0]
    ratio = "over 0" if top["ratio"] is None else f"{top['ratio']:.4g}x"
    return f"{top['dimension']}: {ratio}, {top['class']}"


def _shared(a: dict[str, Any], b: dict[str, Any], same_width: bool) -> str:
    counts = f"{len(a['outliers'])} and {len(b['outliers'])} dimensions are out of line"
    if not same_width:
        return f"{counts}; the models have different widths, so their numbers do not correspond."
    first = {outlier["dimension"] for outlier in a["outliers"]}
    second = {outlier["dimension"] for outlier in b["outliers"]}
    parts = [
        f"{word} {', '.join(map(str, sorted(dimensions)))}"
        for word, dimensions in (
            ("in both:", first & second),
            ("only in A:", first - second),
            ("only in B:", second - first),
        )
        if dimensions
    ]
    return f"{counts}" + (f" ({'; '.join(parts)})." if parts else ".")


def _widest_difference(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """A sentence on the chosen pair of layers whose std of all values differs most."""

    def factor(pair: tuple[dict[str, Any], dict[str, Any]]) -> float:
        first, second = (max(side["std_without_sinks"], 1e-30) for side in pair)
        return max(first / second, second / first)

    def named(pair: tuple[dict[str, Any], dict[str, Any]]) -> str:
        return f"layer {pair[0]['layer']} of A and layer {pair[1]['layer']} of B"

    widest = max(pairs, key=factor)
    figures = (
        f"{widest[0]['std_without_sinks']:.4g} against {widest[1]['std_without_sinks']:.4g}, "
        f"a factor of {factor(widest):.3g}."
    )
    if len(pairs) == 1:
        return f"Without sink tokens, the std of all values at {named(widest)} is {figures}"
    line = (
        f"Without sink tokens, the std of all values differs most between {named(widest)}: "
        f"{figures}"
    )
    notable = [pair for pair in pairs if factor(pair) >= NOTABLE]
    if not notable:
        return f"{line} None of the {len(pairs)} pairs differs by a factor of {NOTABLE}."
    shallowest = min(notable, key=lambda pair: pair[0]["index"])
    return (
        f"{line} {len(notable)} of the {len(pairs)} pairs differ by a factor of {NOTABLE} or more, "
        f"the shallowest of them {named(shallowest)}."
    )
