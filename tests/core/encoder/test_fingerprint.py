"""A fingerprint tells models apart, not their file formats."""

import copy

import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM
from zimage_layer_lab.core.encoder.capture import find_decoder
from zimage_layer_lab.core.encoder.fingerprint import fingerprint


def decoder(seed=0, blocks=3):
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=blocks,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    found = find_decoder(Qwen3ForCausalLM(config))
    with torch.no_grad():
        for name, weight in found.named_parameters():
            if "norm" in name:
                weight.copy_(torch.rand(weight.shape).bfloat16())
    return found


def test_the_same_weights_in_another_dtype_have_the_same_fingerprint():
    model = decoder()
    assert fingerprint(model) == fingerprint(copy.deepcopy(model).bfloat16())


def test_a_change_of_the_matrices_alone_keeps_it():
    """A LoRA, or fp8: the norms are what every format keeps."""
    model = decoder()
    before = fingerprint(model)
    with torch.no_grad():
        model.layers[0].self_attn.q_proj.weight.mul_(1.5)
    assert fingerprint(model) == before


def test_only_the_norms_count_of_what_has_one_dimension():
    """Quantised formats keep scales beside their matrices, and some decoders biases."""
    model = decoder()
    before = fingerprint(model)
    model.layers[0].self_attn.q_proj.bias = nn.Parameter(torch.ones(16))
    model.layers[2].mlp.register_parameter("scale", nn.Parameter(torch.ones(1)))
    model.layers[0].input_layernorm.register_parameter("table", nn.Parameter(torch.ones(2, 2)))
    assert fingerprint(model) == before


def test_other_norms_or_another_depth_have_another():
    prints = {fingerprint(decoder(0)), fingerprint(decoder(1)), fingerprint(decoder(0, blocks=4))}
    assert len(prints) == 3
