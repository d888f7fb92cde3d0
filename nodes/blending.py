"""Embedding Blend."""

from __future__ import annotations

from comfy_api.latest import io

from ..core.checks import require_choice, require_flag
from ..core.dit.caption_length import trained_positions
from ..core.edit.blend_methods import require_own_alphas
from ..core.edit.blending import CURVES, MATCHES, METHODS, BlendSettings
from ..core.record.token_values import parse_token_values
from .blend_entry import blend_entry, blend_verdict, token_alphas, warn_of_swap
from .conditioning import partners
from .node import Node
from .numbers import check_numbers
from .report import shown_report
from .types import CATEGORY

FEWEST_TOKENS, MOST_TOKENS = 2, 65536
"""Limits of ``max_tokens``: one token of each side, and far more than any encoder gives."""


class Blend(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabBlend",
            display_name="Embedding Blend",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Mixes text states with the states of Qwen3-VL image tokens, or appends "
            "them. The report says which tokens counted and how much the image model sees.",
            search_aliases=[
                "alpha",
                "ip adapter",
                "image prompt",
                "mix conditioning",
                "average conditioning",
                "vl conditioning",
                "adain",
                "slerp",
                "style transfer",
            ],
            inputs=[
                io.Conditioning.Input("text", tooltip="The side that keeps its tokens."),
                io.Conditioning.Input(
                    "vision",
                    tooltip="The side that is mixed in: one entry for all text entries, or as "
                    "many as the text has.",
                ),
                io.Float.Input(
                    "alpha",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of the vision side: 0 is the text, 1 the method's whole effect. "
                    "append uses both whole and ignores it; graduated has start_alpha besides.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="interpolate",
                    tooltip="interpolate: all vision tokens averaged down to the text's length. "
                    "interpolate (llm-dit): their two-point sampling, for comparison. linear: the "
                    "first tokens pair by pair. append: text tokens, then vision tokens. adain: "
                    "each text token takes the mean and std of its vision token; after the image "
                    "model's RMSNorm this changes almost nothing. adain per dimension: each "
                    "dimension takes its mean and std over the vision tokens. style dims: the last "
                    "third of the dimensions only. graduated: the share goes from start_alpha at "
                    "the first token to alpha at the last. attention weighted: less for tokens "
                    "that the other text tokens attend to. slerp: along the circle between the "
                    "two directions.",
                ),
                io.Combo.Input(
                    "match",
                    options=list(MATCHES),
                    default="rms per token",
                    tooltip="How the vision side is brought to the text's scale first. With rms "
                    "per token, alpha is the share that survives the image model's RMSNorm.",
                ),
                io.Float.Input(
                    "start_alpha",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="graduated only: share of the vision side at the first text token.",
                ),
                io.Combo.Input(
                    "curve",
                    options=list(CURVES),
                    default="linear",
                    optional=True,
                    advanced=True,
                    tooltip="graduated only: how the share goes from start_alpha to alpha. ease "
                    "in: slowly at first. ease out: slowly at the end.",
                ),
                io.Boolean.Input(
                    "keep_sinks",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Keep attention-sink tokens apart: the text's pass through unblended, "
                    "the vision side's are left out. Off: they are content like any other.",
                ),
                io.Int.Input(
                    "max_tokens",
                    default=trained_positions(),
                    min=FEWEST_TOKENS,
                    max=MOST_TOKENS,
                    optional=True,
                    advanced=True,
                    tooltip="append only: where text and vision together have more tokens, the "
                    "vision side is averaged down to what the text leaves.",
                ),
                io.String.Input(
                    "alphas",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="An alpha of its own for words, such as fox: 0.8, snow: 0 (all others "
                    "keep alpha), or for each text token, such as 0.1, 0.5, 0.2. Not for append "
                    "and graduated.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("conditioning", display_name="conditioning"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, alpha=None, start_alpha=None, max_tokens=None, alphas=None, method=None
    ) -> bool | str:
        """Whatever is connected comes as None, and is checked when the node runs."""
        try:
            given = None if alphas is None else parse_token_values("alphas", alphas)
            if method is not None:
                require_choice("method", method, METHODS)
                if given:
                    require_own_alphas(method)
        except ValueError as error:
            return str(error)
        return check_numbers(
            ("alpha", alpha, 0.0, 1.0),
            ("start_alpha", start_alpha, 0.0, 1.0),
            ("max_tokens", max_tokens, FEWEST_TOKENS, MOST_TOKENS),
        )

    @classmethod
    def execute(
        cls,
        text,
        vision,
        alpha,
        method,
        match,
        start_alpha=0.0,
        curve="linear",
        keep_sinks=True,
        max_tokens=None,
        alphas="",
    ) -> io.NodeOutput:
        keep_sinks = require_flag("keep_sinks", keep_sinks)
        settings = BlendSettings(alpha, method, match, keep_sinks, start_alpha, curve, max_tokens)
        sides = partners(text, vision, "vision")
        own = token_alphas(text, alphas, settings)
        blended, reports = [], []
        for entry, partner, alphas_here in zip(text, sides, own, strict=True):
            done, report = blend_entry(entry, partner, settings, alphas_here)
            blended.append(done)
            reports.append(report)
        warn_of_swap("Embedding Blend", reports)
        report = "\n\n".join(reports)
        return io.NodeOutput(blended, report, ui=shown_report(report, blend_verdict(reports)))
