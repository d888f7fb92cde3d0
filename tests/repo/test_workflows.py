"""The API files: graphs that users queue headless keep their names, files and the contract."""

import re

import pytest

from .saved_graphs import WORKFLOWS, read
from .workflow_contract import CONTRACT

NAMES = sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))

MODES = ["zero", "clamp", "scale", "mean", "drop sinks", "sink to mean"]

# Loader input -> folder under models/, and the official files that may be chosen there.
FOLDERS = {"clip_name": "text_encoders", "unet_name": "diffusion_models", "vae_name": "vae"}
OFFICIAL = {
    "text_encoders": {
        "qwen_3_4b.safetensors",
        "qwen3vl_4b_bf16.safetensors",
        "qwen3vl_4b_fp8_scaled.safetensors",
    },
    "diffusion_models": {
        "z_image_turbo_bf16.safetensors",
        "flux-2-klein-4b.safetensors",
        "krea2_turbo_fp8_scaled.safetensors",
    },
    "vae": {"ae.safetensors", "flux2-vae.safetensors", "qwen_image_vae.safetensors"},
}


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def api(name) -> dict:
    return read(WORKFLOWS / "api" / f"{name}.json")


def is_link(value: object) -> bool:
    return isinstance(value, list)


def inputs_of(api: dict, kind: str) -> list[dict]:
    return [node["inputs"] for node in api.values() if node["class_type"] == kind]


def test_names_that_scripts_use_are_still_there():
    assert NAMES == [
        "concept_direction",
        "dit_response_layers",
        "dit_response_outliers",
        "klein_taps",
        "krea2_taps",
        "layer_compare",
        "layer_compare_grid",
        "layer_mix",
        "layer_mix_grid",
        "layer_sweep_grid",
        "style_delta",
        "style_delta_grid",
        "vl_blend_alpha",
        "vl_blend_alpha_grid",
        "vl_layer_compare",
        "vl_layer_compare_grid",
        "vl_masking",
        "vl_masking_grid",
        "weighted_prompt",
    ]


def conditionings(api: dict, source: list) -> set[tuple]:
    """What a sampler runs for: the members of a list, or the one thing that is connected."""
    node = api[source[0]]
    if node["class_type"] == "CreateList":
        return set().union(*(conditionings(api, each) for each in node["inputs"].values()))
    if node["class_type"] == "LayerLabLayerSweep":
        layers = node["inputs"]["layers"].split(",")
        return {(source[0], layer.strip()) for layer in layers}
    return {tuple(source)}


OF_THEIR_OWN = ["concept_direction", "klein_taps", "krea2_taps", "weighted_prompt"]
"""Workflows whose samplers have a test of their own."""


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if not name.startswith("dit_response") and name not in OF_THEIR_OWN],
)
def test_samplers_differ_only_by_their_conditioning(name):
    api = read(WORKFLOWS / "api" / f"{name}.json")
    samplers = inputs_of(api, "LayerLabZImageSampler")
    shared = [{k: v for k, v in inputs.items() if k != "positive"} for inputs in samplers]
    assert all(inputs == shared[0] for inputs in shared)
    assert len(samplers) == 1 or is_link(shared[0]["seed"])
    compared = [conditionings(api, inputs["positive"]) for inputs in samplers]
    assert len(set().union(*compared)) == sum(map(len, compared)) >= 2, "nothing to compare"


@pytest.mark.parametrize("name", ["dit_response_layers", "dit_response_outliers"])
def test_each_response_is_of_one_list_and_its_base(name):
    api = read(WORKFLOWS / "api" / f"{name}.json")
    [response] = inputs_of(api, "LayerLabDitResponse")
    assert response["labels"] == [response["variants"][0], 1], "labels of another list"
    assert api[response["base"][0]]["inputs"]["layer"] == -2
    for sampler in inputs_of(api, "LayerLabZImageSampler"):
        assert sampler["positive"] == response["variants"]
        same = ("seed", "steps", "sampler_name", "scheduler", "shift", "width", "height")
        assert [sampler[key] for key in same] == [response[key] for key in same]


@pytest.mark.parametrize(("name", "kind"), [("klein_taps", "flux2"), ("krea2_taps", "krea2")])
def test_each_layer_alone_and_the_weights_are_sampled_with_one_seed(name, kind):
    api = read(WORKFLOWS / "api" / f"{name}.json")
    [loader] = inputs_of(api, "CLIPLoader")
    [sweep] = inputs_of(api, "LayerLabLayerSweep")
    [encode] = inputs_of(api, "LayerLabTapEncode")
    assert loader["type"] == kind and sweep["taps"] == "solo"
    assert (sweep["clip"], sweep["text"]) == (encode["clip"], encode["text"])
    [sampled] = [one for one in api.values() if "positive" in one["inputs"]]
    kinds = [
        api[source[0]]["class_type"]
        for source in api[sampled["inputs"]["positive"][0]]["inputs"].values()
    ]
    assert kinds == ["LayerLabLayerSweep", "LayerLabTapWeights"]
    for measured in (
        *inputs_of(api, "LayerLabOutlierReport"),
        *inputs_of(api, "LayerLabTapWeights"),
    ):
        assert api[measured["model"][0]]["class_type"] == "UNETLoader"


