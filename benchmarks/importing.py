"""How long ComfyUI takes to import the pack: its own loader, timed in a process of its own."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from zimage_layer_lab.cli.comfy.folder import find_comfyui

from .measure import Row, in_own_process

ROOT = Path(__file__).resolve().parent.parent
BESIDE = Path("custom_nodes", "websocket_image_save.py")
"""The one pack that ComfyUI comes with."""
GOAL = 0.05
"""Under which ComfyUI's list of import times prints 0.0 seconds."""


def rows(rounds: int) -> Iterator[Row]:
    """Medians over ``rounds`` fresh processes."""
    found = [in_own_process("importing", "import") for _ in range(rounds)]
    own, other = (statistics.median(one[name] for one in found) for name in ("own", "other"))
    yield Row(
        "import",
        "import of the pack by ComfyUI's loader, its own nodes loaded before",
        BESIDE.as_posix(),
        own,
        other,
        "s",
        "seconds",
        own,
        f"< {GOAL:g} s",
        own < GOAL,
    )


def main(task: str) -> dict[str, float]:
    """Seconds of both imports, done as ComfyUI does them at its start."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise RuntimeError("no ComfyUI was found: set COMFYUI_PATH")
    sys.path.insert(0, str(comfyui))
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    async def load() -> dict[str, float]:
        await nodes.init_builtin_extra_nodes()
        seconds = {}
        for name, path in (("other", comfyui / BESIDE), ("own", ROOT)):
            started = time.perf_counter()
            loaded = await nodes.load_custom_node(str(path))
            seconds[name] = time.perf_counter() - started
            if not loaded:
                raise RuntimeError(f"ComfyUI could not import {path}")
        return seconds

    return asyncio.run(load())
