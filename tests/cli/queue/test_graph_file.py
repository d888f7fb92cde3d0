"""What a workflow may come as, and what is said of what is none. No server is needed."""

import io
import json

import pytest
from PIL import Image, PngImagePlugin
from zimage_layer_lab.cli.queue.graph_file import GraphFile, read_graph_file
from zimage_layer_lab.cli.queue.workflow import QueueError

GRAPH = {"1": {"class_type": "A", "inputs": {"text": "a {red|blue} fox: {"}}}
SAVED = {"nodes": [{"id": 1, "type": "A"}], "links": [], "version": 0.4}
PROMPT, WORKFLOW = json.dumps(GRAPH), json.dumps(SAVED)


def png(**texts):
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text, zip=name == "workflow")
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def apng(**texts):
    """As ComfyUI's Save Animated PNG writes it: chunks of its own behind the pixels."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add(b"comf", name.encode() + b"\0" + text.encode(), after_idat=True)
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(file, "PNG", pnginfo=info, save_all=True, append_images=frames[1:])
    return file.getvalue()


def with_exif(kind, **texts):
    """As ComfyUI's Save Animated WEBP writes it."""
    picture = Image.new("RGB", (8, 8))
    exif = picture.getexif()
    for tag, (name, text) in zip((0x0110, 0x010F), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    file = io.BytesIO()
    picture.save(file, kind, exif=exif)
    return file.getvalue()


READ = {
    "API format": (PROMPT.encode(), GraphFile(graph=GRAPH)),
    "with a byte order mark": (b"\xef\xbb\xbf" + PROMPT.encode(), GraphFile(graph=GRAPH)),
    "as it is posted": (
        json.dumps({"prompt": GRAPH, "client_id": "x"}).encode(),
        GraphFile(graph=GRAPH),
    ),
    "as the history has it": (
        json.dumps({"prompt": [1, "id", GRAPH, {}, ["1"]], "outputs": {}}).encode(),
        GraphFile(graph=GRAPH),
    ),
    "as saved": (WORKFLOW.encode(), GraphFile(saved=SAVED)),
    "PNG": (png(workflow=WORKFLOW, prompt=PROMPT), GraphFile(graph=GRAPH)),
    "PNG, the page's alone": (png(workflow=WORKFLOW), GraphFile(saved=SAVED)),
    "PNG, a broken prompt": (png(prompt="{", workflow=WORKFLOW), GraphFile(saved=SAVED)),
    "animated PNG": (apng(prompt=PROMPT, workflow=WORKFLOW), GraphFile(graph=GRAPH)),
    "WebP": (with_exif("WEBP", prompt=PROMPT, workflow=WORKFLOW), GraphFile(graph=GRAPH)),
    "WebP, the page's alone": (with_exif("WEBP", Workflow=WORKFLOW), GraphFile(saved=SAVED)),
    "JPEG": (with_exif("JPEG", prompt=PROMPT), GraphFile(graph=GRAPH)),
}
REFUSED = {
    "text": (b"not json", "is not JSON: .* line 1, column 1"),
    "a list": (b"[1, 2]", "an object of nodes by id, and is a list"),
    "nothing": (b"{}", "an object of nodes by id, and is empty"),
    "another program's JSON": (
        b'{"prompt": "a fox", "steps": 8}',
        r"none of its parts has a class_type, .*; they are 'prompt', 'steps'\. .*Export \(API\)",
    ),
    "a node without class": (
        b'{"1": {"class_type": "A", "inputs": {}}, "2": {"type": "B", "inputs": {}}}',
        r"'2' has no class_type, only 'type', 'inputs'\. In ComfyUI: Workflow > Export",
    ),
    "a node without inputs": (b'{"1": {"class_type": "A"}}', "node 1 .* has no inputs"),
    "too deep": (b"[" * 100_000, "nested too deeply|not JSON"),
    "A1111": (png(parameters="a fox\nSteps: 8"), "holds 'parameters', as AUTOMATIC1111"),
    "another program": (
        png(Software="Paint", Title="fox"),
        "a PNG without a workflow of ComfyUI: the texts in it are 'Software', 'Title'",
    ),
    "a screenshot": (png(), "there is no text in it; a screenshot"),
    "a photo": (with_exif("JPEG", Canon="x"), "the texts in it are 'Exif 272'"),
    "a bad prompt": (png(prompt='{"a": 1}'), "its 'prompt' is no workflow: none of its parts"),
    "half a picture": (png(prompt=PROMPT)[:40], "cannot be read as a PNG"),
    "half a WebP": (with_exif("WEBP", prompt=PROMPT)[:30], "cannot be read as a WebP"),
}


@pytest.mark.parametrize("kind", READ)
def test_a_workflow_is_read_whatever_it_comes_in(tmp_path, kind):
    content, expected = READ[kind]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_graph_file(path) == expected


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_workflow_is_refused_by_what_it_is(tmp_path, kind):
    content, said = REFUSED[kind]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(QueueError, match=said):
        read_graph_file(path)


def test_missing_and_unreadable_files_are_told(tmp_path):
    with pytest.raises(QueueError, match="does not exist"):
        read_graph_file(tmp_path / "none.json")
    with pytest.raises(QueueError, match="cannot be read"):
        read_graph_file(tmp_path)
    (tmp_path / "x.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(QueueError, match="not UTF-8"):
        read_graph_file(tmp_path / "x.json")
