"""A workflow file in API format, and finding in it what a setting names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...core.errors import LayerLabError
from ...core.tables import enumerate_some
from ..comfy.errors import node_name

SHOWN = 40
"""Nodes or inputs that an error message lists."""
MOST_DEPTH = 64
"""Lists and objects that JSON may have within each other."""


class QueueError(LayerLabError, ValueError):
    """The command cannot begin, or go on; the message says why and what to do."""


class Target(NamedTuple):
    """One input of one node."""

    node: str
    input: str


class Workflow:
    """A graph in API format: node id -> ``class_type``, ``inputs``, ``_meta``."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self.graph = graph

    def find(self, key: str) -> Target:
        """The input that ``key`` names: NODE.INPUT, NODE being an id or a title.

        A title may have dots, and so may an input: the last dot that makes sense divides them.

        Raises:
            QueueError: if there is no such node or input, or several nodes have the title.
        """
        if "." not in key:
            raise QueueError(f"{key!r} is not of the form NODE.INPUT (a node's id or title)")
        dot = key.rfind(".")
        while dot > 0:
            nodes = self._nodes(key[:dot])
            if nodes:
                return Target(self._only(key[:dot], nodes), key[dot + 1 :])
            dot = key.rfind(".", 0, dot)
        name = key.rpartition(".")[0]
        raise QueueError(f"{key!r}: no node has the id or title {name!r}. There are {self._all()}")

    def present(self, target: Target) -> Any:
        """The value that the input has in the file.

        Raises:
            QueueError: if the node has no such input, or it comes from another node.
        """
        node = self.graph[target.node]
        named = self.name(target.node)
        inputs = node["inputs"]
        if target.input not in inputs:
            there = enumerate_some(list(inputs), SHOWN) or "none"
            raise QueueError(f"{named} has no input {target.input!r}; it has {there}")
        value = inputs[target.input]
        if self.is_link(value):
            source = self.name(value[0])
            raise QueueError(
                f"{target.input!r} of {named} comes from {source}: set an input of that node"
            )
        return value

    def is_link(self, value: Any) -> bool:
        """Whether an input's value is (node id, output number) of another node."""
        return (
            isinstance(value, list)
            and len(value) == 2
            and isinstance(value[0], str)
            and value[0] in self.graph
            and isinstance(value[1], int)
        )

    def name(self, node_id: str) -> str:
        """The node as messages name it, such as ``node 5 "Seed" (PrimitiveInt)``."""
        return node_name(node_id, self.graph[node_id]["class_type"], self.graph)

    def title(self, node_id: str) -> str:
        """The node's title, or its class where it has none."""
        return title_of(self.graph.get(node_id) or {}) or f"node {node_id}"

    def _nodes(self, name: str) -> list[str]:
        if name in self.graph:
            return [name]
        return [node_id for node_id, node in self.graph.items() if title_of(node) == name]

    def _only(self, name: str, nodes: list[str]) -> str:
        if len(nodes) > 1:
            those = ", ".join(f"{n} ({self.graph[n]['class_type']})" for n in nodes)
            raise QueueError(f"several nodes have the title {name!r}: say which by its id: {those}")
        return nodes[0]

    def _all(self) -> str:
        nodes = [f"{node_id} {title_of(node)!r}" for node_id, node in self.graph.items()]
        return enumerate_some(nodes, SHOWN)


def require_graph(graph: Mapping[str, Any], named: str) -> None:
    """Raise QueueError if ``graph`` is not in API format; ``named``: what it was read from."""
    for node_id, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            there = list(node) if isinstance(node, dict) else []
            has = enumerate_some([repr(name) for name in there], SHOWN)
            raise QueueError(
                f"{named} is no workflow in API format: {node_id!r} has no class_type"
                f"{f', only {has}' if has else ''}. In ComfyUI: Workflow > Export (API)"
            )
        if not isinstance(node.get("inputs"), dict):
            raise QueueError(
                f"{named}: {node_name(node_id, node['class_type'], graph)} has no inputs"
            )


def read_json(path: Path) -> Any:
    """The JSON in a file, with or without a byte order mark.

    Raises:
        QueueError: if it cannot be read.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise QueueError(
            f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError as error:
        raise QueueError(f"{path} is not JSON that can be read: {error}") from None


def parse_json(text: str) -> Any:
    """The value of JSON from outside, nested so little that it can be copied and written.

    Raises:
        ValueError: if it is no JSON, is nested more than :data:`MOST_DEPTH` deep, or holds a
            whole number of thousands of digits.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        if not level:
            return value
        level = [part for parts in level for part in _parts(parts)]
    raise ValueError(f"it is nested too deeply: more than {MOST_DEPTH} levels")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def read_text(path: Path) -> str:
    """A file as UTF-8. Raises QueueError if it cannot be read so."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise QueueError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise QueueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except ValueError as error:  # A name that no file can have.
        raise QueueError(f"{str(path)!r} cannot be read: {error}") from None
    except OSError as error:
        raise QueueError(f"{path} cannot be read: {error.strerror or error}") from None


def title_of(node: Mapping[str, Any]) -> str:
    """What ComfyUI shows on the node; its class where the file has no title."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return str(title or node.get("class_type") or "")
