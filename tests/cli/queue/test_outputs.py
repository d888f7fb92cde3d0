"""Everything that a run's history names comes back, or is named; and what repeats is told."""

import json
from pathlib import Path

import pytest
from zimage_layer_lab.cli.comfy.outputs import named_outputs
from zimage_layer_lab.cli.queue.keeping import LONGEST_IN_LINE


def node(kind, title="", **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title or kind}}


def every_kind():
    """Pictures, previews, moving ones, video, sound, latents, a text, and this pack's files."""
    prefix = "every/one"
    return {
        "1": node("EmptyImage", width=64, height=64, batch_size=2, color=255),
        "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
        "3": node("PreviewImage", images=["1", 0]),
        "4": node(
            "SaveAnimatedWEBP",
            images=["1", 0],
            filename_prefix=prefix,
            fps=6.0,
            lossless=True,
            quality=80,
            method="default",
        ),
        "5": node("CreateVideo", images=["1", 0], fps=6.0),
        "6": node("SaveVideo", video=["5", 0], filename_prefix=prefix, format="auto", codec="auto"),
        "7": node("EmptyAudio", duration=0.1, sample_rate=44100, channels=2),
        "8": node("SaveAudio", audio=["7", 0], filename_prefix=prefix),
        "9": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "10": node("SaveLatent", samples=["9", 0], filename_prefix=prefix),
        "11": node("PrimitiveString", value="a {red|blue} fox"),
        "12": node("PreviewAny", "The prompt", source=["11", 0]),
        "13": node(
            "CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2", device="default"
        ),
        "14": node(
            "LayerLabQwen3Encode",
            clip=["13", 0],
            text=["11", 0],
            layer=-2,
            system_prompt="",
            think_block="none",
        ),
        "15": node("LayerLabSaveEmbedding", conditioning=["14", 0], filename_prefix=prefix),
        "16": node("LayerLabDescribe", "What it is", conditioning=["14", 0]),
        "17": node("LayerLabBuildReference", clip=["13", 0], prompts="a fox", layer=-2),
        "18": node("LayerLabSaveReference", reference=["17", 0], filename_prefix=prefix),
        "19": node("LayerLabLayerProfile", clip=["13", 0], prompts="a fox", threshold=10.0),
    }


def test_every_kind_of_output_comes_back_as_the_server_has_it(server, work, layerlab, history):
    work.graph(every_kind())
    status, out, err = layerlab(work.arguments(server.address))
    assert status == 0 and not err, (out, err)
    [line] = work.ends().values()
    kept = [(one["node"], Path(one["file"])) for one in line["outputs"] if "file" in one]
    suffixes = {number: {path.suffix for n, path in kept if n == number} for number, _ in kept}
    assert suffixes == {
        "2": {".png"},
        "3": {".png"},
        "4": {".webp"},
        "6": {".mp4"},
        "8": {".flac"},
        "10": {".latent"},
        "12": {".txt"},
        "14": {".txt"},
        "15": {".txt", ".safetensors"},
        "16": {".txt"},
        "17": {".txt"},
        "18": {".txt", ".safetensors"},
        "19": {".txt", ".png", ".json"},
    }
    assert sorted(line["files"]) == sorted(
        path.name for path in work.out.iterdir() if path.name[:4] == "0001"
    )
    # Against the server's own folders, and against its history.
    for one in line["outputs"]:
        if "type" in one:
            there = server.base_directory / one["type"] / one.get("subfolder", "")
            [same] = [p for p in there.iterdir() if one["file"] == f"0001_{p.name}"]
            assert (work.out / one["file"]).read_bytes() == same.read_bytes()
    outputs = history(server)[line["prompt_id"]]["outputs"]
    for number, named in outputs.items():
        for key, items in named.items():
            here = [o for o in line["outputs"] if (o["node"], o["key"]) == (number, key)]
            if key == "text":
                assert here[0]["text"] == items[0]
                assert (work.out / here[0]["file"]).read_text(encoding="utf-8") == items[0]
            else:
                assert len(here) == len(items) or here[0]["value"] == items
    assert "The prompt: a {red|blue} fox" in out


