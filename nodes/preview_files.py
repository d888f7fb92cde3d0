"""Pictures of 8 bits as the previews of a node.

The host's own way takes floats, makes 8 bits of them again, and compresses a third longer.
"""

from __future__ import annotations

import json
import uuid
import zlib
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from comfy.cli_args import args
from comfy_api.latest import io, ui
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def write_preview(pixels: np.ndarray, prompt: Any = None) -> ui.SavedResult:
    """Write (height, width, 3) uint8 as a PNG among the host's temporary files.

    ``prompt`` is written into it, unless the host was told to write no metadata: what the page
    makes a workflow of where the file is dropped into it.
    """
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    name = f"ComfyUI_temp_{uuid.uuid4().hex}_00001_.png"  # as the host names its own
    told = PngInfo()
    if prompt is not None and not args.disable_metadata:
        told.add_text("prompt", json.dumps(prompt))
    # Run lengths: quicker than a search for repeats, and of filtered pixels hardly larger.
    Image.fromarray(pixels).save(
        folder / name, pnginfo=told, compress_level=1, compress_type=zlib.Z_RLE
    )
    return ui.SavedResult(name, "", io.FolderType.temp)
