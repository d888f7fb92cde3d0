"""On Ray the caches are those of one process."""

import numpy as np
import pytest

from ...oracles import caption_caches

pytest.importorskip("ray", reason="ray, an optional extra, is not installed")

pytestmark = pytest.mark.slow


def test_two_workers_write_what_one_process_writes(layerlab, tiny_qwen3, write_dataset, tmp_path):
    captions = {f"{n}.png": f"caption {n} 雪 " * (n % 5 + 1) for n in range(40)}
    folder = write_dataset(captions)
    words = ("encode", folder, "--model", tiny_qwen3, "--format=musubi", "--dtype=f32")
    words = (*words, "--batch-tokens=200", "--layer", "-2:0.5,-3:0.5")
    assert layerlab(*words, "--out", tmp_path / "one")[0] == 0
    status, text, _ = layerlab(*words, "--out", tmp_path / "ray", "--ray=local", "--workers=2")
    assert status == 0 and "Wrote 40 caches" in text
    for path in (tmp_path / "one").glob("*.safetensors"):
        [(name, (_, alone))] = caption_caches.parse(path)[0].items()
        found = caption_caches.parse(tmp_path / "ray" / path.name)[0][name][1]
        assert np.abs(found - alone).max() <= 1e-6 * np.abs(alone).max()
