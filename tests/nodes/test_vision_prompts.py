"""VL Image Token Encode: images of several sizes, where the text stands, layers apart, lists."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from zimage_layer_lab.core.dit import caption_length
from zimage_layer_lab.core.encoder.image_size import fit_images
from zimage_layer_lab.core.record.record import Role
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import QUERIES, output, record, run, states
from .twins import IMAGE_PAD, Qwen3VLTwin, largest_error, preprocess

TEXT = "A red fox in deep snow"
SIZES = [(256, 320), (288, 256), (300, 421)]
"""Height and width; the last must be resized."""
TOKENS = [80, 72, 117]
BLOCK = "<|vision_start|><|image_pad|><|vision_end|>"
START = [151644, 872, 198]
END = [151645, 198, 151644, 77091, 198]


def photo(number: int) -> torch.Tensor:
    """(height, width, 3) uint8."""
    generator = torch.Generator().manual_seed(number)
    return torch.randint(0, 256, (*SIZES[number], 3), generator=generator, dtype=torch.uint8)


def as_input(image: torch.Tensor) -> torch.Tensor:
    """As LoadImage gives it: (1, height, width, 3)."""
    return image[None].float() / 255


def text_ids(vl_clip, text: str) -> list[int]:
    [section] = vl_clip.tokenize(text, llama_template="{}", thinking=True)["qwen3vl_4b"]
    return [token for token, *_ in section]


def image_ids(tokens: int) -> list[int]:
    return [151652, *[IMAGE_PAD] * tokens, 151653]


def encode_all(pack, vl_clip, images, **inputs):
    """The node as the host calls it with a list of images: lists in, lists out."""
    given = {name: [value] for name, value in inputs.items()}
    return output(pack.VLEncode, clip=[vl_clip], image=images, **given).args


@pytest.fixture(scope="module")
def twin(host, vl_clip):
    path = host.base / "models/text_encoders/qwen3vl_4b_bf16.safetensors"
    # The host interpolates image positions in the weights' bfloat16; transformers' in float32.
    table = vl_clip.cond_stage_model.qwen3vl_4b.transformer.visual.pos_embed
    dtype = table.weight.dtype
    table.float()
    with torch.inference_mode():
        yield Qwen3VLTwin(path, load_sizes())
    table.to(dtype)


@pytest.fixture(scope="module")
def mixed(vl_clip, twin):
    """transformers' hidden states of three images of different sizes and TEXT."""
    ids = [*START, *(i for n in TOKENS for i in image_ids(n)), *text_ids(vl_clip, TEXT), *END]
    with torch.inference_mode():
        return twin.states(ids, [photo(number) for number in range(3)])


@pytest.mark.parametrize("layer", [1, 3, -2, -1])
def test_images_of_mixed_sizes_in_one_prompt_equal_transformers(vl_clip, pack, mixed, layer):
    images = [as_input(photo(number)) for number in range(3)]
    [conditioning], [prompt] = encode_all(pack, vl_clip, images, text=TEXT, layer=layer)
    assert largest_error(states(conditioning), mixed[layer]) < 1e-4
    assert prompt.count(BLOCK) == 3
    assert record(conditioning).images == ((8, 10), (9, 8), (9, 13))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_image_tokens_are_where_the_host_puts_them_whatever_their_sizes(vl_clip, pack, count):
    images = [as_input(photo(number)) for number in range(count)]
    [conditioning], _ = encode_all(pack, vl_clip, images, text=TEXT, layer=0)
    fitted = [fit.pixels for fit in fit_images(images, 1024)]
    entries = vl_clip.tokenize(TEXT, images=fitted, thinking=True)["qwen3vl_4b"][0]
    encoder = vl_clip.cond_stage_model.qwen3vl_4b
    *_, embeds_info = encoder.process_tokens([[entry for entry, *_ in entries]], "cpu")
    expected = [
        place
        for info in embeds_info
        for place in range(info["index"], info["index"] + info["size"])
    ]
    roles = record(conditioning).roles
    assert [i for i, role in enumerate(roles) if role is Role.IMAGE] == expected


