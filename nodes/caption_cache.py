"""Save Caption Cache."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..core.caption_cache.ai_toolkit import AiToolkit
from ..core.caption_cache.cached import DTYPES, SAME_LAYER, TRAINERS_LIMIT, CacheFormat
from ..core.caption_cache.formats import FORMATS
from ..core.caption_cache.single import stem_of, to_cache, write_if_new
from ..core.checks import require_choice, require_finite_states, require_flag
from ..core.encoder.prompt import require_text, text_of_prompt
from ..core.record.record import CONTENT_ROLES, RECORD_KEY, Record, role_mask
from .conditioning import entries_of, origin
from .node import Node
from .report import shown_report
from .saved_files import named_file, output_path
from .tapped_entries import read_tapped
from .types import CATEGORY

SILENT = (RECORD_KEY, "attention_mask", "pooled_output")
"""Options of an entry that no trainer of Z-Image misses."""


class SaveCaptionCache(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabSaveCaptionCache",
            display_name="Save Caption Cache",
            category=CATEGORY,
            description="Writes the conditioning of one caption as the file in which a trainer "
            "keeps it, into ComfyUI's output folder: to train Z-Image at another layer.",
            search_aliases=["train lora", "musubi-tuner", "ai-toolkit", "text encoder cache"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="Of one caption, at the layer that pictures will be made with.",
                ),
                io.String.Input(
                    "name",
                    default="layer_lab/captions/image",
                    tooltip="Folder inside the output folder, and the name of the caption's image, "
                    "with or without its ending. The trainer finds the file by it, so no number "
                    "is added.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="musubi",
                    tooltip="musubi: of musubi-tuner. ai-toolkit: of ostris's. plain: what Load "
                    "Embedding reads.",
                ),
                io.String.Input(
                    "caption",
                    default="",
                    tooltip="The text of the image's caption file. Empty: the text that was "
                    "encoded. ai-toolkit finds its file by it.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="bf16",
                    tooltip="Of the file. The same for all captions of a data set: musubi-tuner "
                    "takes two for two different entries.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Replaces a file of that name which holds other states, for example "
                    "those of another layer. Off: it is left alone, with an error.",
                ),
                io.String.Input(
                    "trigger",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="For ai-toolkit: the trigger_word of its configuration.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls, conditioning, name, format, caption, dtype, overwrite, trigger=""
    ) -> io.NodeOutput:
        kind = _format(format, trigger)
        torch_dtype = DTYPES[require_choice("dtype", dtype, DTYPES)]
        overwrite = require_flag("overwrite", overwrite)
        require_text("caption", caption)
        place = output_path("name", name)
        hidden, record, left_out = _one_caption(conditioning)
        encoded = text_of_prompt(record.prompt)
        if not caption.strip() and encoded is None:
            raise ValueError(
                "caption is empty, and the conditioning does not say which text was encoded: type "
                "the text of the image's caption file"
            )
        made = kind.caption(caption if caption.strip() else encoded)
        cached = to_cache(hidden, record, made, torch_dtype, kind)
        path = place.with_name(kind.file_name(stem_of(place.name), made))
        written = write_if_new(kind, path, cached, record, overwrite)
        file = named_file(path)
        shown = f"{file['files'][0]['subfolder']}/{path.name}".lstrip("/")
        lines = [
            f"saved: {shown}" if written else f"was there already, with the same states: {shown}",
            f"{hidden.shape[0]} tokens x {hidden.shape[1]} dimensions, {cached.settings['dtype']}, "
            f"of {origin(record)}",
            f"caption: {made}",
            *_remarks(hidden, made, encoded, left_out),
            SAME_LAYER.format(these="this cache"),
        ]
        return io.NodeOutput(ui={**shown_report("\n".join(lines)), **file})


def _format(name: str, trigger: str) -> CacheFormat:
    require_choice("format", name, FORMATS)
    require_text("trigger", trigger)
    if name == AiToolkit.name:
        return AiToolkit(trigger)
    if trigger:
        raise ValueError("trigger is about ai-toolkit: choose its format, or leave trigger empty")
    return FORMATS[name]()


def _one_caption(conditioning: list) -> tuple[Tensor, Record, list[str]]:
    """The (tokens, width) states of the one entry without padding, its record, and the names of
    the options that no cache holds."""
    entries = entries_of(conditioning)
    if len(entries) != 1:
        raise ValueError(
            f"the conditioning has {len(entries) or 'no'} entries and a cache holds one caption: "
            "connect what one text encoder node gave"
        )
    [entry] = entries
    hidden, record = read_tapped(entry)
    if record.taps is not None:
        raise ValueError(
            f"the conditioning holds {record.layer_in_words}, and the caches are those of Z-Image, "
            "which takes one layer: encode at one layer, or use Save Embedding"
        )
    if len(hidden) != 1:
        raise ValueError(
            f"the conditioning is a batch of {len(hidden)} and a cache holds one caption: encode "
            "one caption at a time"
        )
    require_finite_states(hidden, "the conditioning")
    kept = role_mask(record.roles, CONTENT_ROLES)
    mask = entry[1].get("attention_mask")
    if mask is not None and mask.shape[-1] == len(record):
        kept &= mask.reshape(-1, len(record))[0].cpu() != 0
    positions = kept.nonzero().flatten().tolist()
    if not positions:
        raise ValueError("the conditioning holds padding only: encode a caption")
    left_out = [key for key, value in entry[1].items() if key not in SILENT and value is not None]
    return hidden[0, positions], record.take(positions), left_out


def _remarks(hidden: Tensor, made: str, encoded: str | None, left_out: list[str]) -> list[str]:
    """What the trainer would do in another way, or never see."""
    remarks = []
    if encoded is not None and encoded != made:
        remarks.append(f"another text was encoded: {encoded}")
    if len(hidden) > TRAINERS_LIMIT:
        remarks.append(f"trainers themselves cut a caption at {TRAINERS_LIMIT} tokens")
    if left_out:
        remarks.append(f"trainers do not read: {', '.join(map(str, left_out))}")
    return remarks
