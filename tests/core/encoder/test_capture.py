"""Capture against transformers' own `output_hidden_states`, on tiny random models."""

import copy

import pytest
import torch
import transformers
from torch import nn
from zimage_layer_lab.core.encoder.capture import (
    NotADecoderError,
    capture_hidden_states,
    find_decoder,
)
from zimage_layer_lab.core.encoder.layers import LayerRangeError

BLOCKS = 4
WIDTH = 32
TEXT = {
    "vocab_size": 64,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {"sliding_window": 4}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {"sliding_window": 4}),
}


def make(family):
    config, model, extra = FAMILIES[family]
    torch.manual_seed(7)
    config = getattr(transformers, config)(**TEXT, **extra)
    built = getattr(transformers, model)(config).float().eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "norm" in name:  # a norm of all ones would hide a missing or doubled one
                parameter.add_(torch.rand_like(parameter))
            else:
                parameter.mul_(8)
    return built


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return make(request.param)


@pytest.fixture(scope="module")
def qwen3():
    return make("qwen3")


IDS = torch.tensor([[3, 17, 9, 41, 5, 60, 22], [8, 1, 33, 2, 50, 11, 19]])


def hidden_states(model, ids=IDS):
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states


def captured(model, layers, ids=IDS):
    with torch.no_grad(), capture_hidden_states(find_decoder(model), layers) as capture:
        model(ids)
    return capture


def assert_close(got, want):
    scale = want.pow(2).mean().sqrt()
    assert got.shape == want.shape
    assert float((got - want).abs().max()) <= 1e-5 * float(scale)


def test_every_layer_in_one_pass_equals_transformers(model):
    got = captured(model, range(BLOCKS + 1)).passes
    want = hidden_states(model)
    assert len(got) == 1 and sorted(got[0]) == list(range(BLOCKS + 1)) == list(range(len(want)))
    for index, state in enumerate(want):
        assert_close(got[0][index], state)


@pytest.mark.parametrize("layer", range(-BLOCKS - 1, 0))
def test_one_negative_layer_from_a_truncated_pass_equals_transformers(model, layer):
    (states,) = captured(model, [layer]).passes
    ((index, state),) = states.items()
    assert index == BLOCKS + 1 + layer
    assert_close(state, hidden_states(model)[layer])


@pytest.mark.parametrize(
    ("layers", "run"), [([-1], 4), ([-2], 3), ([-2, -4], 3), ([1], 1), ([0], 1), ([0, 2], 2)]
)
def test_blocks_above_the_highest_wanted_layer_are_not_run(model, layers, run):
    """Counted by hooks on the blocks themselves, not by what the capture says of itself."""
    calls = []
    decoder = find_decoder(model)
    handles = [
        block.register_forward_hook(lambda *_, number=number: calls.append(number))
        for number, block in enumerate(decoder.layers)
    ]
    try:
        capture = captured(model, layers)
    finally:
        for handle in handles:
            handle.remove()
    assert calls == list(range(run))
    assert (capture.blocks, capture.blocks_run) == (BLOCKS, run)


def test_layers_named_twice_are_kept_once(qwen3):
    (states,) = captured(qwen3, [-2, 3, -2]).passes
    assert list(states) == [3]


def test_every_pass_within_the_context_is_recorded_by_itself(qwen3):
    """ComfyUI encodes a long prompt or a batch in several passes."""
    with torch.no_grad(), capture_hidden_states(find_decoder(qwen3), [-2]) as capture:
        qwen3(IDS[:1])
        qwen3(IDS[1:, :3])
    assert len(capture.passes) == 2
    assert_close(capture.passes[0][3], hidden_states(qwen3, IDS[:1])[-2])
    assert_close(capture.passes[1][3], hidden_states(qwen3, IDS[1:, :3])[-2])


