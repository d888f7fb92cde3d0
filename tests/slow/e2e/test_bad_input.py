"""The table of bad inputs (tests/bad_input) on a real server, which must live on after each."""

import hashlib
import json
import re
import time
import urllib.error
import urllib.request

import pytest
import torch
from PIL import Image
from zimage_layer_lab.cli.comfy.client import get_json, output_images, request
from zimage_layer_lab.core.concept.concept import Concept
from zimage_layer_lab.core.concept.concept_file import save_concept
from zimage_layer_lab.core.measure.reference import Reference, save_reference

from ...bad_input.files import write_files
from ...bad_input.graphs import UNDER_TEST, graph_of, loaders_of
from ...bad_input.odd_pack import WIDTH
from ...bad_input.table import ROWS

OVER_HTTP = sorted(
    (row for row in ROWS if row.where != "process"),
    # The server keeps only what the last prompt used: rows with the same model follow each other.
    key=lambda row: loaders_of(row.node),
)
GIVE_UP = 120
"""Seconds that a prompt may take."""
FOX = {
    "clip": {
        "class_type": "CLIPLoader",
        "inputs": {"clip_name": "qwen_3_4b.safetensors", "type": "lumina2"},
    },
    "model": {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": "z_image_turbo_bf16.safetensors", "weight_dtype": "default"},
    },
    "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    "encode": {
        "class_type": "LayerLabQwen3Encode",
        "inputs": {
            "clip": ["clip", 0],
            "text": "a red fox",
            "layer": -2,
            "system_prompt": "",
            "think_block": "none",
        },
    },
    "sample": {
        "class_type": "LayerLabZImageSampler",
        "inputs": {
            "model": ["model", 0],
            "positive": ["encode", 0],
            "vae": ["vae", 0],
            "width": 64,
            "height": 64,
            "batch_size": 1,
            "seed": 1,
            "steps": 2,
            "cfg": 1.0,
            "sampler_name": "res_multistep",
            "scheduler": "simple",
            "shift": 3.0,
            "denoise": 1.0,
        },
    },
    "save": {
        "class_type": "SaveImage",
        "inputs": {"images": ["sample", 0], "filename_prefix": "fox"},
    },
}


@pytest.fixture(scope="module", autouse=True)
def odd_pack(tiny_base, pack_root):
    """Before the server starts: the files that rows name, and the node with the odd values."""
    from zimage_layer_lab.cli.comfy.folder import install_pack

    install_pack(tiny_base, pack_root / "tests" / "bad_input" / "odd_pack", "odd_pack")
    folder = tiny_base / "input"
    folder.mkdir(exist_ok=True)
    write_files(folder)
    vector = torch.ones(WIDTH, dtype=torch.float64)
    wide = Reference(vector * 0, vector, 0.0, 1.0)
    save_reference(wide, folder / "wide reference.safetensors")
    concept = Concept(vector / 10, vector * 0, vector)
    save_concept(concept, folder / "wide concept.safetensors")
    yield
    for path in tiny_base.glob("secret.*"):
        path.unlink()


@pytest.fixture(scope="module")
def listed(odd_pack, server):
    """/object_info: every node with its inputs."""
    return ask(server, "/object_info")


def ask(server, path):
    """What the server answers; one that computes may take its time."""
    return get_json(server.address, path, timeout=GIVE_UP)


def post(server, graph):
    """(status, answer) of queueing a graph; the graph may hold NaN, as Python's JSON does."""
    body = json.dumps({"prompt": graph, "client_id": "bad input"}).encode()
    try:
        return 200, json.loads(request(server.address, "/prompt", body=body, timeout=GIVE_UP))
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ended(server, prompt_id):
    """The history entry of a prompt."""
    deadline = time.monotonic() + GIVE_UP
    while not (entry := ask(server, f"/history/{prompt_id}").get(prompt_id)):
        assert time.monotonic() < deadline, "it never ended"
        time.sleep(0.03)
    return entry


def run(server, graph):
    """(what was said against it or "", the type of the error, its history entry or None)."""
    status, answer = post(server, graph)
    if status != 200 or answer["node_errors"]:
        errors = [e for node in answer["node_errors"].values() for e in node["errors"]]
        said = "\n".join(f"{e['message']}: {e['details']}" for e in errors)
        assert status == 400 and said, answer
        return said, "refused", None
    entry = ended(server, answer["prompt_id"])
    for event, data in entry["status"]["messages"]:
        if event == "execution_error":
            assert data["node_id"] == UNDER_TEST, data
            return data["exception_message"], data["exception_type"], entry
    assert entry["status"]["status_str"] == "success", entry["status"]
    return "", "", entry


def picture_hash(server):
    """The file name of the fox's picture, and the hash of its pixels."""
    said, _, entry = run(server, FOX)
    assert said == ""
    [image] = output_images(entry)
    path = server.base_directory / "output" / image["subfolder"] / image["filename"]
    return image["filename"], hashlib.sha256(Image.open(path).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def good_before(listed, server):
    """File name and hash of a good prompt's picture, before any bad one."""
    return picture_hash(server)


@pytest.mark.parametrize("row", OVER_HTTP, ids=lambda row: row.name)
def test_a_bad_value_ends_in_its_message_and_the_server_answers_on(
    row, server, listed, good_before
):
    said, kind, _ = run(server, graph_of(row, listed[f"LayerLab{row.node}"]))
    assert ask(server, "/system_stats")["system"]["comfyui_version"]
    if not row.says:
        assert said == ""
        return
    assert kind == "refused" or (kind.endswith("Error") and "." not in kind), kind
    assert kind not in ("KeyError", "IndexError", "TypeError", "RuntimeError", "AttributeError")
    assert re.search(row.http or row.says, said, re.DOTALL), said


def test_after_all_of_them_a_good_prompt_gives_the_same_picture_bit_for_bit(server, good_before):
    name, before = good_before
    again, after = picture_hash(server)
    assert again != name, "nothing was drawn anew"
    assert after == before
