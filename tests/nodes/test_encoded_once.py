"""The same prompt or image again: what runs, and that the result is the stock encoder's."""

import gc

import pytest
import torch

from .stock import output, run, states, text_encode

TEXT = "a red fox in deep snow"


def counted(modules):
    """A list that grows by a module's place among ``modules`` when it runs, and the hooks."""
    runs: list[int] = []
    handles = [
        module.register_forward_hook(lambda *_, place=place: runs.append(place))
        for place, module in enumerate(modules)
    ]
    return runs, handles


@pytest.fixture
def blocks(clip):
    """The places of the text encoder's blocks that ran."""
    runs, handles = counted(clip.cond_stage_model.qwen3_4b.transformer.model.layers)
    yield runs
    for handle in handles:
        handle.remove()


@pytest.fixture
def looks(vl_clip):
    """One 0 for each time that the vision tower ran."""
    runs, handles = counted([vl_clip.cond_stage_model.qwen3vl_4b.transformer.visual])
    yield runs
    for handle in handles:
        handle.remove()


def depth(clip):
    return len(clip.cond_stage_model.qwen3_4b.transformer.model.layers)


@pytest.mark.parametrize("layers", [(-2, -6), (-6, -2), (-2, -2), (-6, -2, -1, -3)])
def test_layers_of_one_text_cost_the_deepest_and_are_the_stock_encoders(clip, pack, blocks, layers):
    # -1 is the normed state here and the un-normed one in the host: seen in test_capture.
    stock = {layer: states(text_encode(clip, TEXT, layer=layer)) for layer in layers if layer < -1}
    blocks.clear()
    for layer in layers:
        conditioning, prompt = run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=layer)
        if layer in stock:
            assert torch.equal(states(conditioning), stock[layer])
        assert TEXT in prompt
    assert blocks == list(range(depth(clip) + max(layers) + 1))


def test_the_final_layer_is_the_same_however_it_is_come_by(clip, pack):
    from zimage_layer_lab.nodes import encoded_once

    whole, _ = run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-1)
    encoded_once.RECENT.clear()
    run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-2)
    again, _ = run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-1)
    assert torch.equal(states(whole), states(again))


def test_another_node_goes_on_from_there_too(clip, pack, blocks):
    run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-2)
    blocks.clear()
    conditionings, _ = output(pack.LayerSweep, clip=clip, text=TEXT, layers="-2, -6").args
    assert blocks == []
    assert torch.equal(states(conditionings[1]), states(text_encode(clip, TEXT, layer=-6)))


def test_another_text_is_encoded(clip, pack, blocks):
    run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-2)
    blocks.clear()
    other, _ = run(pack.Qwen3Encode, clip=clip, text="a blue whale", layer=-2)
    assert len(blocks) == depth(clip) - 1
    assert torch.equal(states(other), states(text_encode(clip, "a blue whale")))


def test_what_a_user_gets_is_a_copy(clip, pack):
    first, _ = run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-6)
    expected = states(first).clone()
    states(first).zero_()
    second, _ = run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-6)
    assert torch.equal(states(second), expected)


def test_a_model_that_is_gone_leaves_nothing(host, pack):
    from zimage_layer_lab.nodes import encoded_once

    own = host.nodes.CLIPLoader().load_clip("qwen_3_4b.safetensors", "lumina2")[0]
    run(pack.Qwen3Encode, clip=own, text=TEXT)
    assert len(encoded_once.RECENT) == 1
    import comfy.model_management

    comfy.model_management.unload_all_models()
    del own
    gc.collect()
    assert len(encoded_once.RECENT) == 0


def test_patches_without_a_mark_are_encoded_every_time(clip, pack, blocks):
    patched = clip.clone()
    patched.patcher.add_object_patch("logit_scale", torch.tensor(0.0))
    for _ in range(2):
        blocks.clear()
        run(pack.Qwen3Encode, clip=patched, text=TEXT, layer=-6)
        assert blocks


def noise(seed, batch=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 256, 256, 3, generator=generator)


def look(pack, vl_clip, image, text, layer=-2):
    return run(pack.VLEncode, clip=vl_clip, image=image, text=text, layer=layer)[0]


def test_an_image_is_looked_at_once_for_any_text_and_layer(vl_clip, pack, looks):
    from zimage_layer_lab.nodes import encoded_once

    image = noise(1)
    for text, layer in (("a fox", -2), ("a fox", -6), ("a whale", -2), ("", -1)):
        look(pack, vl_clip, image, text, layer)
    assert len(looks) == 1
    shared = look(pack, vl_clip, image, "a hare")
    assert len(looks) == 1
    encoded_once.RECENT.clear()
    alone = look(pack, vl_clip, image, "a hare")
    assert len(looks) == 2
    assert torch.equal(states(shared), states(alone))


def test_another_image_or_one_in_another_place_is_told_apart(vl_clip, pack, looks):
    from zimage_layer_lab.nodes import encoded_once

    first, second = noise(1), noise(2)
    both = look(pack, vl_clip, torch.cat([first, second]), "two")
    swapped = look(pack, vl_clip, torch.cat([second, first]), "two")
    assert len(looks) == 2
    assert not torch.equal(states(both), states(swapped))
    encoded_once.RECENT.clear()
    assert torch.equal(
        states(swapped), states(look(pack, vl_clip, torch.cat([second, first]), "two"))
    )


def test_the_encoder_has_its_own_way_of_reading_images_back(vl_clip, pack):
    transformer = vl_clip.cond_stage_model.qwen3vl_4b.transformer
    look(pack, vl_clip, noise(1), "a fox")
    assert "preprocess_embed" not in vars(transformer)
