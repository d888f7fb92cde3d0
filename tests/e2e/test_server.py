"""The shipped workflows, queued headless on a real server."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from zimage_layer_lab.cli.comfy_client import (
    PromptFailed,
    PromptRefused,
    fetch_image,
    get_json,
    output_images,
    queue_prompt,
    wait_for,
)

TIMEOUT = 600


def run(server, graph: dict) -> dict[str, np.ndarray]:
    """Queue ``graph``, wait, and return its images by file name prefix."""
    prompt_id = queue_prompt(server.address, graph, client_id="test")
    entry = wait_for(server.address, prompt_id, TIMEOUT)
    return {
        image["filename"].rsplit("_", 2)[0]: np.asarray(
            Image.open(io.BytesIO(fetch_image(server.address, image)))
        )
        for image in output_images(entry)
    }


def inputs_of(graph: dict, class_type: str) -> list[dict]:
    return [node["inputs"] for node in graph.values() if node["class_type"] == class_type]


def test_the_pack_loads_and_lists_its_nodes(server):
    log = server.log_path.read_text(encoding="utf-8")
    line = next(line for line in log.splitlines() if line.endswith("zimage-layer-lab"))
    assert "IMPORT FAILED" not in line
    listed = get_json(server.address, "/object_info")
    assert {
        "LayerLabQwen3Encode",
        "LayerLabVLEncode",
        "LayerLabOutlierMask",
        "LayerLabBlend",
        "LayerLabZImageSampler",
        "LayerLabOutlierReport",
        "LayerLabLayerProfile",
        "LayerLabBuildReference",
        "LayerLabSaveReference",
        "LayerLabLoadReference",
    } <= set(listed)


def test_layer_compare_saves_two_different_pictures(server, workflow):
    pictures = run(server, workflow("layer_compare"))
    assert set(pictures) == {"layer_-2", "layer_-6"}
    for picture in pictures.values():
        assert picture.shape == (128, 128, 3)
        assert picture.std() > 1, "a constant picture proves nothing"
    assert not np.array_equal(pictures["layer_-2"], pictures["layer_-6"])
    saved = sorted(p.name for p in (server.base_directory / "output/layer_compare").iterdir())
    assert saved == ["layer_-2_00001_.png", "layer_-6_00001_.png"]


def test_the_same_seed_twice_is_bitwise_equal(server, workflow):
    graph = workflow("layer_compare")
    first = run(server, graph)
    # Unload and forget, or the second run would only read the first one's cached outputs.
    for sampler in inputs_of(graph, "LayerLabZImageSampler"):
        sampler["seed"] = 43
    other = run(server, graph)
    for sampler in inputs_of(graph, "LayerLabZImageSampler"):
        sampler["seed"] = 42
    again = run(server, graph)
    for name in first:
        assert np.array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_vl_layer_compare_saves_three_different_pictures(server, workflow):
    pictures = run(server, workflow("vl_layer_compare"))
    assert set(pictures) == {"layer_-2", "layer_-2_masked", "layer_-6"}
    names = sorted(pictures)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            assert not np.array_equal(pictures[name], pictures[other]), (name, other)


def test_an_impossible_layer_is_refused_with_the_range(server, workflow):
    graph = workflow("layer_compare")
    for encode in inputs_of(graph, "LayerLabQwen3Encode"):
        encode["layer"] = -99
    with pytest.raises(PromptRefused, match=r"layer -99 .*-37 to -1"):
        queue_prompt(server.address, graph, client_id="test")
    assert get_json(server.address, "/system_stats")["system"]


def test_a_layer_that_this_encoder_lacks_fails_with_its_range_and_the_server_lives(
    server, workflow
):
    """Validation cannot see the encoder: the tiny one has 8 blocks, the real one 36."""
    graph = workflow("layer_compare")
    inputs_of(graph, "LayerLabQwen3Encode")[0]["layer"] = -12
    with pytest.raises(PromptFailed, match=r"8 blocks, so layers run from -9 to -1"):
        run(server, graph)
    assert get_json(server.address, "/system_stats")["system"]


@pytest.mark.parametrize(
    ("class_type", "name"),
    [("LayerLabOutlierMask", "threshold"), ("LayerLabBlend", "alpha")],
)
def test_nan_is_refused_by_validation(server, workflow, class_type, name):
    graph = workflow("vl_layer_compare")
    # The host runs what else is valid; keep the one output that both nodes lead to.
    for number in [n for n, node in graph.items() if node["class_type"] == "SaveImage"]:
        if "masked" not in graph[number]["inputs"]["filename_prefix"]:
            del graph[number]
    for inputs in inputs_of(graph, class_type):
        inputs[name] = math.nan
    with pytest.raises(PromptRefused, match=f"{name} is nan"):
        queue_prompt(server.address, graph, client_id="test")


def test_a_text_only_encoder_in_the_vl_node_fails_with_the_way_out(server, workflow):
    graph = workflow("vl_layer_compare")
    for inputs in inputs_of(graph, "CLIPLoader"):
        inputs["clip_name"] = "qwen_3_4b.safetensors"
    with pytest.raises(PromptFailed, match="no vision tower.*qwen3vl_4b"):
        run(server, graph)


def test_the_workflows_are_offered_as_templates(server):
    templates = get_json(server.address, "/workflow_templates")
    assert {"layer_compare", "vl_layer_compare"} <= set(templates["zimage-layer-lab"])
