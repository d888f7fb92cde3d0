"""The workflows that ComfyUI lists as templates are the same graphs as those for headless runs.

Nobody sees in the page that a template and its API twin drifted apart, or that a node lost an input
of the contract: old workflows would simply stop to load. So both are compared here, as plain data.
"""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from .workflow_contract import CONTRACT

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))

MODES = ["zero", "clamp", "scale", "mean", "drop sinks", "sink to mean"]

# Loader input -> folder under models/, and the official files that may be chosen there.
FOLDERS = {"clip_name": "text_encoders", "unet_name": "diffusion_models", "vae_name": "vae"}
OFFICIAL = {
    "text_encoders": {"qwen_3_4b.safetensors", "qwen3vl_4b_bf16.safetensors"},
    "diffusion_models": {"z_image_turbo_bf16.safetensors"},
    "vae": {"ae.safetensors"},
}
SIZES = {
    "qwen_3_4b.safetensors": "7.49 GB",
    "z_image_turbo_bf16.safetensors": "11.46 GB",
    "ae.safetensors": "320 MB",
}
NAMED_AS_CHOICE = "qwen3vl_4b_fp8_scaled.safetensors"
NOTES = {"MarkdownNote", "Note"}
UPLOAD_BUTTON = "upload"
TITLE_HEIGHT = 30
ANY_TYPE = "*"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def saved(name) -> dict:
    return read(WORKFLOWS / f"{name}.json")


@pytest.fixture
def api(name) -> dict:
    return read(WORKFLOWS / "api" / f"{name}.json")


def without_notes(saved: dict) -> dict[str, dict]:
    return {str(n["id"]): n for n in saved["nodes"] if n["type"] not in NOTES}


def notes_text(saved: dict) -> str:
    return "\n".join(n["widgets_values"][0] for n in saved["nodes"] if n["type"] in NOTES)


def is_link(value: object) -> bool:
    return isinstance(value, list)


def page_widgets(node: dict) -> dict[str, object]:
    """The widgets that only the page has: they are saved, but never sent to the server."""
    inputs = {slot["name"] for slot in node["inputs"]} - {UPLOAD_BUTTON}
    return {k: v for k, v in node["widgets_values_named"].items() if k not in inputs}


def test_each_template_has_an_api_twin_and_a_thumbnail():
    assert NAMES == [
        "layer_compare",
        "layer_mix",
        "layer_sweep_grid",
        "style_delta",
        "vl_blend_alpha",
        "vl_layer_compare",
        "vl_masking",
    ]
    assert NAMES == sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))
    assert NAMES == sorted(path.stem for path in WORKFLOWS.glob("*.jpg"))


def test_thumbnail_is_a_small_jpeg(name):
    data = (WORKFLOWS / f"{name}.jpg").read_bytes()
    assert data.startswith(b"\xff\xd8\xff")
    assert data.endswith(b"\xff\xd9")
    assert len(data) < 80_000


def test_save_format_is_the_flat_one(saved):
    assert saved["version"] == 0.4
    assert "definitions" not in saved
    ids = [node["id"] for node in saved["nodes"]]
    assert len(ids) == len(set(ids))
    assert saved["last_node_id"] == max(ids)
    assert saved["last_link_id"] == max(link[0] for link in saved["links"])
    assert all(node["mode"] == 0 for node in saved["nodes"]), "a node is muted or bypassed"


def test_every_link_is_known_at_both_ends(saved):
    nodes = {node["id"]: node for node in saved["nodes"]}
    seen = set()
    for link, origin, out, target, into, kind in saved["links"]:
        assert link not in seen
        seen.add(link)
        source, sink = nodes[origin]["outputs"][out], nodes[target]["inputs"][into]
        assert link in source["links"]
        assert link == sink["link"]
        assert kind == sink["type"]
        assert kind in (source["type"], ANY_TYPE)
    inputs = [slot["link"] for node in nodes.values() for slot in node["inputs"]]
    outputs = [
        x for node in nodes.values() for slot in node["outputs"] for x in slot["links"] or []
    ]
    assert {x for x in inputs if x is not None} == seen
    assert sorted(outputs) == sorted(seen)


def test_same_nodes_and_titles_as_the_api_graph(saved, api):
    assert {i: (n["type"], n["title"]) for i, n in without_notes(saved).items()} == {
        i: (n["class_type"], n["_meta"]["title"]) for i, n in api.items()
    }


def test_same_links_as_the_api_graph(saved, api):
    nodes = without_notes(saved)
    found = {
        (str(target), nodes[str(target)]["inputs"][into]["name"]): [str(origin), out]
        for _, origin, out, target, into, _ in saved["links"]
    }
    assert found == {
        (i, key): value
        for i, node in api.items()
        for key, value in node["inputs"].items()
        if is_link(value)
    }


def test_same_widget_values_as_the_api_graph(saved, api):
    for i, node in without_notes(saved).items():
        named, inputs = node["widgets_values_named"], api[i]["inputs"]
        linked = {key for key, value in inputs.items() if is_link(value)}
        shown = {key: v for key, v in named.items() if key not in page_widgets(node)}
        assert {k: v for k, v in shown.items() if k not in linked} == {
            k: v for k, v in inputs.items() if k not in linked
        }, node["title"]
        # Older frontends read the list, in the order of the node's inputs; newer ones the names.
        assert node["widgets_values"] == list(named.values()), node["title"]
        widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
        assert list(shown) == [key for key in widgets if key != UPLOAD_BUTTON], node["title"]


