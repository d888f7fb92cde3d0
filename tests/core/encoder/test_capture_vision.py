"""Qwen3-VL: what is captured is what the next block reads, DeepStack features included.

transformers records hidden_states[1..n] of a model with n DeepStack features *before* they are
added, so the truth for these is put together by hand from the vision tower's own output.
"""

import pytest
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from zimage_layer_lab.core.encoder.capture import capture_hidden_states, find_decoder

BLOCKS = 5
WIDTH = 32
IMAGE, START, END = 60, 61, 62
DEEPSTACK = 3
GRID = (1, 4, 6)  # patches; 2 x 2 of them are one token
IMAGE_TOKENS = 6
TEXT_CONFIG = {
    "vocab_size": 64,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    },
    "pad_token_id": 0,
}
VISION_CONFIG = {
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "out_hidden_size": WIDTH,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1, 3],
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    config = Qwen3VLConfig(
        text_config=TEXT_CONFIG,
        vision_config=VISION_CONFIG,
        image_token_id=IMAGE,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )
    model = Qwen3VLForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model


@pytest.fixture(scope="module")
def inputs():
    ids = torch.tensor([[5, 9, START, *[IMAGE] * IMAGE_TOKENS, END, 17, 4, 33]])
    patches = GRID[0] * GRID[1] * GRID[2]
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == IMAGE).int(),
        "pixel_values": torch.randn(patches, 3 * 2 * 16 * 16, generator=generator),
        "image_grid_thw": torch.tensor([GRID]),
    }


@pytest.fixture(scope="module")
def truth(model, inputs):
    """transformers' hidden states, the DeepStack features added where it leaves them out."""
    with torch.no_grad():
        states = list(model(**inputs, output_hidden_states=True).hidden_states)
        features = model.model.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
        ).deepstack_features
    assert len(states) == BLOCKS + 1 and len(features) == DEEPSTACK
    is_image = inputs["input_ids"] == IMAGE
    for number, feature in enumerate(features):
        feature = torch.cat(list(feature)) if isinstance(feature, (list, tuple)) else feature
        state = states[number + 1].clone()
        state[is_image] += feature
        states[number + 1] = state
    return states


def captured(model, inputs, layers):
    with torch.no_grad(), capture_hidden_states(find_decoder(model), layers) as capture:
        model(**inputs)
    (states,) = capture.passes
    return states


def assert_close(got, want):
    assert got.shape == want.shape
    assert float((got - want).abs().max()) <= 1e-5 * float(want.pow(2).mean().sqrt())


def test_every_layer_in_one_pass_includes_deepstack(model, inputs, truth):
    got = captured(model, inputs, range(BLOCKS + 1))
    for index, want in enumerate(truth):
        assert_close(got[index], want)


@pytest.mark.parametrize("index", range(BLOCKS + 1))
def test_a_pass_cut_short_at_any_layer_includes_deepstack(model, inputs, truth, index):
    """Cut right after a block with DeepStack, its features must still be there."""
    assert_close(captured(model, inputs, [index])[index], truth[index])


def test_the_deepstack_features_of_this_model_are_not_small(model, inputs, truth):
    """Otherwise the tests above would prove nothing."""
    with torch.no_grad():
        raw = model(**inputs, output_hidden_states=True).hidden_states
    is_image = (inputs["input_ids"] == IMAGE)[0]
    for index in range(1, DEEPSTACK + 1):
        gap = (truth[index] - raw[index])[0]
        assert float(gap[is_image].norm()) > 1e-2 * float(raw[index][0, is_image].norm())
        assert not gap[~is_image].any()


def test_the_text_decoder_is_found_not_the_vision_tower(model):
    assert find_decoder(model) is model.model.language_model


def test_a_prompt_without_an_image_equals_transformers(model, inputs):
    ids = torch.tensor([[5, 9, 17, 4]])
    with torch.no_grad():
        want = model(input_ids=ids, output_hidden_states=True).hidden_states
    got = captured(model, {"input_ids": ids}, range(BLOCKS + 1))
    for index, state in enumerate(want):
        assert_close(got[index], state)
