"""Z-Image Sampler against the stock graph of the official template, bitwise."""

import math

import pytest
import torch

from .stock import empty_latent, ksample, run, snapshot, states, text_encode, unchanged

SIZE = {"width": 128, "height": 128}


@pytest.fixture(scope="module")
def positive(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-6)[0]


@pytest.fixture(scope="module")
def negative(clip):
    with torch.inference_mode():
        return text_encode(clip, "blurry, watermark")


def zeroed(host, conditioning: list) -> list:
    return host.nodes.ConditioningZeroOut().zero_out(conditioning)[0]


def sample(pack, model, positive, **inputs):
    """The node's (image, latent); 2 steps and 128 x 128 where nothing else is asked for."""
    return run(
        pack.ZImageSampler, **{"model": model, "positive": positive, "steps": 2, **SIZE, **inputs}
    )


def test_text_to_image_equals_the_stock_graph(host, model, pack, positive):
    _, latent = sample(pack, model, positive, seed=7)
    stock = ksample(model, positive, zeroed(host, positive), empty_latent(), seed=7)
    assert torch.equal(latent["samples"], stock["samples"])
    assert latent["samples"].shape == (1, 16, 16, 16)
    assert bool(latent["samples"].isfinite().all())


def test_a_stock_encoding_gives_the_same_as_the_packs_own(clip, model, pack, positive):
    stock_positive = text_encode(clip, "a red fox", layer=-6)
    _, ours = sample(pack, model, positive)
    _, stock = sample(pack, model, stock_positive)
    assert torch.equal(ours["samples"], stock["samples"])


def test_the_same_seed_gives_the_same_latent_and_another_seed_another(model, pack, positive):
    latents = [sample(pack, model, positive, seed=seed)[1]["samples"] for seed in (3, 3, 4)]
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_a_negative_and_cfg_equal_the_stock_graph(model, pack, positive, negative, cfg):
    _, latent = sample(pack, model, positive, negative=negative, cfg=cfg)
    stock = ksample(model, positive, negative, empty_latent(), cfg=cfg)
    assert torch.equal(latent["samples"], stock["samples"])


def test_cfg_2_without_a_negative_uses_the_zeroed_positive(host, model, pack, positive):
    _, latent = sample(pack, model, positive, cfg=2.0)
    stock = ksample(model, positive, zeroed(host, positive), empty_latent(), cfg=2.0)
    assert torch.equal(latent["samples"], stock["samples"])


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 3, "sampler_name": "euler", "scheduler": "beta"},
        {"shift": 1.0},
        {"sampler_name": "dpmpp_2m_sde", "shift": 6.5},
    ],
)
def test_other_settings_equal_the_stock_graph(host, model, pack, positive, settings):
    _, latent = sample(pack, model, positive, **settings)
    stock = ksample(model, positive, zeroed(host, positive), empty_latent(), **settings)
    assert torch.equal(latent["samples"], stock["samples"])


def test_a_batch_of_another_shape_equals_the_stock_graph(host, model, pack, positive):
    size = {"width": 64, "height": 96, "batch_size": 2}
    _, latent = sample(pack, model, positive, **size, steps=1)
    stock = ksample(model, positive, zeroed(host, positive), empty_latent(**size), steps=1)
    assert torch.equal(latent["samples"], stock["samples"])
    assert latent["samples"].shape == (2, 16, 12, 8)


def test_denoise_from_an_encoded_image_equals_the_stock_graph(host, model, vae, pack, positive):
    pixels = torch.rand(1, 96, 128, 3, generator=torch.Generator().manual_seed(2))
    [start] = host.nodes.VAEEncode().encode(vae, pixels)
    _, latent = sample(pack, model, positive, latent=start, denoise=0.5, width=512, height=512)
    stock = ksample(model, positive, zeroed(host, positive), start, denoise=0.5)
    assert torch.equal(latent["samples"], stock["samples"])
    assert latent["samples"].shape == (1, 16, 12, 16)
    assert not torch.equal(latent["samples"], start["samples"])


def test_denoise_of_part_of_a_latent_keeps_the_stock_noise_mask(host, model, pack, positive):
    generator = torch.Generator().manual_seed(5)
    start = {"samples": torch.randn(1, 16, 16, 16, generator=generator)}
    mask = torch.zeros(1, 128, 128)
    mask[:, :64] = 1.0
    [masked] = host.nodes.SetLatentNoiseMask().set_mask(start, mask)
    _, latent = sample(pack, model, positive, latent=masked, denoise=0.5)
    stock = ksample(model, positive, zeroed(host, positive), masked, denoise=0.5)
    assert torch.equal(latent["samples"], stock["samples"])


