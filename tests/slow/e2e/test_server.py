"""The shipped workflows, queued headless on a real server."""

import json
import math
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from zimage_layer_lab.cli.comfy.client import PromptRefused, get_json, post_prompt
from zimage_layer_lab.cli.comfy.errors import PromptFailed

from .prompts import by_title, inputs_of, place_of, require_all_different, run, run_and_read


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
        "LayerLabLayerSweep",
        "LayerLabLayerMix",
        "LayerLabNormalize",
        "LayerLabFitTokens",
        "LayerLabStyleDelta",
        "LayerLabScheduledBlend",
        "LayerLabDescribe",
        "LayerLabCompareGrid",
        "LayerLabSaveEmbedding",
        "LayerLabLoadEmbedding",
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
    require_all_different(pictures)


def test_vl_blend_alpha_goes_from_the_stock_text_encoders_picture_to_others(server, workflow):
    graph = workflow("vl_blend_alpha")
    [prompt] = [n for n, node in graph.items() if node["class_type"] == "PrimitiveStringMultiline"]
    sampler = graph[by_title(graph, "Sample alpha 0")]["inputs"]
    graph["stock"] = {
        "class_type": "CLIPTextEncode",
        "inputs": {"clip": [by_title(graph, "Qwen3-4B"), 0], "text": [prompt, 0]},
    }
    graph["stock sampler"] = {
        "class_type": "LayerLabZImageSampler",
        "inputs": {**sampler, "positive": ["stock", 0]},
    }
    graph["stock save"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["stock sampler", 0], "filename_prefix": "stock"},
    }
    pictures = run(server, graph)
    assert np.array_equal(pictures["alpha_0"], pictures.pop("stock"))
    assert set(pictures) == {"alpha_0", "alpha_0.3", "alpha_0.5", "alpha_1"}
    require_all_different(pictures)


def test_vl_masking_changes_a_picture_where_its_report_says_so_and_only_there(server, workflow):
    graph = workflow("vl_masking")
    pictures, texts = run_and_read(server, graph)
    raw = pictures.pop("layer_-2")
    assert not np.array_equal(raw, pictures.pop("layer_-6"))
    masks = {"zero", "clamp", "scale", "mean", "drop_sinks", "sink_to_mean"}
    assert set(pictures) == masks
    changed = set()
    for mode, picture in pictures.items():
        report = texts[by_title(graph, f"Mask: {mode.replace('_', ' ')}")]
        if not report.endswith("does not change"):
            changed.add(mode)
        assert np.array_equal(picture, raw) == (mode not in changed), (mode, report)
    # The states' dimensions 0, 4, 9, 100, 396 are quiet beside the published ones.
    assert {"zero", "scale", "mean"} <= changed


def test_style_delta_saves_three_different_pictures_and_describes_one(server, workflow):
    graph = workflow("style_delta")
    pictures, texts = run_and_read(server, graph)
    assert set(pictures) == {"text_alone", "minus_mid-grey", "minus_neutral"}
    require_all_different(pictures)
    [prompt] = inputs_of(graph, "PrimitiveStringMultiline")
    described = texts[by_title(graph, "What row 2 carries")]
    # example.png is 320x256 here, so one token per 32x32 pixels gives 80.
    assert "style delta: alpha 0.3, 80 styled minus 80 neutral tokens" in described
    assert f"<|im_start|>user\n{prompt['value']}<|im_end|>" in described


def test_layer_mix_sweeps_one_sampler_over_the_layers_of_the_plain_rows(server, workflow):
    pictures = run(server, workflow("layer_mix"))
    for layer in ("layer_-2", "layer_-6"):
        swept = pictures.pop(f"sweep_{layer.replace('_', ' ')}")
        assert np.array_equal(swept, pictures[layer])
    assert set(pictures) == {"layer_-2", "layer_-6", "raw", "rms_matched", "mean_of_all"}
    require_all_different(pictures)


def test_dit_response_outliers_gives_the_response_and_the_pictures(server, workflow):
    graph = workflow("dit_response_outliers")
    for node in graph.values():
        if node["class_type"] == "LayerLabDitResponse":
            node["inputs"].update(width=128, height=128, steps=2, at="1, 2")
    pictures = run(server, graph)
    assert {"response", "grid"} <= set(pictures)
    assert pictures["response"].shape[1] > 1000 and pictures["grid"].shape[1] > 3 * 128


