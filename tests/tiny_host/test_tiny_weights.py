"""The parts of the tiny test weights that need no gigabyte; loading them is an end-to-end test."""

import json

import pytest
import torch
from zimage_layer_lab.tiny_host import tiny_weights
from zimage_layer_lab.tiny_host.tiny_shapes import (
    dit_shapes,
    language_shapes,
    vae_shapes,
    vision_shapes,
)


@pytest.fixture
def small_files(monkeypatch):
    """Files of a few kilobytes instead of the real shapes."""

    def small(shapes):
        return lambda *args: {k: tuple(min(n, 8) for n in v) for k, v in shapes(*args).items()}

    monkeypatch.setattr(tiny_weights, "language_shapes", small(language_shapes))
    monkeypatch.setattr(tiny_weights, "vision_shapes", small(vision_shapes))
    monkeypatch.setattr(tiny_weights, "dit_shapes", small(dit_shapes))
    monkeypatch.setattr(tiny_weights, "vae_shapes", small(vae_shapes))
    # These two count on the real shapes.
    monkeypatch.setattr(tiny_weights, "_make_dit_listen", lambda tensors, seed: None)
    monkeypatch.setattr(tiny_weights, "_calm_vae", lambda tensors: None)


def test_random_weights_have_the_intended_scale_and_both_signs():
    tensors = tiny_weights.random_weights({"a.weight": (300, 1000), "b.weight": (7,)}, seed=1)
    values = tensors["a.weight"].float()
    assert tensors["a.weight"].dtype == torch.float8_e4m3fn
    assert values.isfinite().all()
    target = 1000**-0.5
    assert target / 1.5 < values.square().mean().sqrt() < target * 1.5
    # Every column, because a careless draw leaves the sign of every eighth byte fixed.
    assert values.mean(0).abs().max() < 6 * target / 300**0.5
    assert (tensors["b.weight"].float() == 1).all()


def test_same_seed_same_weights():
    first, second = (tiny_weights.random_weights({"a": (5, 9)}, seed=3)["a"] for _ in range(2))
    other = tiny_weights.random_weights({"a": (5, 9)}, seed=4)["a"]
    assert torch.equal(first.float(), second.float())
    assert not torch.equal(first.float(), other.float())


def test_a_complete_set_is_kept_and_a_broken_one_rewritten(tmp_path, small_files):
    lines = []
    first = tiny_weights.write_tiny_weights(tmp_path, lines.append)
    assert first.written and len(lines) == 4
    assert first.total_bytes == sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors"))
    assert not tiny_weights.write_tiny_weights(tmp_path).written

    first.vae.write_bytes(b"cut short")
    assert tiny_weights.write_tiny_weights(tmp_path).written
    marker = tmp_path / tiny_weights.load_sizes()["marker"]
    stale = json.loads(marker.read_text()) | {"sizes": {"version": 0}}
    marker.write_text(json.dumps(stale))
    assert tiny_weights.write_tiny_weights(tmp_path).written
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob(".writing-*"))


def test_real_weights_are_never_overwritten(tmp_path, small_files):
    real = tmp_path / tiny_weights.VAE
    real.parent.mkdir()
    real.write_bytes(b"a real model")
    with pytest.raises(FileExistsError, match="models folder of their own"):
        tiny_weights.write_tiny_weights(tmp_path)
    assert real.read_bytes() == b"a real model"


def test_names_are_those_of_the_official_files():
    sizes = tiny_weights.load_sizes()
    assert "model.layers.7.self_attn.q_norm.weight" in language_shapes(sizes, "model.")
    vision = vision_shapes(sizes)
    assert vision["model.visual.deepstack_merger_list.2.norm.weight"] == (4096,)
    dit = dit_shapes(sizes)
    assert dit["cap_embedder.1.weight"] == (3840, 2560)
    assert "noise_refiner.0.attention.k_norm.weight" in dit and "cap_pad_token" in dit
    assert vae_shapes(sizes)["decoder.conv_in.weight"][1] == 16