def test_the_image_equals_the_stock_vae_decode(host, model, vae, pack, positive):
    image, latent = sample(pack, model, positive, vae=vae)
    [stock] = host.nodes.VAEDecode().decode(vae, latent)
    assert torch.equal(image, stock)
    assert image.shape == (1, 128, 128, 3)


def test_without_a_vae_the_latent_comes_and_the_image_is_blocked(model, pack, positive):
    from comfy_execution.graph_utils import ExecutionBlocker

    image, latent = sample(pack, model, positive)
    assert isinstance(image, ExecutionBlocker) and "VAE" in image.message
    assert bool(latent["samples"].isfinite().all())


def test_regional_prompts_equal_the_stock_graph(host, model, pack, positive, negative):
    [area] = host.nodes.ConditioningSetArea().append(negative, 64, 128, 0, 0, 0.8)
    [regions] = host.nodes.ConditioningCombine().combine(positive, area)
    _, latent = sample(pack, model, regions)
    stock = ksample(model, regions, zeroed(host, regions), empty_latent())
    assert torch.equal(latent["samples"], stock["samples"])


def test_the_inputs_are_unchanged(model, vae, pack, positive, negative):
    start = {"samples": torch.randn(1, 16, 16, 16)}
    kept = start["samples"].clone()
    before = snapshot(positive), snapshot(negative)
    inner, patches, objects = model.model, dict(model.patches), dict(model.object_patches)
    options = repr(model.model_options)
    sampling = model.get_model_object("model_sampling")
    weight = model.model.diffusion_model.cap_embedder[1].weight.clone()
    sample(pack, model, positive, negative=negative, latent=start, cfg=2.0, denoise=0.5, vae=vae)
    assert model.model is inner and model.get_model_object("model_sampling") is sampling
    assert dict(model.patches) == patches and dict(model.object_patches) == objects
    assert repr(model.model_options) == options
    assert torch.equal(model.model.diffusion_model.cap_embedder[1].weight, weight)
    assert unchanged(positive, before[0]) and unchanged(negative, before[1])
    assert torch.equal(start["samples"], kept) and set(start) == {"samples"}


@pytest.fixture
def no_sampling(host, monkeypatch):
    """Fails the test if anything is sampled."""
    import comfy.sample

    def sampled(*_, **__):
        pytest.fail("the sampler was reached")

    monkeypatch.setattr(comfy.sample, "sample", sampled)
    monkeypatch.setattr(host.nodes, "common_ksampler", sampled)


@pytest.mark.parametrize("side", ["positive", "negative"])
def test_conditioning_of_another_width_is_refused_before_sampling(
    model, pack, positive, no_sampling, side
):
    wrong = [[torch.randn(1, 77, 768), {}]]
    with pytest.raises(ValueError, match=f"{side}.*768 dimensions.*2560"):
        sample(pack, model, **{"positive": positive, side: wrong})


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", ["positive", "negative"])
def test_non_finite_conditioning_is_refused_before_sampling(
    model, pack, positive, no_sampling, side, value
):
    hidden = states(positive).clone()
    hidden[0, 2, 396] = value
    with pytest.raises(ValueError, match=f"{side}.*token 2 dimension 396 is {value}"):
        sample(pack, model, **{"positive": positive, side: [[hidden, {}]]})


@pytest.mark.parametrize("side", ["positive", "negative"])
def test_conditioning_without_entries_is_refused_before_sampling(
    model, pack, positive, no_sampling, side
):
    with pytest.raises(ValueError, match=f"{side} has no entries"):
        sample(pack, model, **{"positive": positive, side: []})


def test_a_model_that_is_not_z_image_is_refused_before_sampling(pack, positive, no_sampling):
    import comfy.model_patcher

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.diffusion_model = torch.nn.Linear(2, 2)

    device = torch.device("cpu")
    other = comfy.model_patcher.ModelPatcher(Other(), load_device=device, offload_device=device)
    with pytest.raises(ValueError, match=r"not Z-Image.*z_image_turbo_bf16\.safetensors"):
        sample(pack, other, positive)


@pytest.mark.parametrize("name", ["cfg", "shift", "denoise"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_validation_refuses_numbers_that_are_none(pack, name, value):
    message = pack.ZImageSampler.validate_inputs(**{name: value})
    assert isinstance(message, str) and name in message


def test_validation_lets_defaults_and_connected_inputs_pass(pack):
    assert pack.ZImageSampler.validate_inputs(cfg=1.0, shift=3.0, denoise=1.0) is True
    assert pack.ZImageSampler.validate_inputs(cfg=None, shift=None, denoise=None) is True
