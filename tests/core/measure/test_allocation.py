"""Large results: their own memory, of the right kind, with nothing of the source lost."""

import pytest
import torch
from zimage_layer_lab.core import Reference, blend, mask_outlier_dimensions
from zimage_layer_lab.core.edit.normalizing import normalize
from zimage_layer_lab.core.measure.allocation import LARGE_BYTES, copy, empty

CPU = torch.device("cpu")
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_tensor_is_what_torch_makes_but_for_its_values(dtype, part):
    width = 64
    shape = (1, part * LARGE_BYTES // (width * dtype.itemsize), width)
    made, usual = empty(shape, dtype, CPU), torch.empty(shape, dtype=dtype)
    assert made.shape == usual.shape and made.dtype == usual.dtype
    assert made.stride() == usual.stride() and made.is_contiguous()
    made.fill_(1)
    assert bool((made.float() == 1).all())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_copy_has_every_bit_and_memory_of_its_own(dtype):
    bits = torch.randint(0, 256, (1, 4096, 2560 * dtype.itemsize), dtype=torch.uint8)
    states = bits.view(dtype)
    made = copy(states)
    assert torch.equal(made.view(torch.uint8), bits)
    made.zero_()
    assert torch.equal(states.view(torch.uint8), bits)


def test_a_copy_of_transposed_states_is_in_order():
    states = torch.randn(2560, 4096).T[None]
    made = copy(states)
    assert torch.equal(made, states) and made.is_contiguous()


def test_edits_of_large_states_are_those_of_their_parts(tmp_path):
    """4,096 tokens, 40 MiB, against the same edit of tokens or dimensions by themselves."""
    from safetensors.torch import load_file, save_file

    states = torch.randn(4096, 2560, generator=torch.Generator().manual_seed(0))
    states[:, :2] *= 1000
    vision = states.flip(0)
    usual = Reference(torch.zeros(2560).double(), torch.ones(2560).double(), 0.0, 1.0)
    masked, _ = mask_outlier_dimensions(states, reference=usual)
    assert torch.equal(masked[:, 2:], states[:, 2:]) and not masked[:, :2].any()
    mixed = blend(states, vision, 0.25, match="none", keep_sinks=False).hidden[0]
    assert torch.allclose(mixed, torch.lerp(states, vision, 0.25), rtol=1e-6, atol=1e-6)
    whole = normalize(states[None], "per dimension", keep_sinks=False).hidden[0]
    z = (states[:, 7].double() - states[:, 7].double().mean()) / states[:, 7].double().std()
    level = states.double().std(0).quantile(0.5)
    expected = z.clamp(-3, 3) * level + states[:, 7].double().mean()
    assert torch.allclose(whole[:, 7].double(), expected, rtol=1e-5, atol=1e-5)
    save_file({"masked": masked}, tmp_path / "masked.safetensors")
    assert torch.equal(load_file(tmp_path / "masked.safetensors")["masked"], masked)