@pytest.mark.parametrize("number", [0, 2])
def test_exact_preprocessing_gives_the_pixels_of_transformers_own_processor(host, number):
    import comfy.text_encoders.qwen_vl as qwen_vl

    [fitted] = fit_images(as_input(photo(number)), 16384)
    patches, grid = qwen_vl.process_qwen2vl_images(
        fitted.pixels, patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    theirs = preprocess([photo(number)])
    assert torch.equal(grid, theirs["image_grid_thw"])
    assert float((patches - theirs["pixel_values"]).abs().max()) < 1e-6


def test_host_preprocessing_is_the_stock_encoders_bitwise(vl_clip, pack):
    image = as_input(photo(2))
    conditioning, _ = run(
        pack.VLEncode, clip=vl_clip, image=image, text=TEXT, layer=-2, preprocessing="host"
    )
    exact, _ = run(pack.VLEncode, clip=vl_clip, image=image, text=TEXT, layer=-2)
    stock = vl_clip.clone()
    stock.clip_layer(-2)
    tokens = stock.tokenize(TEXT, images=[image], thinking=True)
    [[hidden, _]] = stock.encode_from_tokens_scheduled(tokens)
    assert torch.equal(states(conditioning), hidden)
    assert not torch.equal(states(exact), hidden)


def test_the_resize_that_was_chosen_is_in_the_record(vl_clip, pack):
    images = [as_input(photo(number)) for number in (0, 2)]
    [conditioning], _ = encode_all(pack, vl_clip, images, max_image_tokens=60, layer=0)
    assert record(conditioning).edits == (
        "image 1: 320x256 resized to 256x192, 48 tokens",
        "image 2: 421x300 resized to 288x192, 54 tokens",
    )


def test_text_before_the_image_equals_transformers(vl_clip, pack, twin):
    conditioning, prompt = run(
        pack.VLEncode,
        clip=vl_clip,
        image=as_input(photo(0)),
        text=TEXT,
        layer=-2,
        text_place="before the images",
    )
    assert prompt == f"<|im_start|>user\n{TEXT}{BLOCK}<|im_end|>\n<|im_start|>assistant\n"
    ids = [*START, *text_ids(vl_clip, TEXT), *image_ids(80), *END]
    assert largest_error(states(conditioning), twin.states(ids, [photo(0)])[-2]) < 1e-4


def test_text_alone_from_the_same_file_equals_transformers(vl_clip, pack, twin):
    """One Qwen3-VL file serves text and image: Qwen3-4B need not be loaded too."""
    conditioning, _ = run(pack.Qwen3Encode, clip=vl_clip, text=TEXT, layer=-2)
    ids = [*START, *text_ids(vl_clip, TEXT), *END]
    assert largest_error(states(conditioning), twin.text_states(ids)[-2]) < 1e-4


def test_an_open_think_block_ends_the_prompt(vl_clip, pack):
    conditioning, prompt = run(
        pack.VLEncode, clip=vl_clip, image=as_input(photo(0)), layer=0, think_block="open"
    )
    assert prompt.endswith("<|im_start|>assistant\n<think>\n")
    assert record(conditioning).ids[-2:] == (151667, 198)
    assert record(conditioning).roles[-2:] == (Role.THINK, Role.THINK)


def test_image_and_text_tokens_of_different_layers_come_from_one_pass(vl_clip, pack):
    given = {"clip": vl_clip, "image": as_input(photo(0)), "text": TEXT}
    early, late = (states(run(pack.VLEncode, **given, layer=n)[0]) for n in (-6, -2))
    decoder = vl_clip.cond_stage_model.qwen3vl_4b.transformer.model
    passes = []
    handle = decoder.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        conditioning, _ = run(
            pack.VLEncode, **given, two_layers=True, image_layer=-6, text_layer=-2, layer=-9
        )
    finally:
        handle.remove()
    assert len(passes) == 1
    found = record(conditioning)
    is_image = torch.tensor([role is Role.IMAGE for role in found.roles])
    assert torch.equal(states(conditioning)[:, is_image], early[:, is_image])
    assert torch.equal(states(conditioning)[:, ~is_image], late[:, ~is_image])
    assert found.layer is None and found.layers == tuple(-6 if i else -2 for i in is_image.tolist())


def test_two_layers_that_are_one_are_one(vl_clip, pack):
    given = {"clip": vl_clip, "image": as_input(photo(0)), "text": TEXT}
    plain, _ = run(pack.VLEncode, **given, layer=-3)
    both, _ = run(pack.VLEncode, **given, two_layers=True, image_layer=-3, text_layer=-3)
    assert torch.equal(states(both), states(plain))
    assert record(both).layer == -3 and record(both).layers == ()


def test_a_selection_of_image_tokens_knows_its_one_layer(vl_clip, pack):
    conditioning, _ = run(
        pack.VLEncode,
        clip=vl_clip,
        image=as_input(photo(0)),
        tokens="image",
        two_layers=True,
        image_layer=-4,
    )
    assert record(conditioning).layer == -4


def test_one_prompt_each_gives_a_conditioning_per_image(vl_clip, pack):
    one, two = as_input(photo(0)), torch.cat([as_input(photo(1)), as_input(photo(1)).flip(1)])
    conditionings, prompts = encode_all(
        pack, vl_clip, [one, two], layer=0, several_images="one prompt each"
    )
    singles = [one, two[:1], two[1:]]
    assert len(conditionings) == len(prompts) == 3
    for conditioning, single in zip(conditionings, singles, strict=True):
        alone, _ = run(pack.VLEncode, clip=vl_clip, image=single, layer=0)
        assert torch.equal(states(conditioning), states(alone))


def test_a_list_of_layers_makes_a_run_for_each(vl_clip, pack):
    conditionings, _ = output(
        pack.VLEncode, clip=[vl_clip], image=[as_input(photo(0))], layer=[-2, -6], text=["a", "b"]
    ).args
    assert [record(one).layer for one in conditionings] == [-2, -6]
    assert ["a" in record(one).texts for one in conditionings] == [True, False]


@pytest.mark.parametrize("budget", [3, 12545])
def test_a_budget_that_the_host_would_overrule_is_refused(vl_clip, pack, budget):
    with pytest.raises(ValueError, match=f"max_image_tokens is {budget}.*between 4 and 12544"):
        run(pack.VLEncode, clip=vl_clip, image=as_input(photo(0)), max_image_tokens=budget)


def test_more_tokens_than_z_image_knows_are_encoded_and_said(vl_clip, pack, caplog, monkeypatch):
    """ComfyUI takes any number without a word. The limit is lowered here: 1,505 take a minute."""
    monkeypatch.setattr(caption_length, "trained_positions", lambda: 79)
    with caplog.at_level(logging.WARNING):
        conditioning, _ = run(
            pack.VLEncode, clip=vl_clip, image=as_input(photo(0)), tokens="image", layer=0
        )
    assert states(conditioning).shape == (1, 80, 2560)
    assert "80 tokens: more than the about 79 positions" in caplog.text
    assert "80 tokens: more than" in run(pack.Describe, conditioning=conditioning)[0]


def test_a_lora_on_the_encoder_is_kept(host, vl_clip, pack):
    """As LoraLoader patches it: our states are the stock encoder's with the same patch, bitwise."""
    generator = torch.Generator().manual_seed(3)
    key = "text_encoders.qwen3vl_4b.transformer.model.layers.2.self_attn.q_proj"
    folder = host.base / "models/loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            f"{key}.lora_up.weight": torch.randn(QUERIES, 2, generator=generator) * 0.1,
            f"{key}.lora_down.weight": torch.randn(2, 2560, generator=generator) * 0.1,
        },
        folder / "lab_vl_encoder.safetensors",
    )
    loader = host.nodes.LoraLoader()
    patched = loader.load_lora(None, vl_clip, "lab_vl_encoder.safetensors", 0.0, 1.0)[1]
    image = as_input(photo(0))
    ours, _ = run(pack.VLEncode, clip=patched, image=image, text=TEXT, layer=-2)
    plain, _ = run(pack.VLEncode, clip=vl_clip, image=image, text=TEXT, layer=-2)
    stock = patched.clone()
    stock.clip_layer(-2)
    tokens = stock.tokenize(TEXT, images=[image], thinking=True)
    [[hidden, _]] = stock.encode_from_tokens_scheduled(tokens)
    assert torch.equal(states(ours), hidden)
    assert not torch.equal(states(ours), states(plain))
