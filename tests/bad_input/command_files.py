"""More files that rows name: profiles, workflows, settings and models for the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image, PngImagePlugin

NODE = {"class_type": "EmptyImage", "inputs": {"width": 64}}
SAVED = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "version": 0.4}
TEXTS = {
    "newer.json": json.dumps({"schema_version": 2}),
    "cut.json": '{"schema_version": 1, "layers": [',
    "bare.json": json.dumps({"schema_version": 1, "layers": []}),
    "empty.json": "{}",
    "list.json": json.dumps([NODE]),
    "save.json": json.dumps(SAVED),
    "no class.json": json.dumps({"1": {"inputs": {}}}),
    "half a class.json": json.dumps({"1": NODE, "2": {"inputs": {}}}),
    "deep.json": "[" * 100_000,
    "rows of text.json": json.dumps(["a", "b"]),
    "empty.csv": "",
    "twice.csv": "Seed.value,Seed.value\n1,2\n",
    "ragged.csv": "Seed.value,Prompt.value\n1,a fox, red\n",
    "long.txt": "w2 " * 61 + "\n",
    "bad.jsonl": '{"image_path": "a.png"}\n',
    "pairs.json": json.dumps({"smile": [["w1 w2", "w2"]]}),
    "odd pairs.json": json.dumps({"smile": [["w1 w2", "w2"], ["w1"]]}),
    "blank pairs.json": json.dumps({"smile": [["w1 w2", " "]]}),
    "same pairs.json": json.dumps({"smile": [["w1 w2", "w1 w2 "]]}),
    "twice pairs.json": '{"smile": [["w1 w2", "w2"]], "smile": [["w1 w3", "w3"]]}',
    "named pairs.json": json.dumps({"../smile": [["w1 w2", "w2"]]}),
    "alike pairs.json": json.dumps(dict.fromkeys(("smile", "Smile"), [["w1 w2", "w2"]])),
    "long pairs.json": json.dumps({"smile": [["w1 " * 125, "w2"]]}),
    "two prompts.txt": "w1 w2 w3\nw4 w5\n",
}


def write_command_files(folder: Path, model: Path) -> None:
    """All of them into ``folder``; the models are copies of ``model`` with something missing."""
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "bare model").mkdir()
    (folder / "good images").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "good images" / "a.png")
    (folder / "captions").mkdir()
    (folder / "captions" / "a.png").touch()
    (folder / "captions" / "a.txt").write_text("w1 w2 w3")
    painted = PngImagePlugin.PngInfo()
    painted.add_text("Software", "Paint")
    Image.new("RGB", (8, 8)).save(folder / "paint.png", pnginfo=painted)
    (folder / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    cut = Path(shutil.copytree(model, folder / "cut model")) / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
