"""Layer Profile."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..core.files.atomic import write_whole
from ..core.measure.dimension_stats import Place
from ..core.outliers.detection import ratio_in_words
from ..core.outliers.table import carriers_in_words
from ..core.profile.heat_map import heat_map
from ..core.profile.profile import Course, LayerProfile, Profile, ProfileStats, left_out, summarise
from ..core.profile.tapped import tapped_layers
from ..core.record.record import CONTENT_ROLES, Record, Role, role_mask
from ..core.tables import align
from .encoder import Encoding, block_count
from .image_batch import NOT_CONNECTED, encode_images, images_input
from .node import Node
from .numbers import check_threshold, threshold_input
from .pictures import require_matplotlib, theme_input, to_image
from .prompt_list import (
    check_prompts,
    encode_each,
    prompts_fingerprint,
    read_optional_prompts,
    read_prompts,
)
from .report import shown_report
from .saved_files import named_file
from .types import CATEGORY

FILE_PREFIX = "layerlab_profile"
LAYER_HEADER = (
    "state",
    "layer",
    "median |x|",
    "max |x|",
    "max/median",
    "std (no sinks)",
    "out of line",
    "massive",
    "farthest dimension",
)


class LayerProfileNode(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabLayerProfile",
            display_name="Layer Profile",
            category=CATEGORY,
            description="Measures every layer of the text encoder over a list of prompts, or of "
            "images: sizes, outlier dimensions, where massive activations emerge and fall, and a "
            "heat map. Also writes its figures as JSON into the output folder.",
            search_aliases=["massive activation", "all layers", "heat map", "hidden states"],
            is_output_node=True,
            inputs=[
                io.Clip.Input("clip", tooltip="Qwen3-4B or Qwen3-VL-4B: CLIPLoader, type lumina2."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt a line, or the name of a .txt file (UTF-8) in ComfyUI's "
                    "input folder.",
                ),
                threshold_input("its layer's median std"),
                images_input(),
                theme_input(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, prompts=None, threshold=None, images=NOT_CONNECTED) -> bool | str:
        checked = check_prompts(prompts, optional=images is None)
        return check_threshold(threshold) if checked is True else checked

    @classmethod
    def fingerprint_inputs(
        cls, clip=None, prompts=None, threshold=None, images=None, theme=None
    ) -> str:
        return prompts_fingerprint(prompts)

    @classmethod
    def execute(cls, clip, prompts, threshold, images=None, theme="light") -> io.NodeOutput:
        require_matplotlib(theme)
        from ..core.draw.profile_picture import profile_picture
        from ..core.draw.theme import picture_theme

        checked = check_threshold(threshold)
        if checked is not True:
            raise ValueError(checked)
        layers = range(block_count(clip) + 1)
        if images is None:
            encoded, roles = encode_each(clip, read_prompts(prompts), layers), CONTENT_ROLES
        else:
            texts = read_optional_prompts(prompts)
            encoded, roles = encode_images(clip, images, texts, layers), (Role.IMAGE,)
        stats, records = _measure(encoded, roles, len(layers) - 1)
        image_tokens = "" if images is None else "image"
        profile = summarise(stats, records[0].source, threshold, image_tokens=image_tokens)
        with picture_theme(theme):
            image = to_image([profile_picture(profile, heat_map(stats), threshold)])
        document = profile.to_json(lambda place: _text(place, records))
        path = _new_file()
        write_whole(
            path, json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        )
        report = _report(profile, records, threshold, path)
        preview = ui.PreviewImage(image, cls=cls)
        shown = shown_report(report, _events(profile)[0], preview)
        return io.NodeOutput(image, report, ui={**shown, **named_file(path)})


def _measure(
    encoded: Iterable[list[Encoding]], roles: Iterable[Role], blocks: int
) -> tuple[ProfileStats, list[Record]]:
    """Statistics of the tokens with these ``roles`` at all hidden states, and each prompt's
    record."""
    records: list[Record] = []
    stats = None
    for number, encodings in enumerate(encoded):
        record = encodings[0].record
        states = {index: e.conditioning[0][0][:1] for index, e in enumerate(encodings)}
        stats = stats or ProfileStats(blocks, states[0].shape[-1])
        selected = role_mask(record.roles, roles)[None]
        stats.update_batch(states, selected, [number], torch.tensor([record.ids]))
        records.append(record)
    return stats, records


def _new_file() -> Path:
    folder, name, counter, _, _ = folder_paths.get_save_image_path(
        FILE_PREFIX, folder_paths.get_output_directory()
    )
    return Path(folder) / f"{name}_{counter:05}.json"


def _report(profile: Profile, records: list[Record], threshold: float, path: Path) -> str:
    lines = [
        f"{profile.model}: {profile.measured}, {profile.blocks} blocks, {profile.width} dimensions",
        *_events(profile),
        _sinks(profile),
        *(tapped.in_words for tapped in tapped_layers(profile)),
        *left_out(profile),
        f"out of line: std over {threshold:g}x the layer's median std or under 1/{threshold:g} of "
        "it; massive (Sun et al. 2024): |x| over 100 and over 1000x the layer's median",
        *align([LAYER_HEADER, *(_row(layer, records) for layer in profile.layers)]),
        f"written: {path.name} in ComfyUI's output folder",
    ]
    return "\n".join(lines)


def _events(profile: Profile) -> list[str]:
    sizes = {layer.index: layer for layer in profile.layers}

    def step(index: int) -> str:
        before, after = sizes[index - 1].max_abs, sizes[index].max_abs
        return f"from {before:.4g} to {after:.4g}, layer {sizes[index].layer}"

    if not profile.emergence_layer:
        return ["one block has no layers between which anything could emerge"]
    lines = [
        f"emergence: hidden state {profile.emergence_layer} has the largest relative rise of max "
        f"|x| ({step(profile.emergence_layer)})"
    ]
    if profile.fall_layer is None:
        lines.append("fall: max |x| does not drop to half in one step before the final norm")
    else:
        lines.append(
            f"fall: hidden state {profile.fall_layer} has the largest drop after it "
            f"({step(profile.fall_layer)})"
        )
    lines += [
        f"dimension {course.dimension} (the loudest of layer -2 or -6): {_course(course)}"
        for course in profile.courses
    ]
    if not any(layer.massive for layer in profile.layers):
        lines.append("no layer has a massive activation")
    return lines


def _course(course: Course) -> str:
    end = (
        "does not drop to half in one step"
        if course.fall_layer is None
        else (f"drops most at {course.fall_layer}")
    )
    return f"its largest |x| rises most at hidden state {course.emergence_layer} and {end}"


def _sinks(profile: Profile) -> str:
    counts = dict(profile.sink_counts)
    first = counts.pop(0, 0)
    others = sum(counts.values())
    return (
        f"sink tokens at hidden state {profile.sink_index}: position 0 in {first} of "
        f"{profile.prompts} {profile.unit}s; {others} at other positions"
    )


def _row(layer: LayerProfile, records: list[Record]) -> tuple[str, ...]:
    ratio = layer.max_abs / layer.median_abs if layer.median_abs > 0 else math.inf
    return (
        str(layer.index),
        f"{layer.layer}{' normed' if layer.normed else ''}",
        f"{layer.median_abs:.4g}",
        f"{layer.max_abs:.4g}",
        f"{ratio:.4g}",
        f"{layer.std:.4g} ({layer.std_without_sinks:.4g})",
        str(len(layer.outliers)),
        str(len(layer.massive)),
        _farthest(layer, records),
    )


def _farthest(layer: LayerProfile, records: list[Record]) -> str:
    if not layer.outliers:
        return "-"
    outlier = layer.outliers[0]
    carriers = carriers_in_words(layer.carried[0], lambda place: _text(place, records))
    return (
        f"{outlier.dimension}, {ratio_in_words(outlier.ratio)}, {outlier.kind_in_words}; carried "
        f"by {carriers}"
    )


def _text(place: Place, records: list[Record]) -> str:
    return records[place.prompt].texts[place.position]
