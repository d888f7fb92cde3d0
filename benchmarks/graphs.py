"""The whole ``layer_compare`` graph on a real server, against the same made of stock nodes."""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zimage_layer_lab.cli.comfy.prompt import Limits, run_prompt
from zimage_layer_lab.cli.comfy.server import ComfyServer, find_comfyui, install_pack
from zimage_layer_lab.tiny_host.tiny_weights import write_tiny_weights

from .measure import Row, part_of

ROOT = Path(__file__).parent.parent
PACK = "zimage-layer-lab"
TIMEOUT = 900.0
CASES = ((8, 512), (1, 256))
"""Steps and pixels: as one samples, and with as little sampling as there can be."""


def rows(rounds: int) -> Iterator[Row]:
    """Both graphs in turn on one warm server."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise RuntimeError("no ComfyUI was found: set COMFYUI_PATH")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_tiny_weights(base / "models")
        for pack, name in ((ROOT, PACK), (ROOT / "tiny_host", "tiny_host")):
            install_pack(base, pack, name)
        with ComfyServer(comfyui, base) as server:
            for steps, size in CASES:
                ours, stock = _medians(server.address, steps, size, rounds)
                yield part_of(
                    "graph",
                    f"layer_compare, warm, steps: {steps}, {size} x {size} pixels, tiny models",
                    "the same graph made of stock nodes",
                    ours,
                    stock,
                    "s",
                    1.0,
                )


def _medians(address: str, steps: int, size: int, rounds: int) -> list[float]:
    """Seconds of this pack's graph and of the stock one."""
    graphs = _layer_compare(steps, size), _stock(steps, size)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            seconds = _run(address, _with_prompt(graphs[side], number))
            if number:  # The first one loads the models.
                times[side].append(seconds)
    return [statistics.median(side) for side in times]


def _layer_compare(steps: int, size: int) -> dict[str, Any]:
    graph = json.loads((ROOT / "workflows" / "api" / "layer_compare.json").read_text())
    for node in graph.values():
        if node["class_type"] == "LayerLabZImageSampler":
            node["inputs"] |= {"width": size, "height": size, "steps": steps}
    return graph


def _stock(steps: int, size: int) -> dict[str, Any]:
    """A graph of stock nodes that makes the two images of :func:`_layer_compare`."""
    graph = _layer_compare(steps, size)
    stock = {
        number: node
        for number, node in graph.items()
        if not node["class_type"].startswith("LayerLab")
    }

    def add(number: str, kind: str, **inputs: Any) -> list:
        stock[number] = {"class_type": kind, "inputs": inputs}
        return [number, 0]

    shifted = add("20", "ModelSamplingAuraFlow", model=["1", 0], shift=3.0)
    latent = add("21", "EmptySD3LatentImage", width=size, height=size, batch_size=1)
    for first, layer, save in ((30, -2, "10"), (40, -6, "11")):
        clip = add(f"{first}", "CLIPSetLastLayer", clip=["2", 0], stop_at_clip_layer=layer)
        prompt = add(f"{first + 1}", "CLIPTextEncode", clip=clip, text=["4", 0])
        nothing = add(f"{first + 2}", "ConditioningZeroOut", conditioning=prompt)
        sampled = add(
            f"{first + 3}",
            "KSampler",
            model=shifted,
            positive=prompt,
            negative=nothing,
            latent_image=latent,
            seed=["5", 0],
            steps=steps,
            cfg=1.0,
            sampler_name="res_multistep",
            scheduler="simple",
            denoise=1.0,
        )
        decoded = add(f"{first + 4}", "VAEDecode", samples=sampled, vae=["3", 0])
        stock[save]["inputs"]["images"] = decoded
    return stock


def _with_prompt(graph: dict[str, Any], number: int) -> dict[str, Any]:
    """Another prompt and seed, so that the host's cache answers nothing but the loaders."""
    graph = copy.deepcopy(graph)
    for node in graph.values():
        if node["class_type"] == "PrimitiveStringMultiline":
            node["inputs"]["value"] += f" Picture {number}."
        elif node["class_type"] == "PrimitiveInt":
            node["inputs"]["value"] += number
    return graph


def _run(address: str, graph: dict[str, Any]) -> float:
    """Seconds between the host's own start and end of the prompt."""
    entry = run_prompt(address, graph, str(uuid.uuid4()), Limits(TIMEOUT, TIMEOUT)).entry
    stamps = {name: told["timestamp"] for name, told in entry["status"]["messages"]}
    return (stamps["execution_success"] - stamps["execution_start"]) / 1e3