def test_only_images_leaves_all_else_on_the_server(server, work, layerlab):
    graph = {number: one for number, one in every_kind().items() if int(number) < 13}
    work.graph(graph)
    more = ["--only", "images"]
    assert layerlab(work.arguments(server.address, more=more))[0] == 0
    names = sorted(path.name for path in work.out.iterdir() if path.name[:4] == "0001")
    assert {Path(name).suffix for name in names} == {".png", ".webp", ".mp4"}
    assert not any("temp" in name for name in names) and len(names) == 4


def test_a_file_that_is_gone_is_named_and_the_others_are_saved(server, work, layerlab, tmp_path):
    work.graph()
    graph = json.loads(work.workflow.read_text())
    graph["4"] = node("SaveImage", "Second", images=["1", 0], filename_prefix="gone/second")
    graph["1"]["inputs"]["color"] = 4711
    work.graph(graph)
    assert layerlab(work.arguments(server.address))[0] == 0
    for path in (server.base_directory / "output" / "gone").iterdir():
        path.unlink()
    work.out = tmp_path / "again"
    status, _, err = layerlab(work.arguments(server.address))
    assert status == 3 and "does not give out 'second_00001_.png': HTTP 404" in err
    [line] = work.ends().values()
    assert line["status"] == "failed" and len(line["files"]) == len(work.pictures()) == 1
    [missing] = [one for one in line["outputs"] if "missing" in one]
    assert (missing["title"], missing["filename"]) == ("Second", "second_00001_.png")


def test_a_picture_that_repeats_is_told_with_the_node_and_what_has_moved(server, work, layerlab):
    """The seed reaches nothing; the PNGs differ by it all the same, for the graph is in them."""
    work.graph()
    graph = json.loads(work.workflow.read_text())
    graph["4"] = node("RandomNoise", noise_seed=7)
    graph["5"] = node("KSampler", "Nobody", seed=["6", 0])
    graph["6"] = node("GetImageSize", "Size", image=["1", 0])
    del graph["5"]["inputs"]["seed"]
    work.graph(graph)
    more = ["--repeat", "3"]
    status, _, err = layerlab(work.arguments(server.address, more=more))
    assert status == 0, err
    assert err.count("repeats row 1") == 1
    assert 'Row 2 repeats row 1: the picture of node 3 "Save" is the same' in err


ENTRIES = {
    "two nodes that name one file": (
        {
            "1": {"images": [{"filename": "a", "subfolder": "", "type": "output"}]},
            "2": {"gifs": [{"filename": "a", "subfolder": "", "type": "output", "format": "x"}]},
        },
        [("1", "images", "a", None, None)],
    ),
    "texts of a batch": (
        {"1": {"text": ["a", "b"], "tags": "c"}},
        [("1", "text", None, "a\n\nb", None), ("1", "tags", None, "c", None)],
    ),
    "numbers, and files among them": (
        {"1": {"result": ["a.glb", {"camera": 1}, None], "x": [{"filename": "f"}, 3], "n": 5}},
        [
            ("1", "result", None, None, ["a.glb", {"camera": 1}, None]),
            ("1", "x", "f", None, None),
            ("1", "x", None, None, [3]),
            ("1", "n", None, None, [5]),
        ],
    ),
    "nothing": ({"1": {"images": []}, "2": None, "3": {"text": []}}, []),
    "what is no file": (
        {"1": {"images": [{"filename": 5}, {"filename": ""}, "x"]}},
        [("1", "images", None, None, [{"filename": 5}, {"filename": ""}, "x"])],
    ),
}


@pytest.mark.parametrize("what", ENTRIES)
def test_what_a_history_names_is_listed_whatever_it_is(what):
    outputs, expected = ENTRIES[what]
    found = named_outputs({"outputs": outputs})
    assert [
        (o.node, o.key, o.file and o.file["filename"], o.text, o.value) for o in found
    ] == expected


def test_a_long_text_is_in_its_file_and_not_in_the_line(server, work, layerlab):
    text = "fox " * (LONGEST_IN_LINE // 4 + 1)
    work.graph(
        {"1": node("PreviewAny", "a/b", source=["2", 0]), "2": node("PrimitiveString", value=text)}
    )
    assert layerlab(work.arguments(server.address))[0] == 0
    [line] = work.ends().values()
    assert "text" not in line["outputs"][0]
    assert (work.out / line["files"][0]).read_text() == text
