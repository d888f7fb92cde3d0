"""Pictures that come out of a repeat as they came before: told, for nobody asked for them twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MOST_PIXELS = 2**28
"""Most pixels of all frames together; larger pictures are not compared."""


class Repeats:
    """Compares the pictures of the repeats of each line of the list."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._seen: dict[tuple[Any, ...], int] = {}
        self._told: set[str] = set()

    def note(self, line: int, number: int, outputs: Any) -> list[str]:
        """A sentence for each node whose picture in row ``number`` came in an earlier row of the
        same ``line`` too; for each node but once. ``outputs``: of results.jsonl, or anything."""
        told = []
        for output in outputs if isinstance(outputs, list | tuple) else ():
            node = str(output.get("node")) if isinstance(output, Mapping) else ""
            digest = self._digest(output.get("file")) if node else None
            if digest is None:
                continue
            first = self._seen.setdefault((line, node, digest), number)
            if first != number and node not in self._told:
                self._told.add(node)
                told.append(
                    f"Row {number} repeats row {first}: the picture of node {node} "
                    f'"{output.get("title")}" is the same. No seed that --repeat moves reaches it'
                )
        return told

    def _digest(self, name: Any) -> str | None:
        """A digest of the pixels alone: the file also holds the graph, with another seed."""
        if not isinstance(name, str) or Path(name).suffix.lower() not in PICTURES:
            return None
        from PIL import Image, ImageSequence

        digest = hashlib.sha256()
        try:
            # The name is that of a file in the folder, whatever a changed results.jsonl says.
            with Image.open(self._out / Path(name).name) as picture:
                if picture.width * picture.height * getattr(picture, "n_frames", 1) > MOST_PIXELS:
                    return None
                for frame in ImageSequence.Iterator(picture):
                    digest.update(f"{frame.mode} {frame.size}".encode())
                    digest.update(frame.tobytes())
        except Exception:  # Pillow raises nearly anything on a file that is no picture.
            return None
        return digest.hexdigest()
