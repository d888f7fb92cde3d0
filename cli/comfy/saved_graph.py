"""From a workflow as ComfyUI's page saves it to the graph that a server takes (API format).

As the page does it when it queues: subgraphs are taken apart, what lies in one has the id
"outer:inner"; muted nodes are left out with the links to them; bypassed ones hand on their inputs;
reroutes, primitive nodes and notes are of the page alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...core.errors import LayerLabError
from ...core.tables import enumerate_some
from .errors import node_name
from .widgets import UnreadableNode, widget_values

MUTED, BYPASSED = 2, 4
FROM_OUTSIDE, TO_OUTSIDE = -10, -20
"""The node ids of a subgraph's own inputs and outputs, seen from inside."""
REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
_PAGE_ONLY = (REROUTE, PRIMITIVE, "Note", "MarkdownNote")
MOST_NESTED = 32
MOST_USES = 10_000
"""How often subgraphs may be used in all: small files could ask for billions."""
_ANY = ("*", "", None, 0)


class SavedGraphError(LayerLabError, ValueError):
    """A saved workflow that cannot be converted; the message says why."""


class _Value(NamedTuple):
    """What an input gets that is no link."""

    value: Any


class _Scope:
    """The root graph, or one subgraph where it is used: ``host`` is the node that stands for it."""

    def __init__(
        self,
        graph: Mapping[str, Any],
        prefix: str = "",
        outer: _Scope | None = None,
        host: Any = None,
    ) -> None:
        self.graph = graph
        self.prefix = prefix
        self.outer = outer
        self.host = host
        self.nodes = {str(node["id"]): node for node in graph["nodes"]}
        self.links = dict(_links(graph))
        self.depth = outer.depth + 1 if outer else 0
        if self.depth > MOST_NESTED:
            raise SavedGraphError("its subgraphs lie in each other without an end")


def to_api(
    saved: Mapping[str, Any], describe: Callable[[str], Mapping[str, Any]]
) -> dict[str, Any]:
    """The graph in API format.

    Args:
        saved: what the page's Save writes.
        describe: from a node's class to its part of ``/object_info``; empty for one that the
            server does not know.

    Raises:
        SavedGraphError: if a node is unknown or does not fit, or the file is damaged.
    """
    try:
        return _Conversion(saved, describe).graph()
    except UnreadableNode as error:
        raise SavedGraphError(str(error)) from None
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, SavedGraphError):
            raise
        raise SavedGraphError(
            f"it is damaged, or of a kind that is not known here ({type(error).__name__})"
        ) from None
    except RecursionError:
        raise SavedGraphError("its links go in a circle") from None


