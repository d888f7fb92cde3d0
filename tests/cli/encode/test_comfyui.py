"""At -2 the caches hold what ComfyUI's own text encoder makes of the same file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from zimage_layer_lab.cli.comfy.folder import missing_requirements
from zimage_layer_lab.core.record.embedding_file import load_embedding
from zimage_layer_lab.tiny_host.tiny_weights import TEXT_ENCODER, load_sizes

from .conftest import near

pytestmark = pytest.mark.slow

CAPTION = "naïve café, a red fox in deep snow, 北京的夜"
STATES = Path(__file__).parents[1] / "model" / "comfy_states.py"


def test_at_minus_2_it_is_comfyuis_encoder(
    comfyui, skip_or_fail, tiny_base, layerlab, write_dataset, tmp_path, monkeypatch
):
    if missing := missing_requirements(comfyui, sys.executable):
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    file, out = tiny_base / "models" / TEXT_ENCODER, tmp_path / "out"
    folder = write_dataset({"a.png": CAPTION})
    words = ("--model", file, "--format=plain", "--dtype=f32", "--device=cpu", "--out", out)
    status, text, _ = layerlab("encode", folder, *words)
    assert status == 0, text
    [entry] = load_embedding(out / "a.safetensors")
    options = load_sizes()["language"]
    wanted = {"file": str(file), "type": "LUMINA2", "name": "qwen3_4b", "options": options}
    wanted |= {"vision": None, "ids": list(entry.record.ids), "texts": [CAPTION]}
    states = tmp_path / "states.safetensors"
    subprocess.run(
        [sys.executable, STATES, comfyui, tmp_path, states, json.dumps([wanted])],
        check=True,
        capture_output=True,
        timeout=300,
    )
    [[tokens]] = json.loads(Path(f"{states}.json").read_text())
    assert tokens == list(entry.record.ids)
    expected = load_file(states)[f"0.{options['num_hidden_layers'] - 1}"][0]
    assert near(entry.hidden[0].double().numpy(), expected.double().numpy())
