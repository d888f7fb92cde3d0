"""Outlier Report."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..core.dit.view import FirstMatrix
from ..core.measure.dimension_stats import Place
from ..core.measure.reference import Reference as ReferenceStats
from ..core.outliers.survey import (
    NO_OUTLIER,
    Survey,
    Zeroing,
    survey_outliers,
    survey_table,
    zeroing,
)
from ..core.record.record import CONTENT_ROLES, Record, role_mask
from ..core.tables import enumerate_some
from .caption_path import caption_path
from .conditioning import (
    entries_of,
    reference_for,
    reference_remarks,
)
from .layer_references import connected_references, more_references_input, of_layer
from .node import Node
from .numbers import check_threshold, threshold_input
from .pictures import require_matplotlib, theme_input, to_image
from .report import shown_report
from .tap_reading import read_taps_with
from .tapped_entries import AUTO, read_tapped, taps_input
from .types import CATEGORY, Reference


class OutlierReport(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabOutlierReport",
            display_name="Outlier Report",
            category=CATEGORY,
            description="Shows which dimensions are out of line, in both directions, with and "
            "without attention-sink tokens, which token carries each, and how much of it the "
            "image model sees. Changes nothing.",
            search_aliases=["massive activation", "attention sink", "dimension 396", "inspect"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="From any text encoder, of any width; each entry gets a picture and a "
                    "section of the report.",
                ),
                threshold_input(),
                Reference.Input(
                    "reference",
                    optional=True,
                    tooltip="What is normal. Without one: the published Qwen3-4B figures for "
                    "width 2560 at layer -2, else the median std of these very states.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="Z-Image: its own first layer (cap_embedder) then says what the image "
                    "model sees of each dimension. Without it every dimension counts alike. Of "
                    "several taps: Flux.2, Krea 2 or Ideogram 4.",
                ),
                theme_input(),
                taps_input(),
                more_references_input(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="One picture an entry."),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, threshold=None, more_references=None) -> bool | str:
        """``more_references`` is not looked at: the host hands it over whether asked to or not."""
        return check_threshold(threshold)

    @classmethod
    def execute(
        cls,
        conditioning,
        threshold,
        reference=None,
        model=None,
        theme="light",
        taps=AUTO,
        more_references=None,
    ) -> io.NodeOutput:
        if not entries_of(conditioning):
            raise ValueError("the conditioning has no entries: connect a text encoder's output")
        require_matplotlib(theme)
        from ..core.draw.outlier_picture import outlier_picture
        from ..core.draw.theme import picture_theme
        from .tap_report import report_by_tap

        pictures, sections, verdicts = [], [], []
        entries = [read_tapped(entry, taps) for entry in conditioning]
        references = connected_references(reference, more_references)
        single = [hidden for hidden, record in entries if record.taps is None]
        weight, matrix = _first_layer(model if single else None, single)
        for hidden, record in entries:
            if record.taps is not None:
                reading = None if model is None else read_taps_with(model, record.taps)
                with picture_theme(theme):
                    given = report_by_tap(hidden, record, references, threshold, reading)
                for collected, one in zip((pictures, sections, verdicts), given, strict=True):
                    collected.append(one)
                continue
            measured = of_layer(references, record) or reference_for(hidden, record)
            keep = role_mask(record.roles, CONTENT_ROLES)
            survey = survey_outliers(
                hidden, measured, threshold, keep if bool(keep.any()) else None
            )
            effect = None
            if survey.outliers:
                effect = zeroing(hidden, survey.dimensions, weight, matrix)
            name = measured.name_for(record.fingerprint) if measured else ""
            drawn = (hidden, record, survey, weight, name, matrix, effect)
            with picture_theme(theme):
                pictures.append(outlier_picture(*drawn))
            verdicts.append(_verdict(survey))
            sections.append(_section(hidden, record, survey, measured, effect, matrix))
        image, report = to_image(pictures), "\n\n".join(sections)
        more = f" (of {len(verdicts)} entries, the first)" if verdicts[1:] else ""
        verdict = verdicts[0] + more
        preview = ui.PreviewImage(image, cls=cls)
        return io.NodeOutput(image, report, ui=shown_report(report, verdict, preview))


def _verdict(survey: Survey) -> str:
    """What the report comes to, in one line."""
    sinks = int(survey.sinks.sum())
    tokens = f"{sinks} sink token{'' if sinks == 1 else 's'}"
    if not survey.outliers:
        return f"no dimension is over {survey.threshold:g}x out of line; {tokens}"
    bare = [outlier for outlier in survey.outliers if outlier.bare]
    left = sum(outlier.bare.direction != NO_OUTLIER for outlier in bare)
    count = len(survey.outliers)
    verb = "dimension is" if count == 1 else "dimensions are"
    return (
        f"{count} {verb} over {survey.threshold:g}x out of line, {left} of them without sink "
        f"tokens too; {tokens}"
    )


def _first_layer(model: Any, states: list[Tensor]) -> tuple[Tensor | None, FirstMatrix | None]:
    """The norm's weight and the matrix after it, as the model computes with them.

    Raises:
        ValueError: if the model takes states of another width than one of the entries'.
    """
    if model is None:
        return None, None
    path = caption_path(model)
    for hidden in states:
        width = hidden.shape[-1]
        if width != path.width:
            raise ValueError(
                f"the conditioning has {width} dimensions, and this model takes {path.width}: "
                "encode with the text encoder that belongs to it"
            )
    path.load()
    weight = path.norm_weight()
    return weight, FirstMatrix(path.column_lengths(), path.project, weight is not None)


def _section(
    hidden: Tensor,
    record: Record,
    survey: Survey,
    reference: ReferenceStats | None,
    effect: Zeroing | None,
    matrix: FirstMatrix | None,
) -> str:
    def name_token(place: Place) -> str:
        of_batch = f" of sequence {place.prompt + 1}" if len(hidden) > 1 else ""
        return record.describe(place.position) + of_batch

    sinks = [name_token(Place(*place)) for place in survey.sinks.nonzero().tolist()]
    lines = [
        f"{record.source}, {record.layer_in_words}: "
        f"{hidden.shape[1]} tokens x {hidden.shape[2]} dimensions, "
        f"measured against {survey.whole.expected.name}",
        *_remarks(record, survey, reference),
        f"sink tokens: {enumerate_some(sinks, 10) or 'none'}",
    ]
    if record.edits:
        lines.append(f"edits so far: {'; '.join(record.edits)}")
    times = f"{survey.threshold:g}x"
    if survey.stats.all.tokens < 2:
        lines.append("one token has no spread: there is nothing to compare")
    elif survey.outliers:
        lines.append(f"all tokens: {_counts(survey, 'whole', times)}")
        lines.append(f"without sink tokens: {_counts(survey, 'bare', times)}")
        lines.append(survey_table(survey.outliers, name_token))
    else:
        lines.append(f"no dimension is over {times} louder or quieter than the reference")
    if effect is not None:
        lines.extend(_seen(effect, survey, matrix))
    return "\n".join(lines)


def _remarks(record: Record, survey: Survey, reference: ReferenceStats | None) -> list[str]:
    """What may be wrong with the comparison itself."""
    if reference is None:
        return []
    lines = reference_remarks(reference, record, survey.stats.sinks.tokens > 0)
    if survey.stats.all.tokens > 1:
        own = float(survey.stats.without_sinks.std.quantile(0.5))
        normal = float(survey.bare.expected.std.quantile(0.5))
        far = own > survey.threshold * normal or normal > survey.threshold * own
        if far:
            lines.append(
                f"the states as a whole are of another size than the reference (median std "
                f"{own:.4g} against {normal:.4g}): it does not seem to be of this encoder or layer"
            )
    return lines


def _counts(survey: Survey, view: str, times: str) -> str:
    spreads = [getattr(outlier, view) for outlier in survey.outliers]
    loud, quiet = (
        sum(spread is not None and spread.direction == word for spread in spreads)
        for word in ("loud", "quiet")
    )
    return f"{loud} dimensions over {times} louder, {quiet} over {times} quieter"


def _seen(seen: Zeroing, survey: Survey, matrix: FirstMatrix | None) -> list[str]:
    if matrix is None:
        after, where = "after the RMSNorm (with weight 1, no MODEL is connected)", "after RMSNorm"
    else:
        where = "after RMSNorm and the first matrix" if matrix.after_norm else "after its matrix"
        after = "after the MODEL's own norm and first matrix"
    kinds = (("sink tokens", survey.sinks), ("other tokens", ~survey.sinks))
    lines = [
        f"share of the squared norm of {name} that these {len(survey.outliers)} dimensions take: "
        f"{float(seen.share_before.cpu()[chosen].mean()):.2%} from the encoder, "
        f"{float(seen.share_after.cpu()[chosen].mean()):.2%} {after}"
        for name, chosen in kinds
        if bool(chosen.any())
    ]
    return [*lines, f"if they were zero: {seen.change.summary(where)}"]
