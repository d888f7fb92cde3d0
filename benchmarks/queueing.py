"""``layerlab queue`` on prompts that cost a server next to nothing, against a plain websocket loop.

The loop is that of ComfyUI's script_examples/websockets_api_example.py: queue, listen until no
node runs, ask for the history, fetch the picture. Both sides write what they fetched.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket
from zimage_layer_lab.cli import main
from zimage_layer_lab.cli.comfy.server import ComfyServer, find_comfyui

from .measure import Row, part_of

PROMPTS = 200
ROUNDS = 10
"""The prompts are split into so many parts, and each side does one part in turn."""


def rows(prompts: int = PROMPTS) -> Iterator[Row]:
    """Seconds per prompt of both, on one server."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise RuntimeError("no ComfyUI was found: set COMFYUI_PATH")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with ComfyServer(comfyui, base / "server", cpu=True) as server:
            part = max(1, prompts // ROUNDS)
            sides: tuple[list[float], list[float]] = ([], [])
            for turn in range(ROUNDS + 1):
                for side in (0, 1) if turn % 2 else (1, 0):
                    run = (_ours, _plain)[side]
                    # Other colours every time: the host's cache must answer nothing.
                    colours = range((2 * turn + side) * part, (2 * turn + side + 1) * part)
                    started = time.perf_counter()
                    run(server.address, colours, base / f"{turn}-{side}")
                    if turn:  # The first round imports, and warms the server up.
                        sides[side].append((time.perf_counter() - started) / part)
    yield part_of(
        "queue",
        f"layerlab queue, {prompts} prompts of two stock nodes, per prompt",
        "a plain websocket loop",
        *(statistics.median(side) for side in sides),
        "s",
        None,
    )


def _graph(colour: int) -> dict[str, Any]:
    image = {"width": 64, "height": 64, "batch_size": 1, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "queued"},
        },
    }


def _ours(address: str, colours: range, folder: Path) -> None:
    folder.mkdir()
    (folder / "graph.json").write_text(json.dumps(_graph(0)))
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["1.color"], *([colour] for colour in colours)])
    words = ["queue", folder / "graph.json", "--server", address]
    words += ["--settings", folder / "rows.csv", "--out", folder / "out"]
    with contextlib.redirect_stdout(io.StringIO()):
        if main([str(word) for word in words]):
            raise RuntimeError("a prompt failed")


def _plain(address: str, colours: range, folder: Path) -> None:
    folder.mkdir()
    client = str(uuid.uuid4())
    line = websocket.create_connection(f"ws://{address}/ws?clientId={client}", timeout=60)
    for colour in colours:
        prompt_id = str(uuid.uuid4())
        asked = {"prompt": _graph(colour), "client_id": client, "prompt_id": prompt_id}
        _get(f"http://{address}/prompt", json.dumps(asked).encode())
        while True:
            told = line.recv()
            event = json.loads(told) if isinstance(told, str) else {"type": ""}
            data = event.get("data", {})
            if event["type"] == "executing" and data["node"] is None:
                if data["prompt_id"] == prompt_id:
                    break
        entry = json.loads(_get(f"http://{address}/history/{prompt_id}"))[prompt_id]
        for output in entry["outputs"].values():
            for image in output["images"]:
                picture = _get(f"http://{address}/view?{urllib.parse.urlencode(image)}")
                (folder / image["filename"]).write_bytes(picture)
    line.close()


def _get(url: str, data: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data=data)) as answer:
        return answer.read()
