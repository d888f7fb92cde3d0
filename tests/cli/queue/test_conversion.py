"""What the page saves, converted by a real server's /object_info and queued there."""

import json
from copy import deepcopy

import pytest
from zimage_layer_lab.cli.comfy.address import Address
from zimage_layer_lab.cli.comfy.prompt import Limits
from zimage_layer_lab.cli.comfy.saved_graph import SavedGraphError, to_api
from zimage_layer_lab.cli.queue.servers import Kinds

from ...repo.saved_graphs import TEMPLATES, WORKFLOWS, read


@pytest.fixture(scope="module")
def describe(server):
    return Kinds(Address.parse(server.address), Limits(60, 60)).describe


def by_list(saved):
    """As pages before 1.49 save it: values in order, without names."""
    for graph in graphs_of(saved):
        for node in graph["nodes"]:
            node.pop("widgets_values_named", None)
    return saved


def compressed(saved):
    """As pages save what they export: without the slots of widgets that nothing is linked to."""
    hosts = {one["id"] for one in saved.get("definitions", {}).get("subgraphs", [])}
    for graph in graphs_of(by_list(saved)):
        for node in graph["nodes"]:
            if node["type"] not in hosts:
                node["inputs"] = [
                    slot
                    for slot in node["inputs"]
                    if slot["link"] is not None or "widget" not in slot
                ]
    return saved


def graphs_of(saved):
    return [saved, *saved.get("definitions", {}).get("subgraphs", [])]


@pytest.mark.parametrize("form", [lambda saved: saved, by_list, compressed])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_becomes_its_api_twin(describe, name, form):
    saved = read(WORKFLOWS / f"{name}.json")
    twin = read(WORKFLOWS / "api" / f"{saved['extra']['layerlab_api_twin']}.json")
    assert to_api(form(saved), describe) == twin


def slot(name, kind, link=None, widget=False):
    return {
        "name": name,
        "type": kind,
        "link": link,
        **({"widget": {"name": name}} if widget else {}),
    }


def node(number, kind, values=(), inputs=(), outputs=(), mode=0, **more):
    outs = [{"name": one, "type": one} for one in outputs]
    return {
        "id": number,
        "type": kind,
        "mode": mode,
        "inputs": list(inputs),
        "outputs": outs,
        "widgets_values": list(values),
        **more,
    }


def whole():
    """Colour -> Blur -> Reroute -> Save, the colour's width from a primitive node; and notes."""
    return {
        "version": 0.4,
        "nodes": [
            node(1, "EmptyImage", [64, 32, 1, 255], [slot("width", "INT", 1, True)], ["IMAGE"]),
            node(2, "ImageBlur", [3, 1], [slot("image", "IMAGE", 2)], ["IMAGE"], title="Soft"),
            node(3, "Reroute", [], [slot("", "*", 3)], ["*"]),
            node(4, "SaveImage", ["saved/{a|b}"], [slot("images", "IMAGE", 4)]),
            node(5, "PrimitiveNode", [48, "fixed"], [], ["INT"]),
            node(6, "Note", ["hello"]),
            node(7, "MarkdownNote", ["# hello"]),
        ],
        "links": [
            [1, 5, 0, 1, 0, "INT"],
            [2, 1, 0, 2, 0, "IMAGE"],
            [3, 2, 0, 3, 0, "*"],
            [4, 3, 0, 4, 0, "IMAGE"],
        ],
    }


COLOUR = {"width": 48, "height": 32, "batch_size": 1, "color": 255}


def kinds_and_inputs(graph):
    return {number: (one["class_type"], one["inputs"]) for number, one in graph.items()}


def test_what_only_the_page_has_is_resolved_or_left_out(describe):
    graph = to_api(whole(), describe)
    assert kinds_and_inputs(graph) == {
        "1": ("EmptyImage", COLOUR),
        "2": ("ImageBlur", {"image": ["1", 0], "blur_radius": 3, "sigma": 1}),
        "4": ("SaveImage", {"images": ["2", 0], "filename_prefix": "saved/{a|b}"}),
    }
    assert graph["2"]["_meta"] == {"title": "Soft"}
    assert graph["4"]["_meta"] == {"title": "Save Image"}


def test_a_bypassed_node_hands_on_and_a_muted_one_takes_its_links_with_it(describe):
    saved = whole()
    saved["nodes"][1]["mode"] = 4
    graph = to_api(saved, describe)
    assert set(graph) == {"1", "4"} and graph["4"]["inputs"]["images"] == ["1", 0]
    saved["nodes"][1]["mode"] = 2
    graph = to_api(saved, describe)
    assert set(graph) == {"1", "4"} and "images" not in graph["4"]["inputs"]


