"""Save and Load Concept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..core.concept.concept import Concept as Direction
from ..core.concept.concept_file import FORMAT, SUFFIX, load_concept, save_concept
from ..core.concept.words import concept_in_words
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
from .types import CATEGORY, Concept

NO_FILE = "no concept file yet: run Save Concept, then press R"
"""What Load Concept offers where there is nothing to choose."""


class SaveConcept(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabSaveConcept",
            display_name="Save Concept",
            category=CATEGORY,
            description="Writes a concept, with its prompts, model and layer, as a safetensors "
            "file into ComfyUI's output folder; other programs can read its direction as a plain "
            "vector.",
            search_aliases=["export concept", "store steering vector", "write direction"],
            is_output_node=True,
            inputs=[
                Concept.Input("concept", tooltip="From Concept Direction or Load Concept."),
                io.String.Input(
                    "filename_prefix",
                    default="layer_lab/concept",
                    tooltip="Folder and beginning of the name, inside the output folder; a number "
                    "is added, so no file is overwritten.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, concept, filename_prefix) -> io.NodeOutput:
        require_concept(concept)
        path, shown = new_file(filename_prefix, SUFFIX)
        save_concept(concept, path)
        report = shown_report(f"saved: {shown}\n{concept_in_words(concept)}")
        return io.NodeOutput(ui={**report, **named_file(path)})


class LoadConcept(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabLoadConcept",
            display_name="Load Concept",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Reads a concept that Save Concept or layerlab concept wrote; no text "
            "encoder is needed to use it.",
            search_aliases=["import concept", "read steering vector", "concept library"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=concept_names() or [NO_FILE],
                    tooltip="Concept files in ComfyUI's output and input folders and their "
                    "subfolders. Press R to see new ones.",
                ),
            ],
            outputs=[
                Concept.Output("concept", display_name="concept", tooltip="For Apply Concept.")
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        try:
            if name is not None:
                concept_path(name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str | float:
        return float("nan") if name is None else contents_hash(concept_path(name))

    @classmethod
    def execute(cls, name) -> io.NodeOutput:
        concept = load_concept(concept_path(name))
        return io.NodeOutput(concept, ui=shown_report(concept_in_words(concept)))


def require_concept(concept: Any) -> Direction:
    """``concept``; ValueError if it is none."""
    if not isinstance(concept, Direction):
        raise ValueError(
            f"concept is {type(concept).__name__}, not a concept: connect Concept Direction or "
            "Load Concept"
        )
    return concept


def concept_path(name: str) -> Path:
    """The file that ``name`` stands for; ValueError as :func:`.saved_files.find_file`."""
    if isinstance(name, str) and name == NO_FILE:
        raise ValueError(
            "there is no concept file to load: run Save Concept, press R, and choose its file"
        )
    return find_file(name, (SUFFIX,), "concept")


def concept_names() -> list[str]:
    """Every concept file under output/ and input/."""
    return list_files((SUFFIX,), "concept", lambda path: safetensors_format(path) == FORMAT)
