"""Real servers with the pack, the tiny weights and the test's own nodes, and talking to them."""

import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from zimage_layer_lab.cli.comfy.client import find_prompt, get_json, post_prompt, request
from zimage_layer_lab.cli.comfy.folder import comfyui_python, install_pack, missing_requirements
from zimage_layer_lab.cli.comfy.server import ComfyServer

FAULT_NODES = Path(__file__).resolve().parent / "fault_nodes"


def prepared_server(comfyui, base, tiny_base, pack_root, skip_or_fail, copies=1, extra_args=()):
    """A ComfyServer, not started. ``copies``: how many times the pack is in custom_nodes."""
    python = comfyui_python(comfyui)
    missing = missing_requirements(comfyui, python)
    if missing:
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")
    (base / "models").symlink_to(tiny_base / "models", target_is_directory=True)
    for copy in range(copies):
        install_pack(base, pack_root, f"zimage-layer-lab{copy or ''}")
    install_pack(base, pack_root / "tiny_host", "tiny_host")
    install_pack(base, FAULT_NODES, "fault_nodes")
    (base / "input").mkdir()
    pixels = np.linspace(0, 255, 96 * 64 * 3).reshape(96, 64, 3).astype(np.uint8)
    Image.fromarray(pixels).save(base / "input" / "example.png")
    return ComfyServer(comfyui, base, python=python, cpu=True, extra_args=extra_args)


def post(server, graph):
    """Queue it; returns its id."""
    return post_prompt(server.address, graph, "faults").prompt_id


def entry_of(server, prompt_id, seconds=600):
    """The history entry of a prompt when it has ended, however it did."""
    deadline = time.monotonic() + seconds
    while (entry := find_prompt(server.address, prompt_id).entry) is None:
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.02)
    return entry


def how_it_ended(entry):
    """ "done", "interrupted", or the bare name of the exception's type."""
    last, data = entry["status"]["messages"][-1]
    if last == "execution_error":
        return data["exception_type"].rpartition(".")[2]
    return {"execution_success": "done", "execution_interrupted": "interrupted"}[last]


def shown(entry, place="end"):
    """What the test's own node of a graph says, once for each of its runs."""
    return [json.loads(text) for text in entry["outputs"][place]["text"]]


def stop(server):
    """What the button in the frontend sends."""
    request(server.address, "/interrupt", body=b"{}")


def choices(server, kind, name):
    """What a node's drop-down list offers."""
    listed = get_json(server.address, f"/object_info/{kind}")[kind]["input"]["required"][name]
    return listed[1]["options"] if listed[0] == "COMBO" else listed[0]
