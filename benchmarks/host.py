"""A ComfyUI in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from zimage_layer_lab.cli.comfy.folder import find_comfyui


def start_host(base: Path) -> Any:
    """ComfyUI's ``nodes``, with the folders of ``base``, on the CPU where there is no CUDA."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise RuntimeError("no ComfyUI was found: set COMFYUI_PATH")
    sys.path.insert(0, str(comfyui))
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    comfy.cli_args.args.base_directory = str(base)
    import nodes

    return nodes
