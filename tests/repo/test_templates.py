"""The save-format files, which ComfyUI lists as templates: legible, whole, equal to their twins.

Nobody sees in the page that a template and its API twin drifted apart, or that a node lost an input
of the contract: old workflows would simply stop to load. So both are compared here, as plain data.
"""

import io
import re
from itertools import combinations

import pytest
from PIL import Image

from .saved_graphs import (
    NOTES,
    TEMPLATES,
    TO_OUTSIDE,
    UPLOAD_BUTTON,
    WORKFLOWS,
    box,
    every_node,
    links_of,
    page_widgets,
    prompt_of,
    read,
    subgraphs,
)
from .workflow_contract import CONTRACT

TWINS = {
    "1 Two text layers side by side": "layer_compare_grid",
    "2 Six text layers in one grid": "layer_sweep_grid",
    "3 Text layers mixed in three ways": "layer_mix_grid",
    "4 A picture blended into a prompt at four strengths": "vl_blend_alpha_grid",
    "5 Picture tokens - two layers, plain and masked": "vl_layer_compare_grid",
    "6 Outliers of a picture masked in six ways": "vl_masking_grid",
    "7 The style of a picture added to a prompt": "style_delta_grid",
    "8 How far the image model follows each text layer": "dit_response_layers",
    "9 Which outliers the image model hears": "dit_response_outliers",
    "10 What each layer of Klein's encoder carries": "klein_taps",
    "11 What each layer of Krea 2's encoder carries": "krea2_taps",
    "12 A smile added at three strengths": "concept_direction",
    "13 The same words at three weights": "weighted_prompt",
}
RESULTS = ("LayerLabCompareGrid", "LayerLabDitResponse")
"""What a template may end in: pictures, or the image model's answer."""
SUFFIX = " - Z-Image Layer Lab"
WIDEST, HIGHEST = 1850, 1050
"""What the page shows at over 57 % in a window of 1440 x 900, below which it draws no text."""
LOADERS = {"UNETLoader": "unet_name", "CLIPLoader": "clip_name", "VAELoader": "vae_name"}
HOST = "https://huggingface.co/Comfy-Org/"
SPLIT = f"{HOST}z_image_turbo/resolve/main/split_files"
ADDRESSES = {
    "z_image_turbo_bf16.safetensors": f"{SPLIT}/diffusion_models/z_image_turbo_bf16.safetensors",
    "qwen_3_4b.safetensors": f"{SPLIT}/text_encoders/qwen_3_4b.safetensors",
    "ae.safetensors": f"{SPLIT}/vae/ae.safetensors",
    "qwen3vl_4b_bf16.safetensors": f"{HOST}Mage-Flow/resolve/main/text_encoders/"
    "qwen3vl_4b_bf16.safetensors",
}
"""As in ComfyUI's own templates."""
KLEIN = f"{HOST}flux2-klein/resolve/main/split_files"
KREA = f"{HOST}Krea-2/resolve/main"
OTHER_MODELS = {
    "10": {
        "flux-2-klein-4b.safetensors": f"{KLEIN}/diffusion_models/flux-2-klein-4b.safetensors",
        "qwen_3_4b.safetensors": f"{KLEIN}/text_encoders/qwen_3_4b.safetensors",
        "flux2-vae.safetensors": f"{HOST}flux2-dev/resolve/main/split_files/vae/"
        "flux2-vae.safetensors",
    },
    "11": {
        "krea2_turbo_fp8_scaled.safetensors": f"{KREA}/diffusion_models/"
        "krea2_turbo_fp8_scaled.safetensors",
        "qwen3vl_4b_fp8_scaled.safetensors": f"{KREA}/text_encoders/"
        "qwen3vl_4b_fp8_scaled.safetensors",
        "qwen_image_vae.safetensors": f"{KREA}/vae/qwen_image_vae.safetensors",
    },
}
"""The same of other image models, by the number of the template."""
SAMPLERS = ("LayerLabZImageSampler", "VAEDecode")
"""What gives a grid its pictures: this pack's sampler, or the end of another model's sampling."""
ANY_TYPE = "*"


@pytest.fixture(params=TEMPLATES)
def name(request) -> str:
    return request.param


