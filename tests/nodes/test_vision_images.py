"""Odd images, budgets and encoders at VL Image Token Encode."""

import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from .stock import output, record, run, states


def image(height: int = 256, width: int = 256, channels: int = 3, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, height, width, channels, generator=generator)


def encode(vl_clip, pack, pixels, **inputs):
    """The embeddings of the image's tokens: layer 0 needs the fewest blocks."""
    inputs = {"layer": 0, "tokens": "image", **inputs}
    return run(pack.VLEncode, clip=vl_clip, image=pixels, **inputs)[0]


def test_alpha_is_dropped_and_the_record_says_so(vl_clip, pack):
    pixels = image(channels=4)
    with_alpha = encode(vl_clip, pack, pixels)
    without = encode(vl_clip, pack, pixels[..., :3])
    assert torch.equal(states(with_alpha), states(without))
    assert "alpha" in " ".join(record(with_alpha).edits)
    assert "alpha" not in " ".join(record(without).edits)


def test_one_channel_is_read_as_grey(vl_clip, pack):
    pixels = image(channels=1)
    grey = encode(vl_clip, pack, pixels)
    assert torch.equal(states(grey), states(encode(vl_clip, pack, pixels.repeat(1, 1, 1, 3))))


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channel_counts_are_refused(vl_clip, pack, channels):
    with pytest.raises(ValueError, match=f"{channels} channels"):
        encode(vl_clip, pack, image(channels=channels))


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (1, 0, 64, 3), (1, 64, 0, 3)])
def test_a_batch_without_pixels_is_refused(vl_clip, pack, shape):
    with pytest.raises(ValueError, match="at least one image"):
        encode(vl_clip, pack, torch.zeros(shape))


def test_a_single_pixel_is_enlarged_to_the_models_smallest_image(vl_clip, pack):
    conditioning = encode(vl_clip, pack, image(1, 1))
    # Qwen3-VL's processor enlarges to 65,536 pixels: 8 x 8 tokens.
    assert states(conditioning).shape[1] == 64
    assert bool(states(conditioning).isfinite().all())
    [note] = record(conditioning).edits
    assert "1x1" in note and "256x256" in note and "64 tokens" in note


def test_8192_pixels_square_are_scaled_to_the_budget_and_the_record_says_so(
    vl_clip, pack, monkeypatch
):
    from comfy.ldm.modules.attention import attention_pytorch
    from comfy.text_encoders import qwen35

    # The host's plain attention would take 3 GB and 20 s for these 4,096 patches on a CPU.
    monkeypatch.setattr(
        qwen35, "optimized_attention_for_device", lambda *_, **__: attention_pytorch
    )
    pixels = torch.zeros(1, 1, 1, 3).expand(1, 8192, 8192, 3)
    conditioning = encode(vl_clip, pack, pixels, max_image_tokens=1024)
    assert states(conditioning).shape[1] == 1024
    [note] = record(conditioning).edits
    assert "8192x8192" in note and "1024x1024" in note and "1024 tokens" in note


@pytest.mark.parametrize(
    ("height", "width", "budget"),
    [(512, 512, 64), (512, 256, 60), (256, 512, 4), (32, 2048, 16), (640, 480, 100), (1, 1, 5)],
)
def test_the_budget_is_never_exceeded(vl_clip, pack, height, width, budget):
    conditioning = encode(vl_clip, pack, image(height, width), max_image_tokens=budget)
    tokens = states(conditioning).shape[1]
    assert 1 <= tokens <= budget
    [note] = record(conditioning).edits
    assert f"{width}x{height}" in note and f"{tokens} tokens" in note


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_a_budget_below_the_hosts_smallest_image_is_refused_or_kept(vl_clip, pack, budget):
    """The host enlarges whatever has fewer than 3,136 pixels, that is fewer than 4 tokens."""
    try:
        conditioning = encode(vl_clip, pack, image(), max_image_tokens=budget)
    except ValueError as error:
        assert "max_image_tokens" in str(error)
        return
    assert states(conditioning).shape[1] <= budget


@pytest.mark.parametrize(
    ("height", "width"), [(300, 200), (257, 511), (1000, 333), (64, 64), (40, 900)]
)
def test_sizes_are_those_of_transformers_processor(vl_clip, pack, height, width):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    rows, columns = smart_resize(height, width, 32, 65536, 1024 * 1024)
    [note] = record(encode(vl_clip, pack, image(height, width))).edits
    assert f"resized to {columns}x{rows}" in note


def test_the_budget_is_for_each_image_of_a_batch(vl_clip, pack):
    conditioning = encode(vl_clip, pack, image(256, 256, batch=2), max_image_tokens=64)
    assert states(conditioning).shape[1] == 128
    assert len(record(conditioning).edits) == 2