def hooks_on(model):
    """Every hook by module; transformers leaves some of its own after output_hidden_states."""
    return {
        name: (list(module._forward_hooks), list(module._forward_pre_hooks))
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("flag", [False, True])
def test_a_first_pass_that_was_cut_short_does_not_change_later_ones(flag):
    """transformers sets up its own recording on the first pass that asks for hidden states."""
    model, twin = make("qwen3"), make("qwen3")
    with torch.no_grad(), capture_hidden_states(find_decoder(model), [1]):
        model(IDS, output_hidden_states=flag)
    after, want = hidden_states(model), hidden_states(twin)
    assert len(after) == len(want)
    assert all(torch.equal(one, other) for one, other in zip(after, want, strict=True))


def test_nothing_is_left_behind_and_the_model_gives_unchanged_results():
    model = make("qwen3")
    decoder = find_decoder(model)
    layers, before = decoder.layers, hidden_states(model)
    weights = copy.deepcopy(model.state_dict())
    hooks = hooks_on(model)
    captured(model, [-2, 1])
    assert decoder.layers is layers and len(layers) == BLOCKS
    assert hooks_on(model) == hooks
    assert list(model.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for one, other in zip(hidden_states(model), before, strict=True):
        assert torch.equal(one, other)


def test_the_blocks_are_cut_only_while_the_decoder_runs(qwen3):
    """ComfyUI walks the module tree between passes and would lose patches of hidden blocks."""
    decoder = find_decoder(qwen3)
    whole = decoder.layers
    with torch.no_grad(), capture_hidden_states(decoder, [1]):
        assert decoder.layers is whole
        qwen3(IDS)
        assert decoder.layers is whole


def failing_block(*_):
    raise RuntimeError("out of memory, say")


def test_the_blocks_are_back_after_a_forward_that_raises():
    model = make("llama")
    decoder = find_decoder(model)
    whole = decoder.layers
    handle = whole[1].register_forward_hook(failing_block)
    with capture_hidden_states(decoder, [-2]):
        with pytest.raises(RuntimeError, match="out of memory"), torch.no_grad():
            model(IDS)
        assert decoder.layers is whole, "restored before the context ends"
    handle.remove()
    assert decoder.layers is whole
    (states,) = captured(model, [-2]).passes
    assert_close(states[3], hidden_states(model)[-2])


def test_hooks_are_gone_after_the_body_raises(qwen3):
    hooks = hooks_on(qwen3)
    with pytest.raises(KeyError), capture_hidden_states(find_decoder(qwen3), [-2]):
        raise KeyError("unrelated")
    assert hooks_on(qwen3) == hooks


class InPlaceBlock(nn.Module):
    """Overwrites its input, as ComfyUI's blocks do."""

    def forward(self, x):
        x += 1.0
        return x


class InPlaceDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(InPlaceBlock() for _ in range(BLOCKS))
        self.norm = nn.Identity()

    def forward(self, x):
        for block in self.layers:
            x = block(x=x)
        return self.norm(x).mul_(-1.0)


def test_captured_states_are_not_overwritten_by_later_blocks():
    decoder = InPlaceDecoder()
    with capture_hidden_states(decoder, range(BLOCKS + 1)) as capture:
        decoder(torch.zeros(1, 3, WIDTH))
    (states,) = capture.passes
    assert [float(states[index].unique()) for index in range(BLOCKS + 1)] == [0, 1, 2, 3, 4]
    pointers = {state.data_ptr() for state in states.values()}
    assert len(pointers) == BLOCKS + 1, "no two layers share memory"


class TwiceNormed(InPlaceDecoder):
    """Norms an intermediate state after the last one, as ComfyUI's decoders do for some types."""

    def forward(self, x):
        first = self.layers[0](x=x.clone())
        for block in self.layers:
            x = block(x=x)
        return self.norm(x), self.norm(first)


@pytest.mark.parametrize("layer", [2, BLOCKS - 1, BLOCKS])
def test_a_norm_that_is_called_again_changes_no_state(layer):
    decoder, received = TwiceNormed(), []
    with capture_hidden_states(decoder, [layer]) as kept:
        decoder(torch.zeros(1, 3, WIDTH))
    with capture_hidden_states(decoder, [layer], lambda *given: received.append(given)):
        decoder(torch.zeros(1, 3, WIDTH))
    [(index, hidden)] = received
    assert index == layer
    assert kept.passes[0][layer].unique().item() == layer == hidden.unique().item()


def test_captured_states_carry_no_graph(qwen3):
    with capture_hidden_states(find_decoder(qwen3), [-2]) as capture:
        qwen3(IDS)
    assert not capture.passes[0][3].requires_grad


@pytest.mark.parametrize("layer", [BLOCKS + 1, -BLOCKS - 2])
def test_a_layer_that_the_decoder_lacks_is_refused_before_anything_runs(qwen3, layer):
    with pytest.raises(LayerRangeError, match="4 blocks"):
        captured(qwen3, [-2, layer])


def test_no_layer_at_all_is_refused(qwen3):
    with pytest.raises(ValueError, match="no layer"):
        captured(qwen3, [])


def test_the_decoder_is_found_in_the_model_in_its_wrapper_and_in_itself(qwen3):
    assert find_decoder(qwen3) is qwen3.model
    assert find_decoder(qwen3.model) is qwen3.model
    host = nn.Module()
    host.transformer = qwen3
    assert find_decoder(host) is qwen3.model, "ComfyUI keeps the model in `transformer`"


def clip_l():
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=64,
            hidden_size=WIDTH,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    )


def t5():
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4
        )
    )


@pytest.mark.parametrize("build", [clip_l, t5, lambda: nn.Linear(2, 2)])
def test_an_encoder_that_is_no_decoder_lm_is_refused_by_name(build):
    module = build()
    with pytest.raises(NotADecoderError, match=type(module).__name__):
        find_decoder(module)


def test_blocks_that_pass_on_several_streams_are_refused():
    """As hyper-connections do; Gemma 3n's own is in tests/cli/model."""

    class Streams(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Identity(), nn.Identity()])
            self.norm = nn.Identity()

        def forward(self, x):
            x = x[:, :, None].expand(-1, -1, 4, -1)
            for layer in self.layers:
                x = layer(x)
            return self.norm(x.mean(2))

    decoder = Streams()
    x = torch.ones(1, 3, 8)
    for receive in (None, lambda index, hidden: None):
        with (
            pytest.raises(NotADecoderError, match=r"Streams has no.*state 1 is.*\(1, 3, 4, 8\)"),
            capture_hidden_states(decoder, [1, 2], receive),
        ):
            decoder(x)
    assert len(decoder.layers) == 2 and decoder(x).shape == (1, 3, 8)
