"""Scheduled Blend."""

from __future__ import annotations

import node_helpers
from comfy_api.latest import io

from ..core.edit.blending import MATCHES, METHODS, BlendSettings
from ..core.edit.scheduling import CURVES, MOST_STEPS, schedule
from .blend_entry import blend_entry, blend_verdict, warn_of_swap
from .conditioning import partners
from .node import Node
from .numbers import check_numbers
from .report import shown_report
from .types import CATEGORY


class ScheduledBlend(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabScheduledBlend",
            display_name="Scheduled Blend",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Embedding Blend with a share that changes while sampling, so that a "
            "reference image guides early steps (composition) or late ones (detail).",
            search_aliases=[
                "alpha schedule",
                "prompt scheduling",
                "ip adapter",
                "timestep",
                "start percent",
            ],
            inputs=[
                io.Conditioning.Input("text", tooltip="The side that keeps its tokens."),
                io.Conditioning.Input(
                    "vision",
                    tooltip="The side that is mixed in: one entry for all text entries, or as "
                    "many as the text has.",
                ),
                io.Combo.Input(
                    "curve",
                    options=list(CURVES),
                    default="linear",
                    tooltip="How the share goes from start_alpha to end_alpha. cosine: slowly at "
                    "both ends. step: one change, in the middle.",
                ),
                _share("start_alpha", 0.5, "in the first steps, where the composition is made"),
                _share("end_alpha", 0.0, "in the last steps, where details are made"),
                io.Int.Input(
                    "steps",
                    default=4,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="Number of ranges of constant share, over the whole schedule. With "
                    "more ranges than sampling steps some get no step.",
                ),
                io.Combo.Input(
                    "method",
                    options=[name for name in METHODS if name != "append"],
                    default="interpolate",
                    optional=True,
                    advanced=True,
                    tooltip="As in Embedding Blend; append is missing because it has no share.",
                ),
                io.Combo.Input(
                    "match",
                    options=list(MATCHES),
                    default="rms per token",
                    optional=True,
                    advanced=True,
                    tooltip="As in Embedding Blend.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="An entry per range, with ComfyUI's own start_percent and end_percent.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, start_alpha=None, end_alpha=None, steps=None) -> bool | str:
        return check_numbers(
            ("start_alpha", start_alpha, 0.0, 1.0),
            ("end_alpha", end_alpha, 0.0, 1.0),
            ("steps", steps, 1, MOST_STEPS),
        )

    @classmethod
    def execute(
        cls,
        text,
        vision,
        curve,
        start_alpha,
        end_alpha,
        steps,
        method="interpolate",
        match="rms per token",
    ) -> io.NodeOutput:
        if method == "append":
            raise ValueError("method append has no share to schedule: use Embedding Blend for it")
        ranges = schedule(curve, start_alpha, end_alpha, steps)
        entries, shown = [], []
        for entry, partner in zip(text, partners(text, vision, "vision"), strict=True):
            first, last = entry[1].get("start_percent", 0.0), entry[1].get("end_percent", 1.0)
            for part in ranges:
                blended, report = blend_entry(
                    entry, partner, BlendSettings(part.alpha, method, match)
                )
                span = {
                    "start_percent": _within(part.start, first, last),
                    "end_percent": _within(part.end, first, last),
                }
                entries += node_helpers.conditioning_set_values([blended], span)
                title = f"{span['start_percent']:.4g} to {span['end_percent']:.4g} of sampling"
                shown.append(f"{title}, alpha {part.alpha:.4g}\n{report}")
        warn_of_swap("Scheduled Blend", shown)
        return io.NodeOutput(entries, ui=shown_report("\n\n".join(shown), blend_verdict(shown)))


def _within(part: float, first: float, last: float) -> float:
    """``part`` (0..1) of the way, ending exactly at ``last``, where another entry may begin."""
    return last if part == 1 else first + part * (last - first)


def _share(name: str, default: float, when: str) -> io.Float.Input:
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip=f"Share of the vision side {when}.",
    )
