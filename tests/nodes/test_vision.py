"""VL Image Token Encode against the stock encoder and transformers' Qwen3-VL."""

import pytest
import torch
from zimage_layer_lab.core.record.record import Role
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import output, record, run, same_options, states
from .twins import IMAGE_PAD, Qwen3VLTwin, largest_error

TEXT = "A red fox in deep snow"
SIZES = {1: (256, 320), 2: (256, 256), 3: (288, 256)}
"""Height and width of each batch: multiples of 32 and big enough, so that nothing is resized."""
BLOCK = "<|vision_start|><|image_pad|><|vision_end|>"


def noise_images(batch: int) -> torch.Tensor:
    """(batch, height, width, 3) uint8; every image differs."""
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, *SIZES[batch], 3)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def as_input(images: torch.Tensor) -> torch.Tensor:
    """As ComfyUI's IMAGE."""
    return images.float() / 255


def stock_tokens(vl_clip, images: torch.Tensor, text: str = TEXT) -> dict:
    """The stock tokenizer's own template with images, without its automatic think block."""
    one_by_one = [as_input(images)[i : i + 1] for i in range(len(images))]
    return vl_clip.tokenize(text, images=one_by_one, thinking=True)


def expanded_ids(vl_clip, images: torch.Tensor) -> list[int]:
    """Their ids, with one <|image_pad|> for each 32 x 32 pixels of an image."""
    height, width = images.shape[1:3]
    ids: list[int] = []
    for entry, *_ in stock_tokens(vl_clip, images)["qwen3vl_4b"][0]:
        is_image = isinstance(entry, dict)
        ids += [IMAGE_PAD] * (height * width // 1024) if is_image else [entry]
    return ids


@pytest.fixture(scope="module")
def float_positions(vl_clip):
    """The host interpolates image positions in the weights' bfloat16; transformers' in float32."""
    table = vl_clip.cond_stage_model.qwen3vl_4b.transformer.visual.pos_embed
    dtype = table.weight.dtype
    table.float()
    yield
    table.to(dtype)


@pytest.fixture(scope="module")
def twin_states(host, vl_clip):
    """transformers' hidden states (after DeepStack) for each batch size."""
    path = host.base / "models/text_encoders/qwen3vl_4b_bf16.safetensors"
    with torch.inference_mode():
        twin = Qwen3VLTwin(path, load_sizes())
        return {
            batch: twin.states(expanded_ids(vl_clip, noise_images(batch)), noise_images(batch))
            for batch in SIZES
        }


@pytest.mark.parametrize("layer", range(-9, 0))
def test_every_layer_equals_transformers(vl_clip, pack, twin_states, float_positions, layer):
    conditioning, _ = run(
        pack.VLEncode, clip=vl_clip, image=as_input(noise_images(1)), text=TEXT, layer=layer
    )
    assert largest_error(states(conditioning), twin_states[1][layer]) < 1e-4
    assert record(conditioning).layer == layer


@pytest.mark.parametrize("layer", [3, -2])
@pytest.mark.parametrize("batch", [2, 3])
def test_several_images_equal_transformers(
    vl_clip, pack, twin_states, float_positions, batch, layer
):
    conditioning, prompt = run(
        pack.VLEncode, clip=vl_clip, image=as_input(noise_images(batch)), text=TEXT, layer=layer
    )
    assert largest_error(states(conditioning), twin_states[batch][layer]) < 1e-4
    assert prompt.count(BLOCK) == batch


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layer", [-6, -2])
def test_the_states_are_the_stock_encoders_bitwise(vl_clip, pack, batch, layer):
    images = noise_images(batch)
    conditioning, _ = run(
        pack.VLEncode, clip=vl_clip, image=as_input(images), text=TEXT, layer=layer
    )
    stock = vl_clip.clone()
    stock.clip_layer(layer)
    [[hidden, options]] = stock.encode_from_tokens_scheduled(stock_tokens(stock, images))
    assert torch.equal(states(conditioning), hidden)
    assert same_options(conditioning[0][1], options)


@pytest.mark.parametrize("batch", [1, 3])
def test_image_tokens_are_where_the_host_puts_them(vl_clip, pack, batch):
    images = noise_images(batch)
    conditioning, _ = run(pack.VLEncode, clip=vl_clip, image=as_input(images), text=TEXT, layer=-9)
    entries = [entry for entry, *_ in stock_tokens(vl_clip, images)["qwen3vl_4b"][0]]
    encoder = vl_clip.cond_stage_model.qwen3vl_4b
    *_, embeds_info = encoder.process_tokens([entries], "cpu")
    expected = [
        position
        for info in embeds_info
        for position in range(info["index"], info["index"] + info["size"])
    ]
    roles = record(conditioning).roles
    assert [i for i, role in enumerate(roles) if role is Role.IMAGE] == expected
    assert all(record(conditioning).ids[i] == -1 for i in expected)
    assert roles.count(Role.VISION_MARKER) == 2 * batch
    assert expected[0] == 4


def test_ids_and_roles_follow_the_template(vl_clip, pack):
    conditioning, _ = run(
        pack.VLEncode, clip=vl_clip, image=as_input(noise_images(1)), text="a red fox", layer=0
    )
    found = record(conditioning)
    assert found.ids[:4] == (151644, 872, 198, 151652)
    assert found.ids[84:] == (151653, 64, 2518, 38835, 151645, 198, 151644, 77091, 198)
    assert found.roles == (
        *[Role.TEMPLATE] * 3,
        Role.VISION_MARKER,
        *[Role.IMAGE] * 80,
        Role.VISION_MARKER,
        *[Role.TEXT] * 3,
        *[Role.TEMPLATE] * 5,
    )
    assert len(found) == states(conditioning).shape[1]


def test_the_order_of_a_batch_is_the_order_of_its_images(vl_clip, pack):
    images = as_input(noise_images(2))
    forward, backward = (
        states(run(pack.VLEncode, clip=vl_clip, image=batch, tokens="image", layer=0)[0])
        for batch in (images, images.flip(0))
    )
    assert torch.equal(forward[:, :64], backward[:, 64:])
    assert torch.equal(forward[:, 64:], backward[:, :64])
    assert not torch.equal(forward[:, :64], forward[:, 64:])


@pytest.fixture(scope="module")
def whole(vl_clip, pack):
    """All tokens of one image and TEXT at the default layer."""
    with torch.inference_mode():
        return run(pack.VLEncode, clip=vl_clip, image=as_input(noise_images(1)), text=TEXT)[0]


@pytest.mark.parametrize(
    ("tokens", "roles"),
    [
        ("all", set(Role)),
        ("image", {Role.IMAGE}),
        ("image + markers", {Role.IMAGE, Role.VISION_MARKER}),
        ("text", {Role.TEXT}),
    ],
)
def test_a_selection_hands_over_those_rows_of_the_whole(vl_clip, pack, whole, tokens, roles):
    chosen, prompt = run(
        pack.VLEncode, clip=vl_clip, image=as_input(noise_images(1)), text=TEXT, tokens=tokens
    )
    rows = [i for i, role in enumerate(record(whole).roles) if role in roles]
    assert torch.equal(states(chosen), states(whole)[:, rows])
    assert record(chosen).roles == tuple(record(whole).roles[i] for i in rows)
    assert record(chosen).ids == tuple(record(whole).ids[i] for i in rows)
    assert chosen[0][1]["attention_mask"].shape == (1, len(rows))
    assert prompt == f"<|im_start|>user\n{BLOCK}{TEXT}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("system", "think", "expected"),
    [
        ("", "none", "<|im_start|>user\n{block}a fox<|im_end|>\n<|im_start|>assistant\n"),
        (
            "",
            "empty",
            "<|im_start|>user\n{block}a fox<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        (
            "Look closely.",
            "none",
            "<|im_start|>system\nLook closely.<|im_end|>\n"
            "<|im_start|>user\n{block}a fox<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_the_prompt_is_exactly_what_was_asked_for(vl_clip, pack, system, think, expected):
    conditioning, prompt = run(
        pack.VLEncode,
        clip=vl_clip,
        image=as_input(noise_images(1)),
        text="a fox",
        layer=0,
        system_prompt=system,
        think_block=think,
    )
    assert prompt == expected.format(block=BLOCK)
    ids = record(conditioning).ids
    assert ids.count(151667) == (think == "empty")
    assert (Role.SYSTEM in record(conditioning).roles) == bool(system)


def test_thoughts_stand_behind_the_image_and_may_not_bring_one(vl_clip, pack):
    given = {"clip": vl_clip, "image": as_input(noise_images(1)), "layer": 0}
    _, prompt = run(pack.VLEncode, **given, think_block="open", think_text="a fox")
    assert prompt == f"<|im_start|>user\n{BLOCK}<|im_end|>\n<|im_start|>assistant\n<think>\na fox"
    with pytest.raises(ValueError, match="the think_text holds <.image_pad.>"):
        run(pack.VLEncode, **given, think_text="<|image_pad|>")


def test_a_sweep_of_an_image_is_vl_image_token_encode_at_each_layer_from_one_pass(vl_clip, pack):
    image = as_input(noise_images(1))
    passes = []
    handle = vl_clip.cond_stage_model.qwen3vl_4b.transformer.register_forward_pre_hook(
        lambda *_: passes.append(1)
    )
    given = {"clip": vl_clip, "image": image, "text": TEXT, "tokens": "image + markers"}
    try:
        swept, labels = run(pack.LayerSweep, layers="-2, -6, 0", **given)
    finally:
        handle.remove()
    assert len(passes) == 1 and labels == ["layer -2", "layer -6", "layer -9"]
    for conditioning, layer in zip(swept, (-2, -6, 0), strict=True):
        alone, _ = run(pack.VLEncode, layer=layer, **given)
        assert torch.equal(states(conditioning), states(alone))
        assert record(conditioning) == record(alone)
    with pytest.raises(ValueError, match="taps is 'solo', which sweeps a text alone"):
        run(pack.LayerSweep, layers="-2", taps="solo", **given)


def test_the_default_layer_is_minus_6_and_every_token(vl_clip, pack):
    conditioning, _ = run(pack.VLEncode, clip=vl_clip, image=as_input(noise_images(1)))
    assert record(conditioning).layer == -6
    assert states(conditioning).shape == (1, 90, 2560)


def test_the_preview_shows_tokens_sizes_and_prompt(vl_clip, pack):
    result = output(pack.VLEncode, clip=[vl_clip], image=[as_input(noise_images(2))], layer=[0])
    shown = result.ui["text"][0]
    [conditioning], _ = result.args
    assert f"{len(record(conditioning))} tokens" in shown
    assert "image 1: 256x256" in shown and "image 2: 256x256" in shown
    assert BLOCK * 2 in shown


@pytest.mark.parametrize(("layer", "blocks"), [(-6, 3), (0, 1), (-1, 8)])
def test_blocks_above_the_layer_are_not_run(vl_clip, pack, layer, blocks):
    ran: list[int] = []
    layers = vl_clip.cond_stage_model.qwen3vl_4b.transformer.model.layers
    handles = [
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(layers)
    ]
    try:
        run(pack.VLEncode, clip=vl_clip, image=as_input(noise_images(1)), layer=layer)
    finally:
        for handle in handles:
            handle.remove()
    assert ran == list(range(blocks))