def subgraph():
    """The blur of `whole` in a subgraph in a subgraph; its radius is a widget of the outermost."""
    saved = whole()
    box = lambda number, kind, values, outer: node(  # noqa: E731
        number,
        kind,
        values,
        [slot("picture", "IMAGE", outer), slot("radius", "INT", None, True)],
        ["IMAGE"],
    )
    saved["nodes"][1] = box(2, "outer-id", [7], 2)
    inner_blur = node(
        21,
        "ImageBlur",
        [3, 1],
        [slot("image", "IMAGE", 1), slot("blur_radius", "INT", 2, True)],
        ["IMAGE"],
    )
    inner_box = box(11, "inner-id", [5], 1)
    inner_box["inputs"][1]["link"] = 2

    def definition(name, inside):
        ends = [("image", 0, 0), ("radius", 1, 1)]
        links = [
            {
                "id": n + 1,
                "origin_id": -10,
                "origin_slot": n,
                "target_id": inside["id"],
                "target_slot": n,
                "type": "*",
            }
            for _, n, _ in ends
        ]
        links.append(
            {
                "id": 9,
                "origin_id": inside["id"],
                "origin_slot": 0,
                "target_id": -20,
                "target_slot": 0,
                "type": "IMAGE",
            }
        )
        return {
            "id": name,
            "nodes": [inside],
            "links": links,
            "inputs": [{"name": "picture", "linkIds": [1]}, {"name": "radius", "linkIds": [2]}],
            "outputs": [{"name": "IMAGE", "linkIds": [9]}],
        }

    saved["definitions"] = {
        "subgraphs": [definition("outer-id", inner_box), definition("inner-id", inner_blur)]
    }
    return saved


def test_subgraphs_in_subgraphs_are_taken_apart_and_muted_or_bypassed_as_a_whole(describe):
    saved = subgraph()
    graph = to_api(saved, describe)
    assert kinds_and_inputs(graph)["2:11:21"] == (
        "ImageBlur",
        {"image": ["1", 0], "blur_radius": 7, "sigma": 1},
    )
    assert graph["4"]["inputs"]["images"] == ["2:11:21", 0]
    bypassed, muted = deepcopy(saved), deepcopy(saved)
    bypassed["nodes"][1]["mode"], muted["nodes"][1]["mode"] = 4, 2
    assert to_api(bypassed, describe)["4"]["inputs"]["images"] == ["1", 0]
    assert set(to_api(muted, describe)) == {"1", "4"}


def test_what_is_done_with_a_seed_after_a_run_is_not_sent_and_shifts_nothing(describe):
    sampler = node(1, "KSampler", [5, "randomize", 8, 1.5, "euler", "simple", 1])
    saved = {"nodes": [sampler], "links": []}
    expected = {
        "seed": 5,
        "steps": 8,
        "cfg": 1.5,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1,
    }
    assert to_api(saved, describe)["1"]["inputs"] == expected
    sampler["widgets_values"].remove("randomize")  # As other programs write it.
    assert to_api(saved, describe)["1"]["inputs"] == expected


def broken(change):
    saved = subgraph()
    change(saved)
    return saved


DAMAGED = {
    "an unknown node": (
        lambda s: s["nodes"].append(node(99, "NoSuchNode")),
        "the server does not know its nodes NoSuchNode: install",
    ),
    "values of another version": (
        lambda s: s["nodes"][0].update(widgets_values=["wide", 32, 1, 255]),
        r"node 1 .*\(EmptyImage\): its 'width' would be 'wide', but the server's node takes INT",
    ),
    "a subgraph in itself": (
        lambda s: s["definitions"]["subgraphs"][1]["nodes"][0].update(type="outer-id"),
        "in each other without an end",
    ),
    "links in a circle": (
        lambda s: s["nodes"].__setitem__(2, node(3, "Reroute", [], [slot("", "*", 4)], ["*"])),
        "in a circle",
    ),
    "a node without id": (lambda s: s["nodes"][0].pop("id"), "it is damaged"),
    "nodes that are text": (lambda s: s.update(nodes=["a"]), "it is damaged"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_cannot_be_converted_is_one_sentence(describe, what):
    change, said = DAMAGED[what]
    with pytest.raises(SavedGraphError, match=said):
        to_api(broken(change), describe)


def test_a_saved_workflow_is_queued_and_a_setting_names_its_nodes(server, work, layerlab):
    work.workflow.write_text(json.dumps(subgraph()), encoding="utf-8")
    words = ["--set", "1.color=16711680", "--set", "2:11:21.blur_radius=2"]
    status, _, err = layerlab(work.arguments(server.address, more=words))
    assert status == 0, err
    [picture] = work.pictures().values()
    assert picture.size == (48, 32) and picture.getpixel((9, 9))[1:] == (0, 0)
    saved = subgraph()
    saved["nodes"].append(node(99, "NoSuchNode"))
    work.workflow.write_text(json.dumps(saved), encoding="utf-8")
    status, _, err = layerlab(work.arguments(server.address))
    assert status == 1 and "the server does not know its nodes NoSuchNode" in err
    assert "Export (API)" in err