class _Conversion:
    def __init__(
        self, saved: Mapping[str, Any], describe: Callable[[str], Mapping[str, Any]]
    ) -> None:
        definitions = (saved.get("definitions") or {}).get("subgraphs") or []
        self._subgraphs = {one["id"]: one for one in definitions}
        self._root = _Scope(saved)
        self._scopes: dict[str, _Scope] = {}
        self._describe = describe
        self._known: dict[str, Mapping[str, Any]] = {}

    def graph(self) -> dict[str, Any]:
        nodes = list(self._running(self._root))
        unknown = sorted({node["type"] for _, node in nodes if not self._info(node["type"])})
        if unknown:
            raise SavedGraphError(
                f"the server does not know its nodes {enumerate_some(unknown, 10)}: install the "
                "packs that they are from"
            )
        graph = {scope.prefix + str(node["id"]): self._entry(scope, node) for scope, node in nodes}
        for node in graph.values():
            node["inputs"] = {
                name: value
                for name, value in node["inputs"].items()
                if not (_is_link(value) and value[0] not in graph)
            }
        return graph

    def _running(self, scope: _Scope) -> Iterator[tuple[_Scope, Mapping[str, Any]]]:
        """The nodes that are sent, those of subgraphs included."""
        for node in scope.nodes.values():
            kind = node["type"]
            if node.get("mode") in (MUTED, BYPASSED) or kind in _PAGE_ONLY:
                continue
            if kind in self._subgraphs:
                yield from self._running(self._inside(scope, node))
            else:
                yield scope, node

    def _inside(self, scope: _Scope, host: Mapping[str, Any]) -> _Scope:
        prefix = f"{scope.prefix}{host['id']}:"
        if prefix not in self._scopes:
            if len(self._scopes) >= MOST_USES:
                raise SavedGraphError(f"it uses subgraphs more than {MOST_USES} times")
            self._scopes[prefix] = _Scope(self._subgraphs[host["type"]], prefix, scope, host)
        return self._scopes[prefix]

    def _info(self, kind: str) -> Mapping[str, Any]:
        if kind not in self._known:
            self._known[kind] = self._describe(kind)
        return self._known[kind]

    def _entry(self, scope: _Scope, node: Mapping[str, Any]) -> dict[str, Any]:
        info = self._info(node["type"])
        title = node.get("title") or info.get("display_name") or node["type"]
        node_id = scope.prefix + str(node["id"])
        entry = {"class_type": node["type"], "inputs": {}, "_meta": {"title": title}}
        try:
            values = widget_values(node, info)
        except UnreadableNode as error:
            named = node_name(node_id, node["type"], {node_id: entry})
            raise UnreadableNode(f"{named}: {error}") from None
        for slot in node.get("inputs") or []:
            if slot.get("link") is None:
                continue
            found = self._source(scope, slot["link"], slot.get("type"))
            if isinstance(found, _Value):
                if found.value is not None:
                    values[slot["name"]] = found.value
            elif found is not None:
                values[slot["name"]] = found
            elif not slot.get("widget"):
                values.pop(slot["name"], None)
        entry["inputs"] = {
            name: {"__value__": value} if isinstance(value, list) and not _is_link(value) else value
            for name, value in values.items()
        }
        return entry

    def _source(self, scope: _Scope, link: Any, kind: Any) -> list[Any] | _Value | None:
        """Where a link comes from: [node id, output], a value, or nothing."""
        if link not in scope.links:
            return None
        origin, slot = scope.links[link]
        if origin == FROM_OUTSIDE:
            return self._outside(scope, slot, kind)
        node = scope.nodes[str(origin)]
        return self._output(scope, node, slot, kind)

    def _outside(self, scope: _Scope, slot: int, kind: Any) -> list[Any] | _Value | None:
        """What comes into a subgraph at one of its inputs."""
        host, outer = scope.host, scope.outer
        name = scope.graph["inputs"][slot]["name"]
        there = [one for one in host.get("inputs") or [] if one["name"] == name]
        if there and there[0].get("link") is not None:
            return self._source(outer, there[0]["link"], kind)
        named = host.get("widgets_values_named")
        if isinstance(named, Mapping):
            return _Value(named.get(name))
        # The page saves them in the order of those inputs that have a widget.
        widgets = [one["name"] for one in host.get("inputs") or [] if one.get("widget")]
        saved = host.get("widgets_values")
        if isinstance(saved, list) and name in widgets and widgets.index(name) < len(saved):
            return _Value(saved[widgets.index(name)])
        return None

    def _output(
        self, scope: _Scope, node: Mapping[str, Any], slot: int, kind: Any
    ) -> list[Any] | _Value | None:
        mode, named = node.get("mode"), node["type"]
        if mode == MUTED:
            return None
        if mode == BYPASSED:
            taken = _bypass(node, slot, kind)
            return None if taken is None else self._source(scope, taken, kind)
        if named in self._subgraphs:
            inside = self._inside(scope, node)
            links = inside.graph["outputs"][slot].get("linkIds") or []
            return self._source(inside, links[0], kind) if links else None
        if named == REROUTE:
            inputs = node.get("inputs") or []
            link = inputs[0].get("link") if inputs else None
            return None if link is None else self._source(scope, link, kind)
        if named == PRIMITIVE:
            values = node.get("widgets_values") or [None]
            return _Value(values[0])
        return [scope.prefix + str(node["id"]), slot]


def _bypass(node: Mapping[str, Any], slot: int, kind: Any) -> Any:
    """The link that a bypassed node hands on at an output: the page takes the input of the same
    number if the type fits, else the first of the very type, else the first that fits."""
    inputs = node.get("inputs") or []
    if kind in _ANY:
        index = slot if slot < len(inputs) else 0
        return inputs[index].get("link") if inputs else None
    given = node["outputs"][slot].get("type")

    def fits(one: Mapping[str, Any]) -> bool:
        return _compatible(one.get("type"), given) and _compatible(one.get("type"), kind)

    if slot < len(inputs) and fits(inputs[slot]):
        return inputs[slot].get("link")
    exact = [one for one in inputs if one.get("type") == kind]
    found = exact or [one for one in inputs if fits(one)]
    return found[0].get("link") if found else None


def _compatible(one: Any, other: Any) -> bool:
    if one in _ANY or other in _ANY:
        return True
    names = [{part.strip().lower() for part in str(kind).split(",")} for kind in (one, other)]
    return bool(names[0] & names[1])


def _links(graph: Mapping[str, Any]) -> Iterator[tuple[Any, tuple[Any, int]]]:
    """Link -> (node, output). A root saves lists, a subgraph and newer formats objects."""
    for link in graph.get("links") or []:
        if isinstance(link, Mapping):
            yield link["id"], (link["origin_id"], link["origin_slot"])
        elif link:
            yield link[0], (link[1], link[2])


def _is_link(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )
