"""Qwen3 Layer Sweep against the stock text encode, transformers' Qwen3 and the single encode."""

import pytest
import torch
from safetensors.torch import save_file
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import QUERIES, output, record, run, same_options, states, text_encode
from .twins import Qwen3Twin, largest_error

PROMPT = "A red fox in deep snow, 35 mm film"


@pytest.fixture(scope="module")
def everything(clip, pack):
    """(conditionings, labels) of all nine hidden states."""
    with torch.inference_mode():
        return run(pack.LayerSweep, clip=clip, text=PROMPT, layers="all")


def test_all_hidden_states_equal_transformers(host, clip, everything):
    ids = [entry[0] for entry in clip.tokenize(PROMPT)["qwen3_4b"][0]]
    path = host.base / "models/text_encoders/qwen_3_4b.safetensors"
    expected = Qwen3Twin(path, load_sizes()).states(ids)
    conditionings, _ = everything
    assert len(conditionings) == len(expected) == 9
    for conditioning, hidden in zip(conditionings, expected, strict=True):
        assert largest_error(states(conditioning), hidden) < 1e-4


@pytest.mark.parametrize("layer", range(-8, -1))
def test_each_layer_is_set_last_layer_and_clip_text_encode_bitwise(clip, everything, layer):
    conditioning = everything[0][layer]
    [[hidden, options]] = text_encode(clip, PROMPT, layer=layer)
    assert torch.equal(states(conditioning), hidden)
    assert same_options(conditioning[0][1], options)


def test_each_layer_is_the_single_encode_with_its_record(clip, pack):
    settings = {"system_prompt": "Be brief.", "think_block": "empty"}
    conditionings, _ = run(
        pack.LayerSweep, clip=clip, text=PROMPT, layers="-1, 0, -6..-5", **settings
    )
    for conditioning, layer in zip(conditionings, [-1, -9, -6, -5], strict=True):
        alone, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=layer, **settings)
        assert torch.equal(states(conditioning), states(alone))
        assert record(conditioning) == record(alone) and record(alone).layer == layer


def test_labels_name_the_layers_in_the_order_written(clip, pack, everything):
    assert everything[1] == [f"layer {layer}" for layer in range(-9, 0)]
    conditionings, labels = run(pack.LayerSweep, clip=clip, text="", layers="-6, 7, -2, -3..-5")
    assert labels == ["layer -6", "layer -2", "layer -3", "layer -4", "layer -5"]
    assert [f"layer {record(one).layer}" for one in conditionings] == labels


def test_the_default_is_the_two_layers_of_the_headline(clip, pack):
    _, labels = run(pack.LayerSweep, clip=clip, text=PROMPT)
    assert labels == ["layer -2", "layer -6"]


def test_a_sweep_is_one_pass_and_runs_no_block_above_its_highest_layer(clip, pack, decoder_passes):
    ran: list[int] = []
    blocks = clip.cond_stage_model.qwen3_4b.transformer.model.layers
    handles = [
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(blocks)
    ]
    try:
        run(pack.LayerSweep, clip=clip, text=PROMPT, layers="-7, -5..-9, -6")
    finally:
        for handle in handles:
            handle.remove()
    assert len(decoder_passes) == 1
    assert ran == [0, 1, 2, 3]


def test_the_states_of_a_sweep_share_no_memory(clip, pack):
    """A node downstream that writes into one must not change another."""
    conditionings, _ = run(pack.LayerSweep, clip=clip, text="fox", layers="all")
    assert len({states(one).data_ptr() for one in conditionings}) == 9


def test_a_lora_on_the_encoder_is_kept_at_every_layer(host, clip, pack):
    import comfy.model_management

    generator = torch.Generator().manual_seed(5)
    weights = {}
    for block in (1, 6):
        key = f"text_encoders.qwen3_4b.transformer.model.layers.{block}.self_attn.q_proj"
        weights[f"{key}.lora_up.weight"] = torch.randn(QUERIES, 2, generator=generator) * 0.1
        weights[f"{key}.lora_down.weight"] = torch.randn(2, 2560, generator=generator) * 0.1
    folder = host.base / "models/loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "lab_sweep.safetensors")
    plain, _ = run(pack.LayerSweep, clip=clip, text=PROMPT, layers="-2, -6")
    comfy.model_management.unload_all_models()
    [_, lora_clip] = host.nodes.LoraLoader().load_lora(None, clip, "lab_sweep.safetensors", 0, 1.0)
    conditionings, _ = run(pack.LayerSweep, clip=lora_clip, text=PROMPT, layers="-2, -6")
    for conditioning, without, layer in zip(conditionings, plain, (-2, -6), strict=True):
        assert torch.equal(states(conditioning), states(text_encode(lora_clip, PROMPT, layer)))
        assert not torch.equal(states(conditioning), states(without))
    comfy.model_management.unload_all_models()


def test_both_outputs_are_lists_so_that_the_host_runs_what_follows_once_per_layer(pack):
    assert [output.is_output_list for output in pack.LayerSweep.GET_SCHEMA().outputs] == [True] * 2
    assert pack.LayerSweep.GET_NODE_INFO_V1()["output_is_list"] == [True, True]


def test_the_preview_names_the_layers_the_tokens_and_the_prompt(clip, pack):
    sweep = output(pack.LayerSweep, clip=clip, text="a red fox", layers="-2, -4..-6")
    shown = sweep.ui["text"][0]
    assert "11 tokens at 4 layers" in shown and "-2, -4, -5, -6" in shown
    assert "<|im_start|>user\na red fox<|im_end|>\n<|im_start|>assistant\n" in shown


@pytest.mark.parametrize("layers", ["-10", "9", "-2, -10", "-2..-30"])
def test_a_layer_that_this_encoder_lacks_is_refused_before_it_runs(
    clip, pack, decoder_passes, layers
):
    with pytest.raises(ValueError, match="8 blocks.*-9 to -1"):
        run(pack.LayerSweep, clip=clip, text=PROMPT, layers=layers)
    assert not decoder_passes


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ("", "empty"),
        ("two", "'two'"),
        ("-2..", "'-2..'"),
        ("1.5", "'1.5'"),
        ("-2,", "comma"),
        ("-38", "-38"),
        ("-2..-99", "-99"),
    ],
)
def test_a_bad_list_is_refused_by_validation_and_when_it_is_connected(clip, pack, layers, named):
    assert named in pack.LayerSweep.validate_inputs(layers=layers)
    with pytest.raises(ValueError, match=named):
        run(pack.LayerSweep, clip=clip, text=PROMPT, layers=layers)


@pytest.mark.parametrize("layers", ["-2, -6", "-37..36", "all", None])
def test_validation_lets_possible_and_connected_lists_pass(pack, layers):
    assert pack.LayerSweep.validate_inputs(layers=layers) is True
    assert pack.LayerSweep.validate_inputs() is True
