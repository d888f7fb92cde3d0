"""Layer Profile."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..core.files.atomic import write_whole
from ..core.record.record import CONTENT_ROLES, Role
from .encoder import block_count
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
        from ..core.profile.heat_map import heat_map
        from ..core.profile.profile import summarise
        from .profile_report import events_in_words, measure_layers, profile_report, token_text

        checked = check_threshold(threshold)
        if checked is not True:
            raise ValueError(checked)
        layers = range(block_count(clip) + 1)
        if images is None:
            encoded, roles = encode_each(clip, read_prompts(prompts), layers), CONTENT_ROLES
        else:
            texts = read_optional_prompts(prompts)
            encoded, roles = encode_images(clip, images, texts, layers), (Role.IMAGE,)
        stats, records = measure_layers(encoded, roles, len(layers) - 1)
        image_tokens = "" if images is None else "image"
        profile = summarise(stats, records[0].source, threshold, image_tokens=image_tokens)
        with picture_theme(theme):
            image = to_image([profile_picture(profile, heat_map(stats), threshold)])
        document = profile.to_json(lambda place: token_text(place, records))
        path = _new_file()
        write_whole(
            path, json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        )
        report = profile_report(profile, records, threshold, path)
        preview = ui.PreviewImage(image, cls=cls)
        shown = shown_report(report, events_in_words(profile)[0], preview)
        return io.NodeOutput(image, report, ui={**shown, **named_file(path)})


def _new_file() -> Path:
    folder, name, counter, _, _ = folder_paths.get_save_image_path(
        FILE_PREFIX, folder_paths.get_output_directory()
    )
    return Path(folder) / f"{name}_{counter:05}.json"
