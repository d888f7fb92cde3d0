"""Rows as graphs in ComfyUI's API format."""

from __future__ import annotations

from typing import Any

from .rows import Good, Odd, Row
from .table import GOOD_INPUTS

SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPLoader", {"clip_name": "qwen_3_4b.safetensors", "type": "lumina2"}),
    "vl_clip": ("CLIPLoader", {"clip_name": "qwen3vl_4b_bf16.safetensors", "type": "lumina2"}),
    "model": (
        "UNETLoader",
        {"unet_name": "z_image_turbo_bf16.safetensors", "weight_dtype": "default"},
    ),
    "image": ("EmptyImage", {"width": 64, "height": 64, "batch_size": 1, "color": 8421504}),
    "reference": ("LayerLabLoadReference", {"name": "wide reference.safetensors [input]"}),
    "concept": ("LayerLabLoadConcept", {"name": "wide concept.safetensors [input]"}),
    "a reference of width 6": (
        "LayerLabLoadReference",
        {"name": "good reference.safetensors [input]"},
    ),
}
"""What :class:`Good` values come from on a server."""

UNDER_TEST = "under test"


def loaders_of(node: str) -> list[str]:
    """Names of the large sources that a good run of ``node`` needs."""
    given = GOOD_INPUTS[node].values()
    return sorted({v.name for v in given if isinstance(v, Good)} & {"clip", "vl_clip", "model"})


def graph_of(row: Row, listed: dict[str, Any]) -> dict[str, Any]:
    """The row's node, what it is fed with, and something that wants its first output.

    ``listed``: the node's entry in the server's /object_info.
    """
    inputs = dict(_defaults(listed)) | GOOD_INPUTS[row.node] | dict(row.others)
    inputs[row.input] = row.value
    graph: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Odd):
            graph[name] = _node("LayerLabTestOddValue", name=value.name)
        elif isinstance(value, Good):
            kind, settings = SOURCES[value.name]
            graph[name] = _node(kind, **settings)
        else:
            continue
        inputs[name] = [name, 0]
    graph[UNDER_TEST] = _node(f"LayerLab{row.node}", **inputs)
    if not listed["output_node"]:
        graph["shown"] = _node("PreviewAny", source=[UNDER_TEST, 0])
    return graph


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _defaults(listed: dict[str, Any]) -> Any:
    """(name, default) of every input that has one; a choice without one has its first option."""
    for group in ("required", "optional"):
        for name, (_, *rest) in listed["input"].get(group, {}).items():
            settings = rest[0] if rest else {}
            if "default" in settings:
                yield name, settings["default"]
