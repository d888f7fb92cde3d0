"""``layerlab demo``: a real language model's outliers, found, traced to a token, and masked."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ... import __version__
from ...core.checks import LayerLabError
from ...core.draw.heat_map_picture import plot_heat_map, plot_tokens
from ...core.draw.profile_pictures import plot_dimensions, plot_layers, plot_masking
from ...core.edit.mask_effects import ModeEffect, effects_of_modes
from ...core.files.atomic import write_whole
from ...core.measure.dimension_stats import Place
from ...core.outliers.table import OUTLIER_COLUMNS, OUTLIER_HEADER, carriers_in_words, outlier_row
from ...core.profile.heat_map import heat_map
from ...core.profile.profile import LayerProfile, Profile, ProfileStats, summarise
from ...core.shipped import DEMO_PROMPTS
from ..model.language_model import LanguageModel, load_smollm2, padded_ids
from ..out_folder import require_folder
from ..profile.findings import layer_finding, sink_finding
from ..profile.report import outliers_say
from ..show.console import make_console, print_table
from ..show.html_report import Section, Table, heat_map_data, render_report
from .comfy_pictures import NOISE, compare_layers, find_ready_comfyui
from .cost import cost_lines

LAYERS = (-2, -6)
EFFECT_COLUMNS = (
    "mode",
    "dimensions",
    "tokens changed",
    "sinks: relative L2",
    "cosine",
    "others: relative L2",
    "cosine",
)


class ComfyPartFailed(LayerLabError, RuntimeError):
    """The ComfyUI part did not make its picture; the rest of the demo is written."""


class DemoData:
    """What the demo measures: the model, its prompts as ids, statistics and hidden states."""

    def __init__(self, model: LanguageModel, prompts: list[str]):
        self.model = model
        self.ids = [model.chat_ids(prompt) for prompt in prompts]
        self.stats = ProfileStats(model.blocks, model.width)
        # All prompts and all layers from one pass.
        states, valid = model.batch_states(self.ids, range(model.blocks + 1))
        self.stats.update_batch(states, valid, range(len(self.ids)), padded_ids(self.ids))
        self.kept: dict[int, list[torch.Tensor]] = {}
        for layer in LAYERS:
            padded = states[model.blocks + 1 + layer]
            self.kept[layer] = [own[: len(ids)] for own, ids in zip(padded, self.ids, strict=True)]

    def token_text(self, place: Place) -> str:
        """The text of the token at ``place``."""
        return self.model.token_text(self.ids[place.prompt][place.position])


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo and write into ``options.out``; returns the exit status."""
    console = make_console()
    out: Path = options.out
    require_folder(out)
    started = time.monotonic()
    with _progress(console) as progress:
        task = progress.add_task("Loading SmolLM2-135M-Instruct (real weights)", total=None)
        model = load_smollm2()
        progress.update(task, total=1, completed=1)
        prompts = DEMO_PROMPTS.read_text(encoding="utf-8").split("\n")[:-1]
        task = progress.add_task("Profiling prompts", total=None)
        data = DemoData(model, prompts)
        progress.update(task, total=1, completed=1)
        profile = summarise(data.stats, model.name)
        effects = {
            layer: effects_of_modes(data.kept[layer])
            for layer in progress.track(LAYERS, description="Masking each way")
        }
        task = progress.add_task("Replacing the loudest dimension", total=None)
        dimension = profile.layer(LAYERS[1]).outliers[0].dimension
        costs = cost_lines(model, data.ids, data.kept[LAYERS[1]], LAYERS[1], dimension)
        progress.update(task, total=1, completed=1)
        sections = _sections(data, profile, effects)
        for section in progress.track(sections, description="Writing"):
            if section.png:
                write_whole(out / f"{file_name(section)}.png", section.png)
    headline = [*headline_of(data, profile, effects), *costs]
    _print_results(console, headline, data, profile, effects)
    document = json.dumps(profile.to_json(data.token_text), ensure_ascii=False, indent=1)
    write_whole(out / "profile.json", document + "\n")
    _write_report(out, profile, headline, sections)
    console.print(
        f"\nWrote {out / 'report.html'}, profile.json and {sum(bool(s.png) for s in sections)} "
        f"PNGs in {time.monotonic() - started:.0f} s. Open report.html in a browser.",
        style="bold",
        markup=False,
    )
    if options.no_comfyui:
        return 0
    section = _comfyui_section(out, console)
    if section is not None:
        _write_report(out, profile, headline, [*sections, section])
    return 0


def file_name(section: Section) -> str:
    """ "heat_map" for a section titled "Heat map: ..."."""
    return section.title.split(":")[0].lower().replace(" ", "_")


def _comfyui_section(out: Path, console: Console) -> Section | None:
    """The ComfyUI part as a section, None where no ComfyUI can be started.

    Raises:
        ComfyPartFailed: if it was started and did not make the picture.
    """
    try:
        comfyui, reason = find_ready_comfyui()
        if comfyui is None:
            console.print(reason, markup=False)
            return None
        with _progress(console) as progress:
            task = progress.add_task("", total=None)
            picture = compare_layers(
                comfyui, out, lambda line: progress.update(task, description=line)
            )
            progress.update(task, description="layer_compare in ComfyUI", total=1, completed=1)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise ComfyPartFailed(f"the ComfyUI part failed: {error}") from error
    console.print(f"Wrote {picture.saved[0]}. {NOISE}", style="bold", markup=False)
    return Section("ComfyUI: the same prompt at layer -2 and -6", [NOISE], picture.png)