@pytest.fixture
def saved(name) -> dict:
    return read(WORKFLOWS / f"{name}.json")


@pytest.fixture
def addresses(name) -> dict[str, str]:
    return OTHER_MODELS.get(name.split()[0], ADDRESSES)


def area(node: dict) -> float:
    width, height = node["size"]
    return width * height


def note_of(saved: dict) -> dict:
    [note] = [node for node in saved["nodes"] if node["type"] in NOTES]
    return note


def test_names_say_what_one_gets_and_stand_in_an_order():
    assert TEMPLATES == sorted(f"{title}{SUFFIX}" for title in TWINS)


def test_a_thumbnail_is_a_small_square_jpeg(name):
    data = (WORKFLOWS / f"{name}.jpg").read_bytes()
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "JPEG"
    assert picture.width == picture.height >= 400
    assert len(data) < 80_000


def test_no_thumbnail_is_left_over():
    assert sorted(path.stem for path in WORKFLOWS.glob("*.jpg")) == TEMPLATES


def test_the_prompt_is_that_of_the_api_twin(name, saved):
    twin = saved["extra"]["layerlab_api_twin"]
    assert twin == TWINS[name.removesuffix(SUFFIX)]
    assert prompt_of(saved) == read(WORKFLOWS / "api" / f"{twin}.json")


def test_numbers_are_unique_and_nothing_is_muted(saved):
    assert saved["version"] == 0.4
    graphs = (saved, *subgraphs(saved).values())
    nodes = [node["id"] for graph in graphs for node in graph["nodes"]]
    links = [link for graph in graphs for link in links_of(graph)]
    for ids in (nodes, links):
        assert len(ids) == len(set(ids)), "the page renumbers them, with a warning"
    assert saved["last_node_id"] == max(node["id"] for node in saved["nodes"])
    assert saved["last_link_id"] == max(link[0] for link in saved["links"])
    assert all(node["mode"] == 0 for node in every_node(saved)), "a node is muted or bypassed"


def test_every_link_is_known_at_both_ends(saved):
    nodes = {node["id"]: node for node in saved["nodes"]}
    seen = set()
    for link, origin, out, target, into, kind in saved["links"]:
        assert link not in seen
        seen.add(link)
        source, sink = nodes[origin]["outputs"][out], nodes[target]["inputs"][into]
        assert link in source["links"]
        assert link == sink["link"]
        assert kind in (sink["type"], source["type"])
        assert sink["type"] in (source["type"], ANY_TYPE)
    inputs = [slot["link"] for node in nodes.values() for slot in node["inputs"]]
    outputs = [
        x for node in nodes.values() for slot in node["outputs"] for x in slot["links"] or []
    ]
    assert {x for x in inputs if x is not None} == seen
    assert sorted(outputs) == sorted(seen)


def test_every_link_in_a_subgraph_is_known_at_both_ends(saved):
    for inside in subgraphs(saved).values():
        nodes = {node["id"]: node for node in inside["nodes"]}
        for link in inside["links"]:
            if link["target_id"] == TO_OUTSIDE:
                assert link["id"] in inside["outputs"][link["target_slot"]]["linkIds"]
            else:
                sink = nodes[link["target_id"]]["inputs"][link["target_slot"]]
                assert link["id"] == sink["link"]
        known = set(links_of(inside))
        outputs = [
            x for node in nodes.values() for slot in node["outputs"] for x in slot["links"] or []
        ]
        from_outside = [x for slot in inside["inputs"] for x in slot["linkIds"]]
        assert sorted(outputs + from_outside) == sorted(known)


def test_widget_values_stand_as_a_list_too(saved):
    """Older frontends read the list, in the order of the node's inputs; newer ones the names."""
    for node in every_node(saved):
        if "widgets_values_named" in node and node["type"] not in NOTES:
            named = node["widgets_values_named"]
            assert node["widgets_values"] == list(named.values()), node["title"]
            shown = [key for key in named if key not in page_widgets(node)]
            widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
            assert shown == [key for key in widgets if key != UPLOAD_BUTTON], node["title"]


