"""DiT Gain."""

from __future__ import annotations

import numpy as np
from comfy_api.latest import io, ui
from torch import Tensor

from ..core.checks import require_finite_states, shortened
from ..core.dit.gain import (
    Energy,
    Gains,
    energy_of,
    gain_table,
    tap_table,
    tap_weights_table,
    times,
)
from ..core.dit.view import rms_norm
from ..core.outliers.survey import survey_outliers
from ..core.record.record import CONTENT_ROLES, Record, role_mask
from ..core.tables import enumerate_some
from .caption_path import CaptionPath, caption_path
from .conditioning import entries_of, read_entry, reference_for
from .node import Node
from .numbers import check_threshold, threshold_input
from .pictures import require_matplotlib, theme_input, to_image
from .report import shown_report
from .tap_fusion import TapFusion, tap_fusion
from .types import CATEGORY

HIGHEST_DIMENSION = 1 << 20
"""What a typed list is checked for before a model is loaded."""
MOST_SUSPECTS = 12
"""Outlier dimensions that are told of one by one."""


class DitGain(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabDitGain",
            display_name="DiT Gain",
            category=CATEGORY,
            description="Shows how strongly the image model's own first caption layer takes each "
            "dimension, from its weights and without sampling, and with a conditioning, what share "
            "each outlier dimension and each token has of what goes on into the model.",
            search_aliases=["cap_embedder", "ignored dimension", "weights", "dimension 396"],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Z-Image, Flux.2 or Krea 2: Load Diffusion Model. LoRAs and quantised "
                    "files count as the model computes with them.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="States that the model takes: their outlier dimensions and tokens are "
                    "then measured behind the first layer. Of several entries, the first.",
                ),
                threshold_input(),
                io.String.Input(
                    "dimensions",
                    default="396, 4",
                    optional=True,
                    tooltip="Dimensions that are told of in any case, with commas between them. "
                    "396 and 4 are those of the published Qwen3-4B figures.",
                ),
                theme_input(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, threshold=None, dimensions=None) -> bool | str:
        try:
            parse_dimensions(dimensions or "", HIGHEST_DIMENSION)
        except ValueError as error:
            return str(error)
        return check_threshold(threshold)

    @classmethod
    def execute(
        cls, model, conditioning=None, threshold=10.0, dimensions="", theme="light"
    ) -> io.NodeOutput:
        require_matplotlib(theme)
        from ..core.draw.theme import picture_theme

        entry = None
        if conditioning is not None:
            if not entries_of(conditioning):
                raise ValueError("the conditioning has no entries: connect a text encoder's output")
            entry = read_entry(conditioning[0])
            require_finite_states(entry[0], "the conditioning")
        fusion = tap_fusion(model)
        with picture_theme(theme):
            if fusion is not None:
                picture, report, verdict = _by_tap(fusion, entry)
            else:
                picture, report, verdict = _by_dimension(
                    caption_path(model), entry, threshold, dimensions
                )
        image = to_image([picture])
        preview = ui.PreviewImage(image, cls=cls)
        return io.NodeOutput(image, report, ui=shown_report(report, verdict, preview))


def _by_dimension(
    path: CaptionPath, entry: tuple[Tensor, Record] | None, threshold: float, dimensions: str
) -> tuple[np.ndarray, str, str]:
    """Picture, report and verdict of a model whose first layer is a matrix."""
    from ..core.draw.gain_picture import gain_picture

    asked = parse_dimensions(dimensions, path.width)
    if entry is not None:
        _require_width(entry, path.width, path.kind)
    path.load()
    columns, weight = path.column_lengths(), path.norm_weight()
    gains = Gains(columns if weight is None else columns * weight.abs())
    lines = [f"{path.kind}: {path.width} dimensions, the effective weights of its first layer"]
    suspects, energy, names = asked, None, []
    if entry is not None:
        hidden, record = entry
        kept = role_mask(record.roles, CONTENT_ROLES)
        kept = kept if bool(kept.any()) else None
        survey = survey_outliers(hidden, reference_for(hidden, record), threshold, kept)
        found = survey.dimensions[:MOST_SUSPECTS]
        suspects = list(dict.fromkeys([*asked, *found]))
        energy = _energy(path, hidden, columns, weight)
        names = [record.describe(position) for position in range(len(record))]
        sinks = survey.sinks.any(0).nonzero().flatten().tolist()
        lines += [
            f"{record.source}, {record.layer_in_words}: {hidden.shape[1]} tokens",
            *_found_in_words(found, gains, energy),
            *_sinks_in_words(sinks, energy, record),
        ]
    if path.taps > 1:
        lines.append(tap_table(gains, energy, path.taps))
    lines.append(gain_table(gains, energy, suspects, name=path.name))
    called = [path.name(number) for number in range(path.width)]
    picture = gain_picture(gains, lines[0], suspects, energy, names, called)
    return picture, "\n".join(lines), _verdict(asked, gains, energy)