def _write_report(
    out: Path, profile: Profile, headline: list[str], sections: list[Section]
) -> None:
    subtitle = (
        f"{profile.model}, {profile.blocks} blocks, width {profile.width}: {profile.prompts} image "
        f"prompts, {profile.tokens} tokens in its own chat template, float32"
    )
    page = render_report(
        "Which dimension is out of line, and which token carries it",
        subtitle,
        headline,
        sections,
        f"Written by layerlab demo, Z-Image Layer Lab {__version__}.",
    )
    write_whole(out / "report.html", page)


def headline_of(
    data: DemoData, profile: Profile, effects: dict[int, list[ModeEffect]]
) -> list[str]:
    """The findings, in sentences whose every figure was just measured."""
    lines = [layer_finding(profile, profile.layer(number), data.token_text) for number in LAYERS]
    by_mode = {effect.mode: effect for effect in effects[LAYERS[0]]}
    zero, drop = by_mode["zero"], by_mode["drop sinks"]
    lines.append(
        f"Masking at layer {LAYERS[0]}: zeroing dimensions {', '.join(map(str, zero.masked))} "
        f"changes what a DiT sees of the tokens that are no sinks by {zero.other_l2:.2f} (relative "
        f"L2 after RMSNorm); dropping the sink tokens changes it by {drop.other_l2:.2f}."
    )
    return [*lines, sink_finding(profile)]


def _sections(
    data: DemoData, profile: Profile, effects: dict[int, list[ModeEffect]]
) -> list[Section]:
    layers = [profile.layer(number) for number in LAYERS]
    heat = heat_map(data.stats)
    channels = [data.stats.dimensions[layer.index] for layer in layers]
    dimensions = [outlier.dimension for outlier in layers[0].outliers]
    by_std = channels[0].all.std.argsort(descending=True).tolist()
    rows = (dimensions + [d for d in by_std if d not in dimensions])[:8]
    texts = [data.token_text(Place(0, position)) for position in range(len(data.ids[0]))]
    return [
        Section(
            "Layers: where it emerges and falls",
            ["The largest and the median magnitude of every hidden state."],
            plot_layers(profile),
        ),
        Section(
            "Heat map: every layer, every dimension",
            png=plot_heat_map(heat, f"{profile.model}: every layer, every dimension"),
            heat_map=heat_map_data(heat, profile.blocks, data.token_text),
        ),
        Section(
            "Outliers: every dimension, with and without sink tokens",
            ["A dot far above the diagonal owes its spread to a few tokens."],
            plot_dimensions(list(zip(layers, channels, strict=True))),
            [
                Table(OUTLIER_HEADER, _outlier_rows(layer, data), f"layer {layer.layer}")
                for layer in layers
            ],
            tables_say=outliers_say(profile),
            columns=OUTLIER_COLUMNS,
        ),
        Section(
            "Tokens: which one carries it",
            ["The first prompt, token by token, in the dimensions with the largest std."],
            plot_tokens(data.kept[LAYERS[0]][0], texts, rows, LAYERS[0]),
        ),
        Section(
            "Masking: what a DiT would see of it",
            [
                "Z-Image's caption path begins with a per-token RMSNorm. What a mask changes "
                "after that norm is all that the image model can notice. Loud dimensions, "
                "threshold 10, each prompt against its own median std."
            ],
            plot_masking(effects),
            [
                Table(EFFECT_COLUMNS, [_effect_row(e) for e in modes], f"layer {layer}")
                for layer, modes in effects.items()
            ],
        ),
    ]


def _outlier_rows(layer: LayerProfile, data: DemoData) -> list[tuple[str, ...]]:
    return [
        outlier_row(outlier, carriers_in_words(carried, data.token_text))
        for outlier, carried in zip(layer.outliers, layer.carried, strict=True)
    ]


def _effect_row(effect: ModeEffect) -> tuple[str, ...]:
    def number(value: float, digits: int) -> str:
        return "removed" if value != value else f"{value:.{digits}f}"

    return (
        effect.mode,
        ", ".join(map(str, effect.masked)) or "-",
        f"{effect.changed_tokens} of {effect.tokens}",
        number(effect.sink_l2, 4),
        number(effect.sink_cosine, 5),
        number(effect.other_l2, 4),
        number(effect.other_cosine, 5),
    )


def _print_results(
    console: Console,
    headline: list[str],
    data: DemoData,
    profile: Profile,
    effects: dict[int, list[ModeEffect]],
) -> None:
    console.print()
    for line in headline:
        console.print(line, markup=False)
    for number in LAYERS:
        layer = profile.layer(number)
        rows = _outlier_rows(layer, data)
        print_table(console, Table(OUTLIER_HEADER, rows, f"Outliers at layer {number}"))
    for number, modes in effects.items():
        title = f"What each masking mode changes after RMSNorm, layer {number}"
        print_table(console, Table(EFFECT_COLUMNS, [_effect_row(e) for e in modes], title))


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *Progress.get_default_columns()[1:3],
        TimeElapsedColumn(),
        console=console,
    )
