"""What a user has of a workflow: JSON in one of ComfyUI's formats, or a picture that it is in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...core.tables import enumerate_some
from .workflow import QueueError, parse_json, read_json, require_graph

SHOWN = 8
"""Names that a message lists of what was found instead."""
MOST_TEXT = 64 * 2**20
"""Bytes of one text in a picture; Pillow refuses more."""
EXPORT = "In ComfyUI: Workflow > Export (API)"
_PICTURES = {b"\x89PNG": "PNG", b"RIFF": "WebP", b"\xff\xd8\xff": "JPEG"}
_FRAMED = re.compile(r"\s*(prompt|workflow)\s*:\s*(?=\{)", re.IGNORECASE)
"""How ComfyUI begins a text in Exif."""


class GraphFile(NamedTuple):
    """One of both: ``graph`` in API format, ``saved`` as the page saves it."""

    graph: dict[str, Any] | None = None
    saved: dict[str, Any] | None = None


def read_graph_file(path: Path) -> GraphFile:
    """The workflow in a file.

    Read are API format, bare or as ``{"prompt": ...}`` as it is posted; what the page saves; and
    PNG, WebP and JPEG files into which ComfyUI wrote either.

    Raises:
        QueueError: if there is none; the message says what there is.
    """
    kind = _picture_kind(path)
    if kind:
        return _in_picture(path, kind)
    found = _recognised(read_json(path))
    if isinstance(found, GraphFile):
        if found.graph is not None:
            require_graph(found.graph, str(path))
        return found
    raise QueueError(f"{path} is no workflow: {found}. {EXPORT}")


def _recognised(content: Any) -> GraphFile | str:
    """The workflow in JSON, or what is there instead."""
    if not isinstance(content, dict):
        return f"it must be an object of nodes by id, and is {_kind(content)}"
    if isinstance(content.get("nodes"), list):
        return GraphFile(saved=content)
    prompt = content.get("prompt")
    if isinstance(prompt, list) and len(prompt) > 2:
        prompt = prompt[2]  # As the history has it.
    for graph in (prompt, content.get("output")):
        if _has_nodes(graph):
            return GraphFile(graph=graph)
    inner = content.get("workflow")
    if isinstance(inner, dict) and isinstance(inner.get("nodes"), list):
        return GraphFile(saved=inner)
    if _has_nodes(content):
        return GraphFile(graph=content)
    if not content:
        return "it must be an object of nodes by id, and is empty"
    names = enumerate_some([repr(name) for name in content], SHOWN)
    return f"none of its parts has a class_type, which every node has; they are {names}"


def _has_nodes(graph: Any) -> bool:
    return isinstance(graph, dict) and any(
        isinstance(node, dict) and isinstance(node.get("class_type"), str)
        for node in graph.values()
    )


def _kind(content: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(content), "a number")


def _picture_kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except (OSError, ValueError):
        return ""  # Reading it as text tells why.
    kind = next((kind for magic, kind in _PICTURES.items() if start.startswith(magic)), "")
    return "" if kind == "WebP" and start[8:] != b"WEBP" else kind


def _in_picture(path: Path, kind: str) -> GraphFile:
    texts = _texts(path, kind)
    refused = ""
    for name in ("prompt", "workflow"):
        if name not in texts:
            continue
        try:
            found = _recognised(parse_json(texts[name]))
        except ValueError as error:
            refused = f"its {name!r} cannot be read: {error}"
            continue
        if isinstance(found, GraphFile):
            if found.graph is not None:
                require_graph(found.graph, str(path))
            return found
        refused = f"its {name!r} is no workflow: {found}"
    if refused:
        raise QueueError(f"{path}: {refused}")
    there = enumerate_some([repr(name) for name in sorted(texts)], SHOWN)
    raise QueueError(f"{path} is a {kind} without a workflow of ComfyUI: {_instead(texts, there)}")


def _instead(texts: Mapping[str, str], there: str) -> str:
    if "parameters" in texts:
        return "it holds 'parameters', as AUTOMATIC1111 and its kin write them, and no graph"
    if "invokeai_metadata" in texts or "invokeai_graph" in texts:
        return "it holds the metadata of InvokeAI, and no graph of ComfyUI"
    if there:
        return f"the texts in it are {there}"
    return "there is no text in it; a screenshot, or a copy that a website made, has lost it"


def _texts(path: Path, kind: str) -> dict[str, str]:
    """The texts in a picture by name."""
    from PIL import Image

    texts: dict[str, str] = {}
    try:
        with Image.open(path, formats=["PNG", "WEBP", "JPEG"]) as picture:
            if kind == "PNG":
                # Some chunks follow the pixels; an animation of ComfyUI's has its own kind.
                texts.update(getattr(picture, "text", {}))
                texts.update(_animation(getattr(picture, "private_chunks", [])))
            for name, value in picture.getexif().items():
                text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                found = _FRAMED.match(text) if isinstance(text, str) else None
                if found:
                    texts[found[1].lower()] = text[found.end() :].rstrip("\0")
                elif isinstance(text, str):
                    texts.setdefault(f"Exif {name}", text)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises nearly anything on a damaged file.
        raise QueueError(f"{path} cannot be read as a {kind}: {error}") from None
    return {name: str(text) for name, text in texts.items()}


def _animation(chunks: Any) -> Iterator[tuple[str, str]]:
    """Save Animated PNG writes chunks called comf: a name, a zero byte and the text."""
    for name, data, *_ in chunks:
        key, zero, text = bytes(data).partition(b"\0")
        if name == b"comf" and zero:
            yield key.decode("latin-1"), text.decode("utf-8", "replace")
