"""Save and Load Embedding."""

from __future__ import annotations

import logging
from pathlib import Path

from comfy_api.latest import io

from ..core.record.embedding_file import FORMAT, SUFFIX, Entry, load_embedding, save_embedding
from ..core.record.record import RECORD_KEY
from .conditioning import entries_of, origin, read_entry
from .node import Node
from .report import shown_report
from .saved_files import (
    contents_hash,
    find_file,
    list_files,
    named_file,
    new_file,
    safetensors_format,
)
from .types import CATEGORY

log = logging.getLogger(__name__)

NO_FILE = "no embedding file yet: run Save Embedding, then press R"
"""What Load Embedding offers where there is nothing to choose."""


class SaveEmbedding(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabSaveEmbedding",
            display_name="Save Embedding",
            category=CATEGORY,
            description="Writes a conditioning, with what the pack knows about its tokens, as a "
            "safetensors file into ComfyUI's output folder.",
            search_aliases=["export conditioning", "store embedding", "write prompt embedding"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="Any conditioning; all of its entries go into one file.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="layer_lab/embedding",
                    tooltip="Folder and beginning of the name, inside the output folder; a number "
                    "is added, so no file is overwritten.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, conditioning, filename_prefix) -> io.NodeOutput:
        entries = []
        if not entries_of(conditioning):
            raise ValueError("the conditioning has no entries: connect a text encoder's output")
        for entry in conditioning:
            hidden, record = read_entry(entry)
            options = {key: value for key, value in entry[1].items() if key != RECORD_KEY}
            own = record is entry[1].get(RECORD_KEY)
            entries.append(Entry(hidden, record if own else None, options))
        path, shown = new_file(filename_prefix, SUFFIX)
        lines = [f"saved: {shown}", describe(entries)]
        left_out = save_embedding(path, entries)
        if left_out:
            lines.append(f"left out, add it again after loading: {', '.join(left_out)}")
            log.warning("%s: left out %s.", shown, ", ".join(left_out))
        return io.NodeOutput(ui={**shown_report("\n".join(lines)), **named_file(path)})


class LoadEmbedding(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabLoadEmbedding",
            display_name="Load Embedding",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Reads a conditioning that Save Embedding wrote; no text encoder is "
            "needed to use it.",
            search_aliases=["import conditioning", "read embedding", "prompt embedding"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=embedding_names() or [NO_FILE],
                    tooltip="Embedding files in ComfyUI's output and input folders and their "
                    "subfolders. Press R to see new ones.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="As it was saved, entry by entry.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        try:
            if name is not None:
                embedding_path(name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str | float:
        return float("nan") if name is None else contents_hash(embedding_path(name))

    @classmethod
    def execute(cls, name) -> io.NodeOutput:
        entries = load_embedding(embedding_path(name))
        conditioning = [
            [hidden, options if record is None else {**options, RECORD_KEY: record}]
            for hidden, record, options in entries
        ]
        return io.NodeOutput(conditioning, ui=shown_report(describe(entries)))


def describe(entries: list[Entry]) -> str:
    """A line for each entry: size, dtype, and where it is from."""
    return "\n".join(
        f"entry {number}: {hidden.shape[1]} tokens x {hidden.shape[2]} dimensions, "
        f"{str(hidden.dtype).removeprefix('torch.')}, "
        f"{'of an unknown encoder' if record is None else origin(record)}"
        for number, (hidden, record, _) in enumerate(entries, 1)
    )


def embedding_path(name: str) -> Path:
    """The file that ``name`` stands for; ValueError as :func:`.saved_files.find_file`."""
    if isinstance(name, str) and name == NO_FILE:
        raise ValueError(
            "there is no embedding file to load: run Save Embedding, press R, and choose its file"
        )
    return find_file(name, (SUFFIX,), "embedding")


def embedding_names() -> list[str]:
    """Every embedding file under output/ and input/."""
    return list_files((SUFFIX,), "embedding", lambda path: safetensors_format(path) == FORMAT)
