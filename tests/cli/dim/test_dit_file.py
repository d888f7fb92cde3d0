"""``--dit``: the gain of the image model's first layer, read from its file."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from zimage_layer_lab.cli.dim.dit_file import DitFileError, read_first_layer

from .conftest import FEW


def tensors(width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "cap_embedder.0.weight": torch.randn(width, generator=generator),
        "cap_embedder.1.weight": torch.randn(48, width, generator=generator),
        "cap_embedder.1.bias": torch.randn(48, generator=generator),
        "layers.0.attention.qkv.weight": torch.zeros(2, 2),
    }


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_gain_is_numpys_and_reaches_dim_json(
    prefix, tiny_model, prompt_file, tmp_path, layerlab
):
    own = tensors()
    save_file({prefix + name: one for name, one in own.items()}, tmp_path / "dit.safetensors")
    norm, matrix = (own[f"cap_embedder.{n}.weight"].double().numpy() for n in (0, 1))
    gains = np.abs(norm) * np.sqrt((matrix**2).sum(0))
    first = read_first_layer(tmp_path / "dit.safetensors", 32)
    assert first.gains.values.numpy() == pytest.approx(gains)
    if prefix:
        return
    words = (tiny_model(), "7", "--prompts", prompt_file, "--out", tmp_path / "out", *FEW)
    status, _, err = layerlab("dim", *words, "--dit", tmp_path / "dit.safetensors")
    assert status == 0, err
    for probe in json.loads((tmp_path / "out" / "dim.json").read_text())["probes"]:
        assert probe["gain"]["value"] == pytest.approx(gains[7])
        assert probe["gain"]["relative"] == pytest.approx(gains[7] / np.median(gains))
        assert probe["gain"]["rank"] == 1 + (gains > gains[7]).sum()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "first layer takes it with a gain of" in page


def test_a_scaled_float8_matrix_is_read_as_it_is_meant(tmp_path):
    own = tensors()
    matrix = own["cap_embedder.1.weight"]
    small = (matrix / 0.5).to(torch.float8_e4m3fn)
    own["cap_embedder.1.weight"] = small
    own["cap_embedder.1.scale_weight"] = torch.tensor(0.5)
    save_file(own, tmp_path / "dit.safetensors")
    lengths = torch.linalg.vector_norm(small.double() * 0.5, dim=0)
    expected = own["cap_embedder.0.weight"].double().abs() * lengths
    found = read_first_layer(tmp_path / "dit.safetensors", 32).gains.values
    assert torch.allclose(found, expected, rtol=1e-6)


def test_a_model_of_another_width_is_refused(tmp_path):
    save_file(tensors(), tmp_path / "dit.safetensors")
    with pytest.raises(DitFileError, match="takes states of 32 dimensions, and this model's have"):
        read_first_layer(tmp_path / "dit.safetensors", 64)
