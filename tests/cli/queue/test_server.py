"""`layerlab queue` on one real server: what is saved, what is refused, what a later run does."""

import json

import numpy as np
import pytest
from zimage_layer_lab.cli.comfy.client import get_json


def graph_inside(picture):
    """The workflow that ComfyUI wrote into a PNG, without titles."""
    graph = json.loads(picture.text["prompt"])
    return {node: {**data, "_meta": None} for node, data in graph.items()}


def test_each_row_gives_its_picture_with_its_own_workflow_inside(server, work, layerlab):
    work.graph()
    table = work.colours(29, 4, 7)
    status, out, _ = layerlab(work.arguments(server.address, more=["--settings", table]))
    assert status == 0 and "3 done" in out
    assert work.colours_saved() == [29, 4, 7]
    pictures = work.pictures()
    assert [name[:12] for name in pictures] == ["0001_colour_", "0002_colour_", "0003_colour_"]
    inside = [graph_inside(picture)["1"]["inputs"]["color"] for picture in pictures.values()]
    assert inside == [29 * 8 << 16, 4 * 8 << 16, 7 * 8 << 16]
    ends = work.ends()
    assert [ends[n]["files"] for n in (1, 2, 3)] == [[name] for name in pictures]
    assert {line["server"] for line in ends.values()} == {server.address}


def test_a_second_run_queues_only_what_is_new(server, work, layerlab, history):
    work.graph()
    more = ["--settings", work.colours(1, 2)]
    assert layerlab(work.arguments(server.address, more=more))[0] == 0
    before = set(history(server))
    status, out, _ = layerlab(work.arguments(server.address, more=more))
    assert status == 0 and "All are done already" in out
    assert set(history(server)) == before
    work.colours(2, 3, 1)
    status, out, _ = layerlab(work.arguments(server.address, more=more))
    assert status == 0 and "2 of them done already" in out
    assert len(set(history(server)) - before) == 1
    assert sorted(work.colours_saved()) == [1, 2, 3]


def test_the_shipped_workflow_with_two_seeds(server, work, layerlab, pack_root):
    """The whole Z-Image graph on tiny weights; two samplers share Seed, one through a formula."""
    path = pack_root / "workflows" / "api" / "layer_compare.json"
    graph = json.loads(path.read_text(encoding="utf-8"))
    formula = {"expression": "a * 3", "values.a": graph["9"]["inputs"]["seed"]}
    graph["99"] = {"class_type": "ComfyMathExpression", "inputs": formula}
    graph["9"]["inputs"]["seed"] = ["99", 1]
    work.graph(graph)
    small = [
        word
        for title in ("Sample layer -2", "9")
        for name, value in (("width", 64), ("height", 64), ("steps", 1))
        for word in ("--set", f"{title}.{name}={value}")
    ]
    prompt = "Prompt.value=A heron, at dawn = quiet."
    more = [*small, "--set", prompt, "--set", "Seed.value=7", "--repeat", "2"]
    more += ["--only", "images"]
    status, out, err = layerlab(work.arguments(server.address, more=more))
    assert status == 0 and not err, (out, err)
    pictures = work.pictures()
    assert [name.rsplit("_", 2)[0] for name in pictures] == [
        "0001_layer_-2",
        "0001_layer_-6",
        "0002_layer_-2",
        "0002_layer_-6",
    ]
    assert all(picture.size == (64, 64) for picture in pictures.values())
    first, *others = [np.asarray(picture) for picture in pictures.values()]
    assert all(not np.array_equal(first, other) for other in others)
    inside = [graph_inside(picture) for picture in pictures.values()]
    assert [graph["5"]["inputs"]["value"] for graph in inside] == [7, 7, 8, 8]
    assert {graph["4"]["inputs"]["value"] for graph in inside} == {"A heron, at dawn = quiet."}


def test_a_row_that_fails_is_told_by_its_node_s_title_and_the_others_go_on(
    server, work, layerlab, pack_root
):
    path = pack_root / "workflows" / "api" / "layer_compare.json"
    graph = json.loads(path.read_text(encoding="utf-8"))
    for node in ("9", "11"):
        del graph[node]
    graph["8"]["inputs"].update(width=64, height=64, steps=1)
    work.graph(graph)
    # The tiny encoder has 8 blocks; -99 is more than the real one has, which validation knows.
    table = work.table(["Encode at layer -2.layer"], [-12], [-99], [-3])
    status, out, err = layerlab(work.arguments(server.address, more=["--settings", table]))
    assert status == 3
    assert "1 done, 1 refused, 1 failed" in out
    named = 'node 6 "Encode at layer -2" (LayerLabQwen3Encode)'
    assert f"{named} raised" in err and "8 blocks, so layers run from -9 to -1" in err
    assert f"ComfyUI refused the workflow: Prompt outputs failed validation {named}" in err
    assert [work.ends()[n]["status"] for n in (1, 2, 3)] == ["failed", "refused", "done"]
    assert [name[:13] for name in work.pictures()] == ["0003_layer_-2"]


