"""Dimension Probe."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..core.checks import require_choice, require_whole_number
from ..core.dimension.ways import WAYS
from ..core.encoder.layers import hidden_state_index
from ..core.encoder.prompt import build_prompt
from .capture import check_layer, layer_input
from .encoder import block_count
from .node import Node
from .pictures import require_matplotlib, theme_input, to_image
from .prompt_list import check_prompts, prompts_fingerprint, read_prompts
from .report import shown_report
from .types import CATEGORY

ALL_WAYS = "all three"
HIGHEST_DIMENSION = 1 << 20
MOST_CONTROLS = 64


class DimensionProbeNode(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabDimensionProbe",
            display_name="Dimension Probe",
            category=CATEGORY,
            description="Asks the text encoder as a language model what one dimension of a hidden "
            "state does: where its variance is, what it costs in next-token loss to replace it, "
            "against ordinary dimensions, and which tokens it writes.",
            search_aliases=["dimension 396", "ablation", "massive activation", "logit lens"],
            is_output_node=True,
            inputs=[
                io.Clip.Input("clip", tooltip="Qwen3-4B or Qwen3-VL-4B: CLIPLoader, type lumina2."),
                io.Int.Input(
                    "dimension",
                    default=396,
                    min=0,
                    max=HIGHEST_DIMENSION,
                    tooltip="Which dimension, from 0. 396 and 4 are those of the published "
                    "Qwen3-4B figures.",
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt a line, two at least, or the name of a .txt file (UTF-8) "
                    "in ComfyUI's input folder. Eight or more make an interval that says "
                    "something.",
                ),
                layer_input(-2),
                io.Combo.Input(
                    "replace",
                    options=[ALL_WAYS, *WAYS],
                    default=ALL_WAYS,
                    tooltip="What the dimension's values become: 0, their mean, or those of like "
                    "tokens in other prompts. The verdict takes all three.",
                ),
                io.Int.Input(
                    "controls",
                    default=4,
                    min=0,
                    max=MOST_CONTROLS,
                    optional=True,
                    advanced=True,
                    tooltip="Ordinary dimensions to compare with: as many at random, and as many "
                    "of about the same spread. They are run on the first four prompts.",
                ),
                theme_input(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, dimension=None, prompts=None, layer=None, replace=None, controls=None
    ) -> bool | str:
        checked = check_prompts(prompts)
        checked = check_layer(layer) if checked is True else checked
        if checked is not True:
            return checked
        try:
            # None is a connected input, checked when it runs.
            _check(
                0 if dimension is None else dimension,
                ALL_WAYS if replace is None else replace,
                0 if controls is None else controls,
            )
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls,
        clip=None,
        dimension=None,
        prompts=None,
        layer=None,
        replace=None,
        controls=None,
        theme=None,
    ) -> str:
        return prompts_fingerprint(prompts)

    @classmethod
    def execute(
        cls, clip, dimension, prompts, layer, replace, controls=4, theme="light"
    ) -> io.NodeOutput:
        require_matplotlib(theme)
        from ..core.draw.dimension_picture import probe_picture
        from ..core.draw.theme import picture_theme
        from .probing import probe_dimension, probe_report

        dimension, controls = _check(dimension, replace, controls)
        ways = WAYS if replace == ALL_WAYS else (replace,)
        texts = [build_prompt(prompt) for prompt in read_prompts(prompts)]
        index = hidden_state_index(layer, block_count(clip))
        probe, source, tokens = probe_dimension(clip, texts, dimension, index, ways, controls)
        with picture_theme(theme):
            image = to_image([probe_picture(probe, f"{source}: dimension {dimension}")])
        report = probe_report(probe, source, tokens)
        verdict = "" if probe.verdict is None else probe.verdict.name
        first = f"dimension {dimension} at layer {probe.layer}: {verdict or 'no verdict'}"
        preview = ui.PreviewImage(image, cls=cls)
        return io.NodeOutput(image, report, ui=shown_report(report, first, preview))


def _check(dimension: Any, replace: Any, controls: Any) -> tuple[int, int]:
    """``dimension`` and ``controls`` as whole numbers. Raises ValueError for a bad value."""
    require_choice("replace", replace, (ALL_WAYS, *WAYS))
    return (
        require_whole_number("dimension", dimension, 0, HIGHEST_DIMENSION),
        require_whole_number("controls", controls, 0, MOST_CONTROLS),
    )
