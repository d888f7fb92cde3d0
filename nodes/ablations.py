"""Ablations."""

from __future__ import annotations

from comfy_api.latest import io

from ..core.checks import require_choice, require_flag
from ..core.dit.response import CONTROL
from ..core.edit.ablations import (
    BOTH,
    MOST_CONTROLS,
    MOST_SINGLE,
    REPLACEMENTS,
    WHAT,
    Part,
    ablate,
    parts_to_ablate,
)
from ..core.outliers.survey import survey_outliers
from ..core.record.record import CONTENT_ROLES, role_mask
from .conditioning import (
    entries_of,
    positions_of,
    read_entry,
    reference_for,
    require_reference,
    write_entry,
)
from .node import Node
from .numbers import check_threshold, threshold_input
from .report import shown_report
from .types import CATEGORY, Reference

BASE_LABEL = "as it is"


class Ablations(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabAblations",
            display_name="Ablations",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Makes a list of variants of a conditioning, each without one suspicious "
            "part: an outlier dimension, a sink token, all of them, and ordinary dimensions and "
            "tokens as controls. For DiT Response, or for a sampler and Compare Grid.",
            search_aliases=["knock out", "ablate", "remove dimension", "remove token", "outlier"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="From any text encoder, of any width."
                ),
                io.Combo.Input(
                    "what",
                    options=list(WHAT),
                    default=BOTH,
                    tooltip="What is taken out, one at a time and all together. single tokens: "
                    "every token, one by one.",
                ),
                io.Combo.Input(
                    "replace",
                    options=list(REPLACEMENTS),
                    default="mean",
                    tooltip="mean: by the mean of the other tokens, sinks left out. zero. drop: a "
                    "token is removed; a dimension cannot be, and is set to zero.",
                ),
                threshold_input(),
                io.Int.Input(
                    "controls",
                    default=4,
                    min=0,
                    max=MOST_CONTROLS,
                    tooltip="How many dimensions of ordinary spread and how many ordinary tokens "
                    "are taken out as well, for comparison: an outlier whose effect is no larger "
                    "than theirs has none of its own. Always the same ones.",
                ),
                Reference.Input(
                    "reference",
                    optional=True,
                    tooltip="What is normal. Without one: the published Qwen3-4B figures for "
                    "width 2560 at layer -2, else the median std of these very states.",
                ),
                io.Int.Input(
                    "most",
                    default=16,
                    min=1,
                    max=MOST_SINGLE,
                    optional=True,
                    advanced=True,
                    tooltip="Single dimensions, and single tokens, at most: the outliers farthest "
                    "from the reference, the first tokens. The variants without all of them lack "
                    "all.",
                ),
                io.Boolean.Input(
                    "with_base",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Also the conditioning as it is, as the first of the list: for a "
                    "sampler and Compare Grid, which then has it for its baseline.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    is_output_list=True,
                    tooltip="One CONDITIONING per variant.",
                ),
                io.String.Output(
                    "label",
                    display_name="label",
                    is_output_list=True,
                    tooltip="What each variant lacks, such as dimension 396.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, threshold=None) -> bool | str:
        return check_threshold(threshold)

    @classmethod
    def execute(
        cls,
        conditioning,
        what,
        replace,
        threshold,
        controls,
        reference=None,
        most=16,
        with_base=False,
    ) -> io.NodeOutput:
        entries = entries_of(conditioning)
        if not entries:
            raise ValueError("the conditioning has no entries: connect a text encoder's output")
        require_choice("replace", replace, REPLACEMENTS)
        with_base = require_flag("with_base", with_base)
        if reference is not None:
            require_reference(reference)
        variants, labels, notes = [], [], []
        for number, entry in enumerate(entries):
            hidden, record = read_entry(entry)
            positions_of(record)
            selected = role_mask(record.roles, CONTENT_ROLES)
            measured = reference or reference_for(hidden, record)
            survey = survey_outliers(hidden, measured, threshold, selected)
            of_entry = f"entry {number + 1}: " if len(entries) > 1 else ""
            for part in parts_to_ablate(survey, record, selected, what, controls, most):
                changed, kept = ablate(hidden, part, replace, survey, selected)
                edited = record.take(kept).with_edit(_edit(part, replace))
                variant = list(entries)
                variant[number] = write_entry(entry, changed, edited, kept)
                variants.append(variant)
                labels.append(_label(part.label, of_entry))
            notes.append(
                f"{of_entry}{len(survey.outliers)} outlier dimensions and "
                f"{int(survey.sinks.any(0).sum())} sink tokens, measured against "
                f"{survey.whole.expected.name}"
            )
        if not variants:
            raise ValueError(
                f"there is nothing to take out: {'; '.join(notes)}. Lower threshold, choose "
                "single tokens, or ask for controls"
            )
        if with_base:
            variants, labels = [list(entries), *variants], [BASE_LABEL, *labels]
        controls = sum(label.startswith(CONTROL) for label in labels)
        of_them = f", {controls} of them controls" if controls else ""
        shown = "\n".join([f"{len(variants)} variants{of_them}", *notes, "", *labels])
        return io.NodeOutput(variants, labels, ui=shown_report(shown))


def _label(label: str, of_entry: str) -> str:
    """The label, and which entry it is of, after the word that marks a control."""
    control = CONTROL if label.startswith(CONTROL) else ""
    return f"{control}{of_entry}{label.removeprefix(CONTROL)}"


def _edit(part: Part, replace: str) -> str:
    return f"ablation: without {part.label}, replaced by {replace}"