def test_seeds_stay_fixed_between_runs(saved):
    """A seed that moves after each run makes two runs incomparable."""
    seed_widget = {"PrimitiveInt": "value", "LayerLabZImageSampler": "seed"}
    for node in without_notes(saved).values():
        if node["type"] in seed_widget:
            named = list(node["widgets_values_named"])
            after = named[named.index(seed_widget[node["type"]]) + 1]
            assert after in page_widgets(node), node["title"]
            assert node["widgets_values_named"][after] == "fixed", node["title"]


def test_samplers_differ_only_by_their_conditioning(api):
    samplers = [n["inputs"] for n in api.values() if n["class_type"] == "LayerLabZImageSampler"]
    sources = {api[inputs["positive"][0]]["class_type"] for inputs in samplers}
    assert len(samplers) >= 2 or sources == {"LayerLabLayerSweep"}, "nothing to compare"
    shared = [{k: v for k, v in inputs.items() if k != "positive"} for inputs in samplers]
    assert all(inputs == shared[0] for inputs in shared)
    assert is_link(shared[0]["seed"])
    assert len({tuple(inputs["positive"]) for inputs in samplers}) == len(samplers)


def test_files_are_saved_under_the_workflows_own_name(api, name):
    prefixes = [
        n["inputs"]["filename_prefix"] for n in api.values() if "filename_prefix" in n["inputs"]
    ]
    typed = [prefix for prefix in prefixes if not is_link(prefix)]
    assert all(prefix.startswith(f"{name}/") for prefix in typed)
    assert len(typed) == len(set(typed))
    for number, _ in filter(is_link, prefixes):
        assert api[number]["inputs"]["string_a"].startswith(f"{name}/")


def test_masks_differ_only_by_mode():
    """Each way of masking, on the same states, into the same blend."""
    api = read(WORKFLOWS / "api" / "vl_masking.json")
    masks = [n["inputs"] for n in api.values() if n["class_type"] == "LayerLabOutlierMask"]
    assert [mask["mode"] for mask in masks] == MODES
    shared = [{k: v for k, v in mask.items() if k != "mode"} for mask in masks]
    assert all(mask == shared[0] for mask in shared)
    blends = [n["inputs"] for n in api.values() if n["class_type"] == "LayerLabBlend"]
    shared = [{k: v for k, v in blend.items() if k != "vision"} for blend in blends]
    assert len(blends) == len(masks) + 2
    assert all(blend == shared[0] for blend in shared)
    # Else the blend leaves the image's sink tokens out itself, masked or not.
    assert shared[0]["keep_sinks"] is False


def test_layer_lab_nodes_keep_the_contract(saved, api):
    used = {i: n for i, n in api.items() if n["class_type"].startswith("LayerLab")}
    assert used
    for i, node in used.items():
        required, optional, outputs = CONTRACT[node["class_type"]]
        given = set(node["inputs"])
        assert set(required) <= given <= {*required, *optional}, (i, node["class_type"])
        slots = without_notes(saved)[i]
        # Saved before an optional input was added, a workflow lacks its slot and still loads.
        assert given <= {slot["name"] for slot in slots["inputs"]} <= {*required, *optional}
        assert [slot["name"] for slot in slots["outputs"]] == outputs


def test_only_official_file_names_are_used(saved, api):
    for node in api.values():
        for key, value in node["inputs"].items():
            if key in FOLDERS:
                assert value in OFFICIAL[FOLDERS[key]]
    every = set(re.findall(r"[\w.-]+\.safetensors", json.dumps(saved)))
    assert every <= set().union(*OFFICIAL.values()) | {NAMED_AS_CHOICE}


def test_note_says_which_file_goes_where(saved, api):
    text = notes_text(saved)
    assert "ComfyUI/models" in text
    for node in api.values():
        for key, value in node["inputs"].items():
            if key in FOLDERS:
                row = f"| `{FOLDERS[key]}` | `{value}` | {SIZES.get(value, 'not measured')} |"
                assert row in text
    vision = any(node["class_type"] == "LayerLabVLEncode" for node in api.values())
    assert vision == (NAMED_AS_CHOICE in text)


def test_download_hints_name_the_file_that_is_chosen(saved):
    for node in saved["nodes"]:
        for model in node["properties"].get("models", []):
            assert model["name"] in OFFICIAL[model["directory"]]
            assert model["name"] == node["widgets_values"][0]
            assert model["url"].endswith(f"/{model['directory']}/{model['name']}")


def test_nodes_lie_in_groups_and_do_not_overlap(saved):
    boxes = {}
    for node in saved["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        boxes[node["id"]] = (x, y - TITLE_HEIGHT, x + width, y + height)
    for (i, a), (j, b) in combinations(boxes.items(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"{i} overlaps {j}"
    for i in without_notes(saved):
        left, top, right, bottom = boxes[int(i)]
        assert any(
            x <= left and y <= top and right <= x + width and bottom <= y + height
            for x, y, width, height in (group["bounding"] for group in saved["groups"])
        ), f"{i} lies in no group"