def test_a_missing_model_file_is_refused_with_those_that_there_are(
    server, work, layerlab, pack_root
):
    path = pack_root / "workflows" / "api" / "layer_compare.json"
    work.graph(json.loads(path.read_text(encoding="utf-8")))
    more = ["--set", "Qwen3-4B.clip_name=none.safetensors"]
    status, _, err = layerlab(work.arguments(server.address, more=more))
    assert status == 3 and "node 2 \"Qwen3-4B\" (CLIPLoader), input 'clip_name'" in err
    assert "none.safetensors" in err and "qwen_3_4b.safetensors" in err


def test_an_unknown_node_is_refused_by_its_title(server, work, layerlab):
    graph = {"1": {"class_type": "NoSuch", "inputs": {}, "_meta": {"title": "My node"}}}
    work.graph(graph)
    status, _, err = layerlab(work.arguments(server.address))
    assert status == 3 and "'My node' not found. The custom node may not be installed." in err


@pytest.mark.parametrize("heard", [True, False])
def test_outputs_that_the_server_leaves_out_are_a_failure_with_the_rest_saved(
    server, proxy, work, layerlab, heard
):
    """Also when the server's answer, which alone says what is wrong, gets lost."""
    work.graph()
    content = json.loads(work.workflow.read_text())
    content["4"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": -5, "height": 64, "batch_size": 1, "color": 0},
        "_meta": {"title": "Wrong"},
    }
    content["5"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["4", 0], "filename_prefix": "wrong"},
    }
    work.graph(content)
    proxy.lose_answers["POST /prompt"] = 0 if heard else 1
    status, _, err = layerlab(work.arguments(proxy.address))
    what = "node 4 \"Wrong\" (EmptyImage), input 'width'" if heard else "node 5 (SaveImage)"
    assert status == 3 and what in err
    assert "left out" in err and len(work.pictures()) == 1
    if not heard:
        _, _, err = layerlab(work.arguments(proxy.address))
        assert "node 4 \"Wrong\" (EmptyImage), input 'width'" in err


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_goes_on(
    server, work, layerlab, layerlab_process, wait_until
):
    work.graph(size=1024, radius=15)
    arguments = work.arguments(server.address, more=["--settings", work.colours(22, 23)])
    process = layerlab_process(arguments)
    wait_until(lambda: get_json(server.address, "/queue")["queue_running"])
    status, _, err = layerlab(arguments)
    assert status == 1 and "is in use by another run" in err
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert work.colours_saved() == [22, 23]


def test_decimals_that_the_server_would_cut_off_are_refused_and_others_are_not(
    server, work, layerlab, history
):
    work.graph()
    before = set(history(server))
    more = ["--set", "Blur.blur_radius=1.5"]
    status, _, err = layerlab(work.arguments(server.address, more=more))
    assert status == 1 and "'blur_radius' of node 2 \"Blur\" (ImageBlur) takes whole" in err
    assert set(history(server)) == before
    content = json.loads(work.workflow.read_text())
    content["2"]["inputs"]["sigma"] = 1  # as a browser writes 1.0
    work.graph(content)
    status, _, _ = layerlab(work.arguments(server.address, more=["--set", "Blur.sigma=1.5"]))
    assert status == 0
    (picture,) = work.pictures().values()
    assert graph_inside(picture)["2"]["inputs"]["sigma"] == 1.5


def test_previews_are_saved_where_nothing_else_is(server, work, layerlab):
    work.graph()
    content = json.loads(work.workflow.read_text())
    content["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    work.graph(content)
    more = ["--settings", work.colours(9)]
    assert layerlab(work.arguments(server.address, more=more))[0] == 0
    assert work.colours_saved() == [9]


def test_what_takes_too_long_is_taken_back(server, work, layerlab, wait_until):
    """ComfyUI interrupts between two nodes, so the picture is not saved."""
    work.graph(size=1024, radius=31)
    more = ["--timeout", "0.2", "--set", "Colour.color=77"]
    status, _, err = layerlab(work.arguments(server.address, more=more))
    assert status == 3 and "did not end within 0.2 s and was taken back" in err
    (prompt_id,) = [line["prompt_id"] for line in work.ends().values()]
    entry = wait_until(lambda: get_json(server.address, f"/history/{prompt_id}").get(prompt_id))
    assert [event for event, _ in entry["status"]["messages"]][-1] == "execution_interrupted"
    assert not work.pictures()
