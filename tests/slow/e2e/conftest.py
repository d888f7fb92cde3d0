"""A real ComfyUI server with the pack and tiny-depth random weights, over HTTP."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from zimage_layer_lab.cli.comfy.folder import comfyui_python, install_pack, missing_requirements
from zimage_layer_lab.cli.comfy.server import ComfyServer

from .page import frontend


@pytest.fixture(scope="module")
def server(comfyui, tiny_base, pack_root, skip_or_fail):
    """Started on a free loopback port for one module of tests."""
    install_pack(tiny_base, pack_root, "zimage-layer-lab")
    install_pack(tiny_base, pack_root / "tiny_host", "tiny_host")
    pixels = np.linspace(0, 255, 256 * 320 * 3).reshape(256, 320, 3).astype(np.uint8)
    (tiny_base / "input").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(tiny_base / "input" / "example.png")
    python = comfyui_python(comfyui)
    missing = missing_requirements(comfyui, python)
    if missing:
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")
    # Another frontend than ComfyUI's own: the folder `static` of comfyui-frontend-package.
    newer = os.environ.get("LAYERLAB_FRONTEND")
    options = ("--front-end-root", newer) if newer else ()
    server = ComfyServer(comfyui, tiny_base, python=python, extra_args=options).start()
    yield server
    server.stop()
    for folder in ("output", "input", "temp", "user", "custom_nodes"):
        shutil.rmtree(tiny_base / folder, ignore_errors=True)


@pytest.fixture(scope="module", params=["classic", "Nodes 2.0"])
def renderer(request):
    """The two ways in which the frontend draws nodes: on a canvas, or as elements of the page."""
    return request.param


@pytest.fixture(scope="module")
def page(server, browser, renderer):
    """One open page for a module of tests, once in each renderer."""
    with frontend(server.address, browser, renderer) as page:
        yield page


@pytest.fixture
def workflow(pack_root):
    """A function that reads a shipped API workflow and makes it small enough for a test."""

    def read(name: str) -> dict:
        path = pack_root / "workflows" / "api" / f"{name}.json"
        graph = json.loads(path.read_text(encoding="utf-8"))
        for node in graph.values():
            if node["class_type"] == "LayerLabZImageSampler":
                node["inputs"].update(width=128, height=128, steps=2)
        return graph

    return read