def test_a_concept_is_added_at_three_strengths_and_not_at_all_with_one_seed():
    api = read(WORKFLOWS / "api" / "concept_direction.json")
    [sampler] = inputs_of(api, "LayerLabZImageSampler")
    [apply] = inputs_of(api, "LayerLabApplyConcept")
    [grid] = inputs_of(api, "LayerLabCompareGrid")
    assert api[sampler["positive"][0]]["inputs"] == apply and apply["mode"] == "add"
    sources = api[apply["strength"][0]]["inputs"].values()
    strengths = [api[number]["inputs"]["value"] for number, _ in sources]
    assert strengths[0] == 0 and len(set(strengths)) == 4
    labels = ["without", *(f"strength {strength}" for strength in strengths[1:])]
    assert grid["labels"].split("\n") == labels and grid["baseline"] == 0
    assert "smil" not in api[inputs_of(api, "LayerLabQwen3Encode")[0]["text"][0]]["inputs"]["value"]


def test_one_word_is_weighed_in_three_ways_and_the_base_is_the_prompt_as_it_is():
    api = read(WORKFLOWS / "api" / "weighted_prompt.json")
    [sampler] = inputs_of(api, "LayerLabZImageSampler")
    [response] = inputs_of(api, "LayerLabDitResponse")
    [weighted] = inputs_of(api, "LayerLabWeightedEncode")
    [base] = inputs_of(api, "LayerLabQwen3Encode")
    assert api[sampler["positive"][0]]["inputs"] == api[response["variants"][0]]["inputs"]
    assert api[response["base"][0]]["inputs"] == base and base["layer"] == weighted["layer"] == -2
    sources = [number for number, _ in api[weighted["text"][0]]["inputs"].values()]
    texts = [api[number]["inputs"]["value"] for number in sources]
    assert base["text"] == [sources[1], 0]
    assert texts == [texts[1].replace("red", word) for word in ("(red:0.6)", "red", "(red:1.4)")]
    [grid] = inputs_of(api, "LayerLabCompareGrid")
    assert grid["labels"] == response["labels"] == "red 0.6\nred 1\nred 1.4"
    assert grid["baseline"] == 1


def test_files_are_saved_under_the_workflows_own_name(api, name):
    prefixes = [inputs["filename_prefix"] for inputs in inputs_of(api, "SaveImage")]
    typed = [prefix for prefix in prefixes if not is_link(prefix)]
    assert all(prefix.startswith(f"{name}/") for prefix in typed)
    assert len(typed) == len(set(typed))
    for number, _ in filter(is_link, prefixes):
        assert api[number]["inputs"]["string_a"].startswith(f"{name}/")


@pytest.mark.parametrize("masking", ["vl_masking", "vl_masking_grid"])
def test_masks_differ_only_by_mode(masking):
    """Each way of masking, on the same states, into the same blend."""
    api = read(WORKFLOWS / "api" / f"{masking}.json")
    masks = inputs_of(api, "LayerLabOutlierMask")
    assert [mask["mode"] for mask in masks] == MODES
    shared = [{k: v for k, v in mask.items() if k != "mode"} for mask in masks]
    assert all(mask == shared[0] for mask in shared)
    blends = inputs_of(api, "LayerLabBlend")
    shared = [{k: v for k, v in blend.items() if k != "vision"} for blend in blends]
    assert len(blends) == len(masks) + 2
    assert all(blend == shared[0] for blend in shared)
    # Else the blend leaves the image's sink tokens out itself, masked or not.
    assert shared[0]["keep_sinks"] is False


def test_layer_lab_nodes_keep_the_contract(api):
    used = {i: n for i, n in api.items() if n["class_type"].startswith("LayerLab")}
    assert used
    for i, node in used.items():
        required, optional, outputs = CONTRACT[node["class_type"]]
        given = set(node["inputs"])
        assert set(required) <= given <= {*required, *optional}, (i, node["class_type"])
        for value in filter(is_link, node["inputs"].values()):
            kind = api[value[0]]["class_type"]
            assert kind not in CONTRACT or value[1] < len(CONTRACT[kind][2])


def test_only_official_file_names_are_used(api):
    for node in api.values():
        for key, value in node["inputs"].items():
            if key in FOLDERS:
                assert value in OFFICIAL[FOLDERS[key]]
    every = set(re.findall(r"[\w.-]+\.safetensors", str(api)))
    assert every <= set().union(*OFFICIAL.values())
