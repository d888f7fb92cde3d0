"""A pass that goes on from a given hidden state, against the whole pass of the same model."""

import pytest
import torch
from torch import nn
from zimage_layer_lab.core.encoder.capture import capture_hidden_states, find_decoder
from zimage_layer_lab.core.encoder.continuation import (
    continued_from,
    effective_norm_weight,
    observed_form,
)

from .test_capture import BLOCKS, FAMILIES, IDS, WIDTH, captured, hidden_states, make


class Block(nn.Module):
    """Writes into the hidden state that it gets, as ComfyUI's blocks do."""

    attention_type = "full"

    def __init__(self, form, number):
        super().__init__()
        self.form, self.number, self.runs = form, number, 0

    def forward(self, x, mask=None):
        self.runs += 1
        x *= 2
        x += self.number
        return x if self.form == 0 else (x, *range(self.form - 1))


class Decoder(nn.Module):
    """Calls its blocks by place, or by name, and reads what each returns by its form."""

    def __init__(self, form, by_name):
        super().__init__()
        self.form, self.by_name = form, by_name
        self.layers = nn.ModuleList(Block(form, number) for number in range(4))

    def forward(self, x):
        for block in self.layers:
            assert block.attention_type == "full"
            given = block(x=x, mask=None) if self.by_name else block(x, None)
            if self.form == 0:
                x = given
            else:
                x, *rest = given
                assert len(rest) == self.form - 1
        return x


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("form", [0, 1, 2, 3, 4])
def test_blocks_below_do_not_run_and_return_what_a_block_returns(form, by_name):
    decoder = Decoder(form, by_name)
    with observed_form(decoder) as forms:
        decoder(torch.zeros(1, 2, 3))
    assert forms == [form]
    states = torch.arange(6.0).reshape(1, 2, 3)
    before = states.clone()
    with continued_from(decoder, 2, states, forms[0]):
        result = decoder(torch.full((1, 2, 3), 99.0))
        again = decoder(torch.full((1, 2, 3), 99.0))
    # Blocks 2 and 3: ((x * 2) + 2) * 2 + 3.
    assert torch.equal(result, before * 4 + 7) and torch.equal(again, result)
    assert torch.equal(states, before), "the states were written into"
    assert [block.runs for block in decoder.layers] == [1, 1, 3, 3]
    assert torch.equal(decoder(torch.zeros(1, 2, 3)), torch.full((1, 2, 3), 11.0))
    assert len(forms) == 1


def test_after_an_error_in_the_pass_the_decoder_is_whole_again():
    decoder = Decoder(0, False)
    whole = decoder.layers
    whole[3].number = None
    with pytest.raises(TypeError), continued_from(decoder, 3, torch.zeros(1, 2, 3), 0):
        decoder(torch.zeros(1, 2, 3))
    assert decoder.layers is whole
    assert not decoder._forward_hooks and not decoder._forward_pre_hooks
    assert not whole[3]._forward_pre_hooks


@pytest.mark.parametrize("index", range(BLOCKS))
@pytest.mark.parametrize("family", FAMILIES)
def test_from_any_state_of_a_real_decoder_the_pass_ends_as_the_whole_one(family, index):
    model = make(family)
    decoder = find_decoder(model)
    states = hidden_states(model)
    with torch.no_grad():
        expected = model(IDS).logits
        with observed_form(decoder) as forms:
            model(IDS)
        other_ids = torch.full_like(IDS, 5)  # which tokens they are plays no part
        given = states[index].double()
        with continued_from(decoder, index, given, forms[0]):
            result = model(other_ids).logits
        with (
            capture_hidden_states(decoder, [index + 1]) as capture,
            continued_from(decoder, index, given, forms[0]),
        ):
            model(other_ids)
    scale = expected.square().mean().sqrt()
    assert float((result - expected).abs().max()) <= 1e-5 * float(scale)
    assert torch.equal(
        capture.passes[0][index + 1], captured(model, [index + 1]).passes[0][index + 1]
    )


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_the_weight_of_a_norm_is_what_it_multiplies_with(family):
    norm = make(family).model.norm
    own = norm.weight.detach()
    expected = own + 1 if family == "gemma3" else own
    found = effective_norm_weight(norm, WIDTH, torch.zeros(1))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, rtol=1e-5)


def test_the_bias_of_a_layer_norm_is_no_part_of_its_weight():
    norm = nn.LayerNorm(WIDTH)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, WIDTH))
        norm.bias.copy_(torch.linspace(-3, 3, WIDTH))
    found = effective_norm_weight(norm, WIDTH, torch.zeros(1))
    assert torch.allclose(found, norm.weight, rtol=1e-4)