def test_a_resized_image_is_close_to_transformers_own_resizing(vl_clip, pack):
    """Theirs rounds to 8 bits in between."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    eight_bit = (image(300, 200) * 255).round().to(torch.uint8)
    resized = resize(
        eight_bit.movedim(-1, 1), [320, 224], InterpolationMode.BICUBIC, antialias=True
    )
    ours = states(encode(vl_clip, pack, eight_bit.float() / 255))
    theirs = states(encode(vl_clip, pack, resized.movedim(1, -1).float() / 255))
    assert ours.shape == theirs.shape
    assert float((ours - theirs).pow(2).mean().sqrt() / theirs.pow(2).mean().sqrt()) < 0.02


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_with_nan_or_infinity_is_refused(vl_clip, pack, value):
    pixels = image()
    pixels[0, 7, 9, 1] = value
    with pytest.raises(ValueError, match="image.*NaN or infinity"):
        encode(vl_clip, pack, pixels)


def test_an_extreme_aspect_ratio_is_refused(vl_clip, pack):
    with pytest.raises(ValueError, match="201x1.*aspect ratio"):
        encode(vl_clip, pack, image(1, 201))


def test_the_image_is_not_modified(vl_clip, pack):
    pixels = image(300, 200, channels=4)
    before = pixels.clone()
    encode(vl_clip, pack, pixels)
    assert torch.equal(pixels, before)


def test_a_text_only_encoder_is_refused_and_told_what_is_needed(clip, pack):
    with pytest.raises(ValueError) as caught:
        run(pack.VLEncode, clip=clip, image=image())
    message = str(caught.value)
    assert "vision" in message and "qwen3vl_4b" in message and "CLIPLoader" in message


def test_text_tokens_of_an_empty_text_are_refused(vl_clip, pack):
    with pytest.raises(ValueError, match="'text' selects nothing"):
        run(pack.VLEncode, clip=vl_clip, image=image(), text="", tokens="text")


def test_a_layer_out_of_range_is_refused_with_the_range(vl_clip, pack):
    with pytest.raises(ValueError, match="-9 to -1"):
        run(pack.VLEncode, clip=vl_clip, image=image(), layer=-10)
    for name in ("layer", "image_layer", "text_layer"):
        message = pack.VLEncode.validate_inputs(**{name: [99]})
        assert "99" in message and "-37" in message and "36" in message
        assert pack.VLEncode.validate_inputs(**{name: [-6]}) is True
    assert pack.VLEncode.validate_inputs(layer=[None]) is True, "connected: checked when it runs"


@pytest.mark.parametrize("field", ["text", "system_prompt"])
def test_an_image_placeholder_that_a_user_typed_takes_no_images_place(vl_clip, pack, field):
    typed = {field: "a <|image_pad|> fox"}
    try:
        whole, _ = run(pack.VLEncode, clip=vl_clip, image=image(), layer=0, **typed)
    except ValueError as error:
        assert "<|image_pad|>" in str(error)
        return
    found = record(whole)
    places = [i for i, role in enumerate(found.roles) if role is Role.IMAGE]
    assert len(places) == 64
    assert found.ids[places[0] - 1] == 151652 and found.ids[places[-1] + 1] == 151653
    assert torch.equal(states(whole)[:, places], states(encode(vl_clip, pack, image())))


def test_the_encoder_is_whole_after_an_image_that_failed_half_way(vl_clip, pack):
    from zimage_layer_lab.nodes import encoded_once

    expected = states(encode(vl_clip, pack, image(), layer=-2))
    encoded_once.RECENT.clear()
    transformer = vl_clip.cond_stage_model.qwen3vl_4b.transformer
    layers = transformer.model.layers

    def fail(*_):
        raise RuntimeError("out of memory, say")

    handle = layers[2].register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="out of memory, say"):
            encode(vl_clip, pack, image(), layer=-2)
    finally:
        handle.remove()
    assert transformer.model.layers is layers and len(layers) == 8
    assert torch.equal(states(encode(vl_clip, pack, image(), layer=-2)), expected)


def test_an_image_of_0_to_255_is_remarked_first_in_the_report_and_in_the_log(vl_clip, pack, caplog):
    answer = output(pack.VLEncode, clip=[vl_clip], image=[image(64, 64), image(64, 64) * 255])
    [shown] = answer.ui["text"]
    first, *rest = shown.split("\n")
    assert first.startswith("image 2 has values from ") and "divide it by 255 first" in first
    assert not any("has values" in line for line in rest)
    assert f"VL Image Token Encode: {first}." in caplog.messages


def test_the_nodes_that_measure_images_log_it_once(vl_clip, pack, caplog):
    pixels = torch.cat([image(64, 64), image(64, 64) * 255, image(64, 64) * 255])
    run(pack.BuildReference, clip=vl_clip, layer=0, images=pixels)
    [said] = [line for line in caplog.messages if "has values" in line]
    assert said.startswith("image 2 has values from ")
