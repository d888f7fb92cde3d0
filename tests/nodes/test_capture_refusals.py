"""What Qwen3 Encode refuses, and that a failure leaves the encoder as it was."""

import pytest
import torch

from .stock import run, states, text_encode

PROMPT = "a red fox"


@pytest.fixture(scope="module")
def clip_l(host):
    """A real CLIP-L of the host; no test runs it, so its weights do not matter."""
    return _load_by_one_key("text_model.encoder.layers.0.mlp.fc1.weight", (3072, 768))


@pytest.fixture(scope="module")
def t5(host):
    """A real T5-base of the host."""
    return _load_by_one_key("encoder.block.0.layer.0.SelfAttention.k.weight", (768, 768))


def _load_by_one_key(name: str, shape: tuple[int, int]):
    """The encoder that the host builds for a file that holds this tensor."""
    import comfy.sd

    return comfy.sd.load_text_encoder_state_dicts(
        [{name: torch.zeros(shape)}],
        clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION,
        model_options={"dtype": torch.float16},
    )


def modules_state(clip) -> list:
    """Every module of the encoder with its hooks, its children and its parameters' versions."""
    return [
        (
            name,
            id(module),
            [id(child) for child in module.children()],
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
        )
        for name, module in clip.cond_stage_model.named_modules()
    ]


@pytest.mark.parametrize("layer", [-10, 9, -37, 36])
def test_a_layer_that_this_encoder_lacks_is_refused_with_its_range(clip, pack, layer):
    with pytest.raises(ValueError, match=rf"layer {layer}\b.*-9 to -1.*0 to 8"):
        run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=layer)


@pytest.mark.parametrize("layer", [99, -38, 37])
def test_validation_names_the_range_of_an_impossible_layer(pack, layer):
    message = pack.Qwen3Encode.validate_inputs(layer=layer)
    assert str(layer) in message and "-37" in message and "36" in message


@pytest.mark.parametrize("layer", [-37, -2, 0, 36, None])
def test_validation_lets_possible_and_connected_layers_pass(pack, layer):
    assert pack.Qwen3Encode.validate_inputs(layer=layer) is True


@pytest.mark.parametrize("kind", ["clip_l", "t5"])
def test_an_encoder_that_is_no_decoder_is_refused_and_told_what_is_needed(pack, request, kind):
    with pytest.raises(ValueError) as caught:
        run(pack.Qwen3Encode, clip=request.getfixturevalue(kind), text=PROMPT)
    message = str(caught.value)
    assert "decoder" in message
    assert "CLIPLoader" in message and "lumina2" in message and "qwen_3_4b" in message


def test_a_decoder_without_qwens_tokenizer_is_refused(clip, clip_l, pack):
    other = clip.clone()
    other.tokenizer = clip_l.tokenizer
    with pytest.raises(ValueError, match=r"tokenizer.*<\|im_start\|>.*qwen_3_4b"):
        run(pack.Qwen3Encode, clip=other, text=PROMPT)


def test_a_checkpoint_without_an_encoder_is_refused(pack):
    with pytest.raises(ValueError, match="cannot be used.*qwen_3_4b"):
        run(pack.Qwen3Encode, clip=None, text=PROMPT)


def test_an_unknown_think_block_is_refused_by_name(clip, pack):
    with pytest.raises(ValueError, match="'full'.*none, empty"):
        run(pack.Qwen3Encode, clip=clip, text=PROMPT, think_block="full")


def test_the_node_leaves_no_hook_and_no_other_module_behind(clip, pack):
    before = modules_state(clip)
    run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-6)
    assert modules_state(clip) == before


@pytest.mark.parametrize("place", ["block", "decoder", "embedding"])
def test_an_error_inside_the_forward_leaves_the_encoder_whole(clip, pack, place):
    transformer = clip.cond_stage_model.qwen3_4b.transformer
    weights = [parameter.data_ptr() for parameter in transformer.parameters()]
    expected = states(text_encode(clip, PROMPT))
    layers = transformer.model.layers
    before = modules_state(clip)
    failing = {
        "block": layers[1],
        "decoder": transformer.model,
        "embedding": transformer.model.embed_tokens,
    }[place]

    def fail(*_):
        raise RuntimeError("out of memory, say")

    handle = failing.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="out of memory, say"):
            run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-6)
    finally:
        handle.remove()
    assert transformer.model.layers is layers and len(layers) == 8
    assert modules_state(clip) == before
    assert [parameter.data_ptr() for parameter in transformer.parameters()] == weights
    assert torch.equal(states(text_encode(clip, PROMPT)), expected)
    assert torch.equal(states(run(pack.Qwen3Encode, clip=clip, text=PROMPT)[0]), expected)


def test_a_refusal_leaves_the_encoder_as_it_was(clip, pack):
    before, expected = modules_state(clip), states(text_encode(clip, PROMPT))
    with pytest.raises(ValueError):
        run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=99)
    assert modules_state(clip) == before
    assert torch.equal(states(text_encode(clip, PROMPT)), expected)
