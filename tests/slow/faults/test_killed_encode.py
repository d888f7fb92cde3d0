"""kill -9 of `layerlab encode` at random moments, over 1,000 captions in English and Chinese."""

import random
import time

import numpy as np
import pytest
from zimage_layer_lab.core.files.atomic import UNFINISHED

from ...cli.encode.conftest import write_qwen3
from ...oracles import caption_caches
from .conftest import NIGHTLY

KILLS = 50 if NIGHTLY else 8
CAPTIONS = 1000
WORDS = {"en": ["fox", "snow", "a red", "barn"], "zh": ["红狐狸", "雪地", "一座", "谷仓，"]}


@pytest.fixture
def start(launch, tmp_path):
    """A function: (out, log) -> Child."""
    write_qwen3(tmp_path / "model")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(CAPTIONS):
        words = WORDS["zh" if number % 2 else "en"]
        text = " ".join(words[(number >> 2 * k) % 4] for k in range(5))
        (images / f"{number}.png").touch()
        (images / f"{number}.txt").write_text(f"{number} {text}\n", encoding="utf-8")
    words = ["encode", images, "--model", tmp_path / "model", "--layer", "-3"]
    words += ["--format=musubi", "--dtype=f32", "--batch-tokens=600"]

    def run(out, log):
        return launch("zimage_layer_lab.cli", "main", [*words, "--out", out], log)

    return run


def test_killed_at_random_moments_it_goes_on_to_what_an_unbroken_run_writes(start, tmp_path):
    moments = random.Random("kill the encoder")
    whole, out, log = tmp_path / "whole", tmp_path / "out", tmp_path / "log"
    begun = time.monotonic()
    assert start(whole, log).wait() == 0, log.read_text()
    seconds = time.monotonic() - begun
    killed = 0
    for _ in range(KILLS):
        child = start(out, log)
        before = len(list(out.glob("*.safetensors")))
        while len(list(out.glob("*.safetensors"))) <= before and child.runs():
            time.sleep(0.01)
        time.sleep(moments.uniform(0, seconds / KILLS / 4))
        killed += child.kill() != 0
        for path in out.glob("*.safetensors"):
            caption_caches.parse(path)  # Whole, whatever the moment was.
    assert killed >= KILLS // 2
    assert start(out, log).wait() == 0, log.read_text()
    assert "Traceback" not in log.read_text() and "are there already" in log.read_text()
    names = {path.name for path in whole.iterdir()}
    assert {path.name for path in out.iterdir() if not path.name.startswith(UNFINISHED)} == names
    assert len(list(out.glob("*_zi_te.safetensors"))) == CAPTIONS
    for path in whole.glob("*.safetensors"):
        (tensors, metadata), (found, said) = map(caption_caches.parse, (path, out / path.name))
        [(name, (_, states))] = tensors.items()
        assert metadata == said and np.array_equal(found[name][1], states)
