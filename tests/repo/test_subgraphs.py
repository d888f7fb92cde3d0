"""The subgraphs that ComfyUI's node library offers: whole, and of nodes that keep the contract."""

import json
from pathlib import Path

import pytest

from .workflow_contract import CONTRACT

SUBGRAPHS = Path(__file__).resolve().parents[2] / "subgraphs"
FROM_OUTSIDE, TO_OUTSIDE = -10, -20


@pytest.fixture(params=sorted(path.stem for path in SUBGRAPHS.glob("*.json")))
def name(request) -> str:
    return request.param


@pytest.fixture
def saved(name) -> dict:
    return json.loads((SUBGRAPHS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def subgraph(saved) -> dict:
    [subgraph] = saved["definitions"]["subgraphs"]
    return subgraph


def test_it_is_one_node_named_as_its_file_which_is_what_the_library_shows(saved, subgraph, name):
    [node] = saved["nodes"]
    assert node["type"] == subgraph["id"]
    assert node["title"] == subgraph["name"] == name
    assert len(subgraph["description"]) > 40
    assert subgraph["category"] == "Z-Image/Layer Lab"


def test_the_node_has_the_slots_of_the_graph_inside(saved, subgraph):
    [node] = saved["nodes"]
    for side in ("inputs", "outputs"):
        assert [(slot["name"], slot["type"], slot.get("label")) for slot in node[side]] == [
            (slot["name"], slot["type"], slot.get("label")) for slot in subgraph[side]
        ]
    widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
    assert list(node["widgets_values_named"]) == widgets
    assert node["widgets_values"] == list(node["widgets_values_named"].values())


def test_every_link_is_known_at_both_ends(subgraph):
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        if link["origin_id"] == FROM_OUTSIDE:
            assert link["id"] in subgraph["inputs"][link["origin_slot"]]["linkIds"]
        else:
            assert link["id"] in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
        if link["target_id"] == TO_OUTSIDE:
            assert link["id"] in subgraph["outputs"][link["target_slot"]]["linkIds"]
        else:
            assert link["id"] == nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"]
    ids = {link["id"] for link in subgraph["links"]}
    assert {x for slot in subgraph["inputs"] + subgraph["outputs"] for x in slot["linkIds"]} <= ids
    assert {slot["link"] for node in nodes.values() for slot in node["inputs"]} - {None} <= ids


def test_layer_lab_nodes_keep_the_contract(subgraph):
    for node in subgraph["nodes"]:
        if node["type"].startswith("LayerLab"):
            required, optional, outputs = CONTRACT[node["type"]]
            given = {slot["name"] for slot in node["inputs"]}
            assert set(required) <= given <= {*required, *optional}
            assert [slot["name"] for slot in node["outputs"]] == outputs


def test_both_samplers_of_compare_two_layers_differ_only_by_their_conditioning():
    saved = json.loads((SUBGRAPHS / "Compare two layers.json").read_text(encoding="utf-8"))
    [subgraph] = saved["definitions"]["subgraphs"]
    sources = {link["id"]: (link["origin_id"], link["origin_slot"]) for link in subgraph["links"]}

    def settings(kind: str, own: str) -> list[dict]:
        return [
            {
                "values": {k: v for k, v in n["widgets_values_named"].items() if k != own},
                **{s["name"]: sources.get(s["link"]) for s in n["inputs"] if s["name"] != own},
            }
            for n in subgraph["nodes"]
            if n["type"] == kind
        ]

    for kind, own in (("LayerLabZImageSampler", "positive"), ("LayerLabQwen3Encode", "layer")):
        one, other = settings(kind, own)
        assert one == other
    values = saved["nodes"][0]["widgets_values_named"]
    assert (values["layer_a"], values["layer_b"]) == (-2, -6)
    # A seed that moves after each run makes two runs incomparable.
    for sampler in settings("LayerLabZImageSampler", "positive"):
        assert sampler["values"]["control_after_generate"] == "fixed"
