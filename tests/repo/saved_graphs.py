"""Workflows as the page saves them, as plain data: what they show, and the prompt they mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
TEMPLATES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
NOTES = {"MarkdownNote", "Note"}
UPLOAD_BUTTON = "upload"
TITLE_HEIGHT = 30
FROM_OUTSIDE, TO_OUTSIDE = -10, -20
"""The node ids of a subgraph's own inputs and outputs, seen from inside."""


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def subgraphs(saved: dict) -> dict[str, dict]:
    """The definitions by the type of the nodes that stand for them."""
    return {one["id"]: one for one in saved.get("definitions", {}).get("subgraphs", [])}


def every_node(saved: dict) -> Iterator[dict]:
    """The nodes of the root and of all subgraphs, without those that stand for subgraphs."""
    for graph in (saved, *subgraphs(saved).values()):
        yield from (node for node in graph["nodes"] if node["type"] not in subgraphs(saved))


def box(node: dict) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    if node["flags"].get("collapsed"):
        height = 0
    return x, y - TITLE_HEIGHT, x + width, y + height


def page_widgets(node: dict) -> dict[str, object]:
    """The widgets that only the page has: they are saved, but never sent to the server."""
    inputs = {slot["name"] for slot in node["inputs"]} - {UPLOAD_BUTTON}
    return {k: v for k, v in node["widgets_values_named"].items() if k not in inputs}


def links_of(graph: dict) -> dict[int, tuple[int, int]]:
    """Where each link comes from: node and slot. A root saves lists, a subgraph dicts."""
    return {
        **{one[0]: (one[1], one[2]) for one in graph["links"] if isinstance(one, list)},
        **{
            one["id"]: (one["origin_id"], one["origin_slot"])
            for one in graph["links"]
            if isinstance(one, dict)
        },
    }


def prompt_of(saved: dict) -> dict[str, dict]:
    """The graph in API format: what lies in a subgraph has the id ``outer:inner``."""
    known = subgraphs(saved)
    roots = {node["id"]: node for node in saved["nodes"]}
    root_links = links_of(saved)

    def value(node: dict, slot: dict) -> Any:
        """A root node's input: a source, a typed value, or None."""
        if slot["link"] is not None:
            return source(*root_links[slot["link"]])
        return node["widgets_values_named"][slot["name"]] if "widget" in slot else None

    def source(number: int, slot: int) -> list:
        node = roots[number]
        if node["type"] not in known:
            return [str(number), slot]
        inside = known[node["type"]]
        [link] = inside["outputs"][slot]["linkIds"]
        origin, out = links_of(inside)[link]
        return [f"{number}:{origin}", out]

    def inner(outer: dict, links: dict, node: dict, slot: dict) -> Any:
        if slot["link"] is None:
            return node["widgets_values_named"][slot["name"]] if "widget" in slot else None
        origin, out = links[slot["link"]]
        if origin == FROM_OUTSIDE:
            return value(outer, outer["inputs"][out])
        return [f"{outer['id']}:{origin}", out]

    def entry(node: dict, inputs: dict) -> dict:
        sent = {k: v for k, v in inputs.items() if v is not None and k != UPLOAD_BUTTON}
        return {"class_type": node["type"], "inputs": sent, "_meta": {"title": node["title"]}}

    prompt = {}
    for node in saved["nodes"]:
        if node["type"] in known:
            inside = known[node["type"]]
            links = links_of(inside)
            for one in inside["nodes"]:
                inputs = {slot["name"]: inner(node, links, one, slot) for slot in one["inputs"]}
                prompt[f"{node['id']}:{one['id']}"] = entry(one, inputs)
        elif node["type"] not in NOTES:
            inputs = {slot["name"]: value(node, slot) for slot in node["inputs"]}
            prompt[str(node["id"])] = entry(node, inputs)
    return prompt