def test_the_seed_stands_in_the_root_and_stays_fixed_between_runs(saved):
    """A subgraph's seed has no "control after generate"; one that moves makes runs incomparable."""
    seed_widget = {
        "PrimitiveInt": "value",
        "LayerLabZImageSampler": "seed",
        "LayerLabDitResponse": "seed",
    }
    seeded = [node for node in every_node(saved) if node["type"] in seed_widget]
    assert seeded and all(node in saved["nodes"] for node in seeded)
    for node in seeded:
        named = list(node["widgets_values_named"])
        after = named[named.index(seed_widget[node["type"]]) + 1]
        assert after in page_widgets(node), node["title"]
        assert node["widgets_values_named"][after] == "fixed", node["title"]


def test_it_ends_in_a_grid_or_a_response_and_saves_only_these(saved):
    prompt = prompt_of(saved)
    results = {i: node for i, node in prompt.items() if node["class_type"] in RESULTS}
    assert results
    assert {int(i) for i in results} <= {node["id"] for node in saved["nodes"]}, "seen by nobody"
    for node in results.values():
        if node["class_type"] == "LayerLabCompareGrid":
            sampled = prompt[node["inputs"]["images"][0]]
            assert sampled["class_type"] in SAMPLERS
    savers = [node["inputs"] for node in prompt.values() if node["class_type"] == "SaveImage"]
    assert sorted(inputs["images"] for inputs in savers) == sorted([i, 0] for i in results)


def test_it_fits_a_small_window_and_nothing_overlaps(saved):
    boxes = {node["title"]: box(node) for node in saved["nodes"]}
    left, top, right, bottom = zip(*boxes.values(), strict=True)
    assert max(right) - min(left) <= WIDEST
    assert max(bottom) - min(top) <= HIGHEST
    for (i, a), (j, b) in combinations(boxes.items(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"{i} overlaps {j}"


def test_the_note_stands_first_and_the_result_is_the_largest(saved):
    note = note_of(saved)
    assert note["pos"][0] == min(node["pos"][0] for node in saved["nodes"])
    results = [node for node in saved["nodes"] if node["type"] in RESULTS]
    others = [node for node in saved["nodes"] if node not in results and node is not note]
    assert min(map(area, results)) > max(map(area, others))
    assert min(min(node["size"]) for node in results) >= 500


def test_every_loader_can_download_its_file(saved, addresses):
    loaders = [node for node in every_node(saved) if node["type"] in LOADERS]
    samples = any(node["type"] in SAMPLERS for node in every_node(saved))
    needed = set(LOADERS) if samples else {"UNETLoader", "CLIPLoader"}  # a VAE makes pictures
    assert {node["type"] for node in loaders} == needed
    for node in loaders:
        [model] = node["properties"]["models"]
        file = node["widgets_values_named"][LOADERS[node["type"]]]
        assert model["name"] == file
        assert model["url"] == addresses[file]
        assert f"/{model['directory']}/" in model["url"]


def test_the_note_links_the_files_of_the_loaders_and_no_others(saved, addresses):
    text = note_of(saved)["widgets_values"][0]
    chosen = {
        node["widgets_values_named"][LOADERS[node["type"]]]
        for node in every_node(saved)
        if node["type"] in LOADERS
    }
    linked = dict(re.findall(r"\[([^\]]+)\]\(([^)]+)\)", text))
    assert linked == {file: addresses[file] for file in chosen}
    assert "ComfyUI/models" in text
    other = "qwen3vl_4b_fp8_scaled.safetensors"
    assert (other in text) == bool({"qwen3vl_4b_bf16.safetensors", other} & chosen)


def test_the_note_points_at_nodes_and_says_what_a_subgraph_is(saved):
    text = note_of(saved)["widgets_values"][0]
    assert any(f"*{node['title']}*" in text for node in saved["nodes"])
    for inside in subgraphs(saved).values():
        assert f"*{inside['name']}* is a subgraph" in text


def test_slots_are_those_of_the_contract(saved):
    for node in every_node(saved):
        if node["type"].startswith("LayerLab"):
            required, optional, outputs = CONTRACT[node["type"]]
            # Saved before an optional input was added, a workflow lacks its slot and still loads.
            given = {slot["name"] for slot in node["inputs"]}
            assert set(required) <= given <= {*required, *optional}
            assert [slot["name"] for slot in node["outputs"]] == outputs
