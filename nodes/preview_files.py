"""Pictures of 8 bits as the previews of a node.

The host's own way, and Pillow's, try five filters on every row of a PNG: here each row is stored as
its difference to the one above, which takes half the time, and about as many bytes.
"""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from comfy.cli_args import args
from comfy_api.latest import io, ui

STRIP = 256
"""Rows that are compressed at once."""
RGB_8_BIT, UP = (8, 2, 0, 0, 0), 2
"""The bytes of IHDR behind the size, and the number of the filter, as in the PNG specification
(https://www.w3.org/TR/png-3/)."""


def write_preview(pixels: np.ndarray, prompt: Any = None) -> ui.SavedResult:
    """Write (height, width, 3) uint8 as a PNG among the host's temporary files.

    ``prompt`` is written into it, unless the host was told to write no metadata: what the page
    makes a workflow of where the file is dropped into it.
    """
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    name = f"ComfyUI_temp_{uuid.uuid4().hex}_00001_.png"  # as the host names its own
    told = "" if prompt is None or args.disable_metadata else json.dumps(prompt)
    (folder / name).write_bytes(b"".join(_png(pixels, told)))
    return ui.SavedResult(name, "", io.FolderType.temp)


def _png(pixels: np.ndarray, prompt: str) -> Iterator[bytes]:
    height, width = pixels.shape[:2]
    yield b"\x89PNG\r\n\x1a\n"
    yield _chunk(b"IHDR", struct.pack(">II5B", width, height, *RGB_8_BIT))
    if prompt:
        yield _chunk(b"tEXt", b"prompt\0" + prompt.encode("ascii"))
    # Run lengths: quicker than a search for repeats, and of filtered pixels hardly larger.
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    rows = pixels.reshape(height, -1)
    above = np.zeros_like(rows[:1])
    for top in range(0, height, STRIP):
        strip = rows[top : top + STRIP]
        filtered = np.full((len(strip), 1 + rows.shape[1]), UP, np.uint8)
        filtered[:, 1:] = strip - np.concatenate([above, strip[:-1]])
        above = strip[-1:]
        yield _chunk(b"IDAT", deflate.compress(filtered))
    yield _chunk(b"IDAT", deflate.flush())
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
