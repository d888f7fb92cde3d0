"""Concept Direction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io

from ..core.checks import require_choice
from ..core.concept.direction import ConceptError, SideMeans, find_direction, measure_side
from ..core.concept.pairs import pair_prompts
from ..core.concept.words import found_in_words
from ..core.encoder.prompt import require_text
from ..core.record.record import CONTENT_ROLES, Record, Role, role_mask
from .capture import check_layer, layer_input
from .encoder import Encoding
from .image_batch import NOT_CONNECTED, encode_images
from .node import Node
from .prompt_list import encode_each
from .report import shown_report
from .taps import encode_taps, is_tapped, tapped_clip
from .types import CATEGORY, Concept

AUTO, SINGLE = "auto", "single layer"
SIDES = ("with", "without")


class ConceptDirection(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabConceptDirection",
            display_name="Concept Direction",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Finds what prompts (or images) with something have in common that those "
            "without it have not: a direction, which Apply Concept adds to any prompt, amplifies "
            "or takes out.",
            search_aliases=[
                "concept slider",
                "steering vector",
                "control vector",
                "difference of means",
                "prompt difference",
                "emotion",
                "style",
            ],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder of the prompts that are to be steered. For images: "
                    "Qwen3-VL-4B.",
                ),
                io.String.Input(
                    "with_concept",
                    multiline=True,
                    tooltip="Prompts with the concept, one a line: a smiling woman. With images: "
                    "the text after each, none, one for all, or one for each.",
                ),
                io.String.Input(
                    "without_concept",
                    multiline=True,
                    tooltip="The same prompts without it, line by line a pair: a woman. Pairs that "
                    "differ in nothing else give the cleanest direction.",
                ),
                layer_input(-2),
                io.Image.Input(
                    "with_image",
                    optional=True,
                    tooltip="Images with the concept; their image tokens are measured instead of "
                    "the text's. clip must be a Qwen3-VL-4B.",
                ),
                io.Image.Input(
                    "without_image",
                    optional=True,
                    tooltip="As many images without it, one by one a pair.",
                ),
                io.Combo.Input(
                    "taps",
                    options=[AUTO, SINGLE],
                    default=AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="For a CLIP of type flux2, krea2 or ideogram4. auto: the layers that "
                    "its model takes, side by side; layer does not count. single layer: layer, as "
                    "for Z-Image. Images: always one layer.",
                ),
            ],
            outputs=[
                Concept.Output(
                    "concept",
                    display_name="concept",
                    tooltip="For Apply Concept; keep it with Save Concept.",
                ),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        with_concept=None,
        without_concept=None,
        layer=None,
        with_image=NOT_CONNECTED,
        without_image=NOT_CONNECTED,
    ) -> bool | str:
        images = (with_image, without_image) != (NOT_CONNECTED, NOT_CONNECTED)
        try:
            if not images and None not in (with_concept, without_concept):
                pair_prompts(with_concept, without_concept)
        except ValueError as error:
            return str(error)
        return check_layer(layer)

    @classmethod
    def execute(
        cls,
        clip,
        with_concept,
        without_concept,
        layer,
        with_image=None,
        without_image=None,
        taps=AUTO,
    ) -> io.NodeOutput:
        require_choice("taps", taps, (AUTO, SINGLE))
        if with_image is None and without_image is None:
            prompts = pair_prompts(with_concept, without_concept)
            texts = [text for pair in prompts for text in pair]
            encoded = _encode_texts(clip, texts, layer, taps)
            means, record = _measured(encoded, Role.TEXT, _line_names(prompts))
            sides = list(zip(means[::2], means[1::2], strict=True))
        else:
            images = _image_pair(with_image, without_image)
            texts = [_lines(text) for text in (with_concept, without_concept)]
            sides, prompts, record = _image_sides(clip, images, texts, layer)
        measured = "image" if with_image is not None else "text"
        provenance = {
            "model": record.source,
            "fingerprint": record.fingerprint,
            **({} if record.layer is None else {"layer": str(record.layer)}),
            "tokens": measured,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": "Concept Direction",
        }
        finding = find_direction(sides, record.taps, prompts, provenance)
        report = found_in_words(finding)
        return io.NodeOutput(finding.concept, report, ui=shown_report(report))


def _encode_texts(clip: Any, texts: Sequence[str], layer: int, taps: str) -> Iterator[Encoding]:
    """Prompt after prompt, with progress; interruptible in between."""
    if taps == SINGLE or not is_tapped(clip):
        yield from (encoding for [encoding] in encode_each(clip, texts, [layer]))
        return
    tapped = tapped_clip(clip)
    progress = comfy.utils.ProgressBar(len(texts))
    for text in texts:
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield encode_taps(tapped, text)
        progress.update(1)
    comfy.model_management.throw_exception_if_processing_interrupted()


def _measured(
    encoded: Iterable[Encoding], role: Role, names: Iterable[str]
) -> tuple[list[SideMeans], Record]:
    """The means of the tokens with ``role``, one for each, and the last record.

    ``names``: of each, for messages.
    """
    means = []
    for encoding, name in zip(encoded, names, strict=True):
        record = encoding.record
        content, whole = role_mask(record.roles, [role]), role_mask(record.roles, CONTENT_ROLES)
        try:
            means.append(measure_side(encoding.conditioning[0][0][0], content, whole, record.taps))
        except ConceptError as error:
            raise ConceptError(f"{name}: {error}") from error
    return means, record


def _line_names(prompts: Sequence[tuple[str, str]]) -> list[str]:
    return [f"prompt {n} of {side}_concept" for n in range(1, len(prompts) + 1) for side in SIDES]


def _image_pair(with_image: Any, without_image: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images = with_image, without_image
    for name, image in zip(("with_image", "without_image"), images, strict=True):
        if not isinstance(image, torch.Tensor) or not image.ndim:
            raise ValueError(
                f"{name} is {type(image).__name__}, not a batch of images: connect both with_image "
                "and without_image, or neither"
            )
    if len(with_image) != len(without_image):
        raise ValueError(
            f"with_image has {len(with_image)} images and without_image {len(without_image)}: give "
            "as many, one by one a pair"
        )
    return images


def _lines(text: str) -> list[str]:
    require_text("the text beside the images", text)
    return [line.strip() for line in text.split("\n") if line.strip()]


def _image_sides(
    clip: Any,
    images: tuple[torch.Tensor, torch.Tensor],
    texts: Sequence[list[str]],
    layer: int,
) -> tuple[list[tuple[SideMeans, SideMeans]], list[tuple[str, str]], Record]:
    """The means of each pair of images, the texts beside them, and the record of one."""
    count = len(images[0])
    means, beside = [], []
    for side, batch, lines in zip(SIDES, images, texts, strict=True):
        encoded = (encoding for [encoding] in encode_images(clip, batch, lines, [layer]))
        names = [f"image {number} of {side}_image" for number in range(1, count + 1)]
        done, record = _measured(encoded, Role.IMAGE, names)
        means.append(done)
        beside.append((lines or [""]) * (1 if len(lines) == count else count))
    return list(zip(*means, strict=True)), list(zip(*beside, strict=True)), record