def _by_tap(fusion: TapFusion, entry: tuple[Tensor, Record] | None) -> tuple[np.ndarray, str, str]:
    """Picture, report and verdict of a model that first weighs whole layers, Krea 2."""
    from ..core.draw.gain_picture import tap_picture

    if entry is not None:
        _require_width(entry, fusion.width, "Krea 2")
    fusion.load()
    weights = fusion.weights()
    attention = None if entry is None else fusion.attention(entry[0])
    title = f"Krea 2: {fusion.taps} taps of {fusion.tap_width} dimensions"
    lines = [title, "its first layers weigh whole layers of the encoder, not single dimensions"]
    if entry is not None:
        _, record = entry
        lines.append(f"{record.source}, {record.layer_in_words}: {len(record)} tokens")
    lines.append(tap_weights_table(weights, attention))
    largest = int(weights.abs().argmax())
    verdict = f"tap {largest + 1} of {fusion.taps} has the largest weight, {weights[largest]:.3g}"
    return tap_picture(weights, attention, title), "\n".join(lines), verdict


def _verdict(asked: list[int], gains: Gains, energy: Energy | None) -> str:
    """What became of the dimensions that were asked for, or else of the one that carries most."""
    chosen = asked[:2]
    if not chosen:
        by = gains.values if energy is None else energy.dimensions
        chosen = [int(by.argmax())]
    told = []
    for number in chosen:
        share = "" if energy is None else f", {float(energy.dimensions[number]):.2%} of the energy"
        told.append(f"dimension {number}: gain {times(float(gains.relative[number]))}{share}")
    return "; ".join(told)


def _require_width(entry: tuple[Tensor, Record], width: int, kind: str) -> None:
    hidden, record = entry
    if hidden.shape[-1] != width:
        raise ValueError(
            f"the conditioning ({record.source}) has {hidden.shape[-1]} dimensions, and this model "
            f"({kind}) takes {width}: encode with the text encoder that belongs to it"
        )


def _energy(path: CaptionPath, hidden: Tensor, columns: Tensor, weight: Tensor | None) -> Energy:
    normed = hidden.detach().float().cpu()
    if weight is not None:
        normed = rms_norm(normed, weight)
    return energy_of(normed, columns, path.project(normed))


def parse_dimensions(text: str, width: int) -> list[int]:
    """The numbers in ``text``, each once.

    Raises:
        ValueError: if one is no dimension of ``width``.
    """
    words = [word.strip() for word in str(text).split(",") if word.strip()]
    numbers = []
    for word in words:
        if not word.isascii() or not word.isdigit() or int(word) >= width:
            raise ValueError(
                f"dimensions has {shortened(word)}: give numbers from 0 to {width - 1}, with "
                "commas between them"
            )
        numbers.append(int(word))
    return list(dict.fromkeys(numbers))


def _found_in_words(suspects: list[int], gains: Gains, energy: Energy) -> list[str]:
    if not suspects:
        return ["no dimension of the caption is out of line"]
    relative = gains.relative.tolist()
    return [
        f"dimension {number}, out of line in the caption: gain {times(relative[number])}; it "
        f"carries {float(energy.dimensions[number]):.2%} of what goes on"
        for number in suspects[:3]
    ]


def _sinks_in_words(sinks: list[int], energy: Energy, record: Record) -> list[str]:
    if not sinks:
        return ["no token is a sink"]
    share = float(energy.tokens[:, sinks].sum())
    fair = len(sinks) / energy.tokens.shape[1]
    named = enumerate_some([record.describe(position) for position in sinks], 3)
    return [f"sink tokens ({named}) carry {share:.1%} of it, and are {fair:.1%} of the tokens"]