def test_layer_sweep_grid_shows_each_layers_own_picture_under_its_label(server, workflow):
    graph = workflow("layer_sweep_grid")
    [sweep] = inputs_of(graph, "LayerLabLayerSweep")
    [grid] = inputs_of(graph, "LayerLabCompareGrid")
    sweep["layers"] = "-2..-7"  # the tiny encoder has 8 blocks
    graph["name"] = {
        "class_type": "StringConcatenate",
        "inputs": {"string_a": "cell", "string_b": grid["labels"], "delimiter": "_"},
    }
    graph["each"] = {
        "class_type": "SaveImage",
        "inputs": {"images": grid["images"], "filename_prefix": ["name", 0]},
    }
    pictures, texts = run_and_read(server, graph)
    whole = pictures.pop("grid")
    labels = [f"layer {layer}" for layer in range(-2, -8, -1)]
    [shown] = [name for name in pictures if name.startswith("ComfyUI_temp")]
    assert np.array_equal(pictures.pop(shown), whole), "not what the node itself shows"
    assert set(pictures) == {f"cell_{label}" for label in labels}
    require_all_different(pictures)
    places = []
    for label in labels:
        y, x = place_of(pictures[f"cell_{label}"], whole)
        places.append((y, x))
        above = whole[y - 20 : y, x : x + 128]
        assert above.min() < 100 < above.max(), f"{label}: nothing is written above it"
    assert len({y for y, _ in places}) == 2 and places == sorted(places)
    report = texts[by_title(graph, "Report")].splitlines()
    assert [line.split("  ")[-1].strip() for line in report[2:8]] == labels


def test_a_stock_list_of_images_of_different_sizes_is_read_as_one_prompt(server, workflow):
    """A batch cannot hold two sizes; CreateList can."""
    for name, size in (("wide.png", (512, 256)), ("tall.png", (288, 384))):
        Image.new("RGB", size, (90, 120, 30)).save(server.base_directory / "input" / name)
    graph = workflow("vl_blend_alpha")
    kept = by_title(graph, "Save alpha 0.5")
    for number in [n for n, node in graph.items() if node["class_type"] == "SaveImage"]:
        if number != kept:
            del graph[number]
    alone = run(server, graph)["alpha_0.5"]
    for number, name in (("wide", "wide.png"), ("tall", "tall.png")):
        graph[number] = {"class_type": "LoadImage", "inputs": {"image": name}}
    graph["list"] = {
        "class_type": "CreateList",
        "inputs": {"inputs.input0": ["wide", 0], "inputs.input1": ["tall", 0]},
    }
    encode = by_title(graph, "Image tokens at layer -6")
    graph[encode]["inputs"]["image"] = ["list", 0]
    graph["describe"] = {
        "class_type": "LayerLabDescribe",
        "inputs": {"conditioning": [encode, 0]},
    }
    pictures, texts = run_and_read(server, graph)
    # One token per 32x32 pixels: 16 x 8 and 9 x 12.
    assert "tokens: 236 image" in texts["describe"]
    assert "<|vision_start|><|image_pad|><|vision_end|>" * 2 in texts["describe"]
    assert not np.array_equal(pictures["alpha_0.5"], alone)


def test_an_impossible_layer_is_refused_with_the_range(server, workflow):
    graph = workflow("layer_compare")
    for encode in inputs_of(graph, "LayerLabQwen3Encode"):
        encode["layer"] = -99
    with pytest.raises(PromptRefused, match=r"layer -99 .*-37 to -1"):
        post_prompt(server.address, graph, client_id="test")
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
        post_prompt(server.address, graph, client_id="test")


def test_a_text_only_encoder_in_the_vl_node_fails_with_the_way_out(server, workflow):
    graph = workflow("vl_layer_compare")
    for inputs in inputs_of(graph, "CLIPLoader"):
        inputs["clip_name"] = "qwen_3_4b.safetensors"
    with pytest.raises(PromptFailed, match="no vision tower.*qwen3vl_4b"):
        run(server, graph)


def test_the_workflows_are_offered_as_templates(server, pack_root):
    templates = get_json(server.address, "/workflow_templates")
    files = {path.stem for path in (pack_root / "workflows").glob("*.json")}
    assert set(templates["zimage-layer-lab"]) == files
    assert len(files) == 13


def test_the_subgraph_is_offered_in_the_node_library(server, pack_root):
    listed = get_json(server.address, "/global_subgraphs")
    ours = {
        entry["name"]: number
        for number, entry in listed.items()
        if entry["info"]["node_pack"] == "custom_nodes.zimage-layer-lab"
    }
    assert set(ours) == {path.stem for path in (pack_root / "subgraphs").glob("*.json")}
    served = get_json(server.address, f"/global_subgraphs/{ours['Compare two layers']}")
    [subgraph] = json.loads(served["data"])["definitions"]["subgraphs"]
    types = {node["type"] for node in subgraph["nodes"]}
    assert types <= set(get_json(server.address, "/object_info"))


def test_the_page_gets_the_script_that_shows_texts(server):
    with urlopen(f"http://{server.address}/extensions", timeout=30) as answer:
        assert "/extensions/zimage-layer-lab/reports.js" in json.load(answer)
