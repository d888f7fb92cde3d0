"""What a finished prompt's history names: files of every kind, texts, and other values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .client import output_images

PAGE_PARTS = "layer_lab_report"
"""Where this pack's nodes give the page their text once more, in parts."""


class NamedOutput(NamedTuple):
    """One thing of one node.

    ``key`` is what the node calls it, such as "images" or "text". One of the others is set:
    ``file`` (``filename``, ``subfolder`` and ``type``), ``text``, or ``value``.
    """

    node: str
    key: str
    file: Mapping[str, str] | None = None
    text: str | None = None
    value: Any = None


def named_outputs(entry: Mapping[str, Any], only_images: bool = False) -> list[NamedOutput]:
    """Everything that a history entry names, each file once.

    ``only_images``: the images that were saved; of a prompt that saved none its previews.
    """
    if only_images:
        return _saved_images(entry)
    found, files = [], set()
    for output in _all(entry):
        if output.file is not None:
            place = tuple(output.file.get(key) for key in ("filename", "subfolder", "type"))
            if place in files:
                continue
            files.add(place)
        found.append(output)
    return found


def _saved_images(entry: Mapping[str, Any]) -> list[NamedOutput]:
    listed = output_images(entry)
    wanted = [image for image in listed if image.get("type") == "output"] or listed
    return [NamedOutput(image["node"], "images", file=image) for image in wanted]


def _all(entry: Mapping[str, Any]) -> Iterator[NamedOutput]:
    for node, output in (entry.get("outputs") or {}).items():
        for key, content in output.items() if isinstance(output, Mapping) else ():
            yield from _parts(str(node), str(key), content)


def _parts(node: str, key: str, content: Any) -> Iterator[NamedOutput]:
    items = content if isinstance(content, list) else [content]
    if items and key != PAGE_PARTS and all(isinstance(item, str) for item in items):
        yield NamedOutput(node, key, text="\n\n".join(items))
        return
    rest = []
    for item in items:
        name = item.get("filename") if isinstance(item, Mapping) else None
        if isinstance(name, str) and name:
            texts = {k: v for k, v in item.items() if isinstance(v, str)}
            yield NamedOutput(node, key, file=texts)
        else:
            rest.append(item)
    if rest:
        yield NamedOutput(node, key, value=rest)
