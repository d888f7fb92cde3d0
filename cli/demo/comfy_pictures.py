"""The demo's second part: layer_compare in a real ComfyUI, on tiny random weights."""

from __future__ import annotations

import io
import json
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.image
from matplotlib.figure import Figure

from ...core.draw.figures import to_png
from ...core.draw.fonts import text_style
from ...core.draw.labels import broken
from ...core.files.atomic import write_whole
from ...core.tables import enumerate_some
from ...tiny_host.tiny_weights import write_tiny_weights
from ..comfy.client import fetch_image
from ..comfy.errors import PromptFailed
from ..comfy.folder import comfyui_python, find_comfyui, install_pack, missing_requirements
from ..comfy.outputs import named_outputs
from ..comfy.prompt import Limits, run_prompt
from ..comfy.server import ComfyServer

PACK = Path(__file__).resolve().parents[2]
WORKFLOW = PACK / "workflows" / "api" / "layer_compare.json"
SIZE, STEPS = 256, 2
LIMITS = Limits(prompt=600.0, contact=60.0)
NOISE = (
    "The weights are random and of tiny depth, so the pictures are noise: they show that the "
    "graph runs and that the layer matters, not what Z-Image draws."
)
NOT_READY = (
    "The ComfyUI at {comfyui} is left out: {python} lacks what it requires ({missing}). To include "
    "it: {python} -m pip install -r {comfyui}/requirements.txt"
)
NOT_FOUND = (
    "No ComfyUI was found, so the layer -2 / -6 picture is left out; to install one: "
    "python -m pip install comfy-cli && comfy install (or set COMFYUI_PATH to yours)."
)


def find_ready_comfyui() -> tuple[Path | None, str]:
    """A ComfyUI that can be started, or None and one line that says why there is none."""
    comfyui = find_comfyui()
    if comfyui is None:
        return None, NOT_FOUND
    python = comfyui_python(comfyui)
    missing = missing_requirements(comfyui, python)
    if missing:
        named = enumerate_some(missing, 4)
        return None, NOT_READY.format(comfyui=comfyui, python=python, missing=named)
    return comfyui, ""


class ComfyPicture(NamedTuple):
    """``png`` is the labelled comparison; ``saved`` the files written."""

    png: bytes
    saved: list[Path]


def compare_layers(comfyui: Path, out: Path, report: Callable[[str], None]) -> ComfyPicture:
    """Start ``comfyui`` on a free loopback port with a base directory of its own, and run it.

    ``report`` gets a line before each step. Pictures are written into ``out``.

    Raises:
        RuntimeError: if the server does not start, or refuses or fails the workflow.
    """
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    for node in workflow.values():
        if node["class_type"] == "LayerLabZImageSampler":
            node["inputs"].update(width=SIZE, height=SIZE, steps=STEPS)
    with tempfile.TemporaryDirectory(prefix="layerlab-comfyui-") as folder:
        base = Path(folder)
        report("Making tiny random weights")
        write_tiny_weights(base / "models", progress=report)
        install_pack(base, PACK, "zimage-layer-lab")
        install_pack(base, PACK / "tiny_host", "tiny_host")
        report("Starting ComfyUI")
        with ComfyServer(comfyui, base, python=comfyui_python(comfyui)) as server:
            report("Running layer_compare")
            finished = run_prompt(server.address, workflow, str(uuid.uuid4()), LIMITS)
            if finished.left_out:
                raise PromptFailed("\n".join(["ComfyUI left out:", *finished.left_out]))
            images = {
                Path(saved.file["filename"]).name.rsplit("_", 2)[0]: fetch_image(
                    server.address, saved.file
                )
                for saved in named_outputs(finished.entry, only_images=True)
            }
    saved = [write_whole(out / f"{name}.png", data) for name, data in images.items()]
    png = to_png(side_by_side(images))
    return ComfyPicture(png, [write_whole(out / "layer_compare.png", png), *saved])


def side_by_side(images: dict[str, bytes]) -> Figure:
    """PNG files beside each other, each under its name."""
    figure = Figure(figsize=(4 * len(images), 4.6), layout="constrained")
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, (name, data) in zip(panels, images.items(), strict=True):
        axes.imshow(matplotlib.image.imread(io.BytesIO(data), format="png"))
        title = broken(name.replace("_", " "), 12, 3.6, 2)
        axes.set_title(title, **text_style(title))
        axes.axis("off")
    figure.suptitle("layer_compare on random weights (noise)", fontsize=10)
    return figure
