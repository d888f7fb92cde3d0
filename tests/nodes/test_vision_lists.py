"""What VL Image Token Encode refuses, before the encoder runs: it gets none here."""

import pytest
import torch

from .stock import output

EACH = "one prompt each"


def pixels(batch: int = 1) -> torch.Tensor:
    return torch.zeros(batch, 256, 256, 3)


def refused(pack, **given: list) -> str:
    """The message for lists as the host gives them; there is no encoder to reach."""
    with pytest.raises(ValueError) as caught:
        output(pack.VLEncode, **{"clip": [None], "image": [pixels()], **given})
    return str(caught.value)


@pytest.mark.parametrize("several", ["one prompt", EACH])
def test_an_empty_list_of_images_is_refused(pack, several):
    message = refused(pack, image=[], several_images=[several])
    assert "image is an empty list" in message


@pytest.mark.parametrize("several", ["one prompt", EACH])
@pytest.mark.parametrize("bad", [None, "a.png", 7])
def test_what_is_no_image_is_refused_and_its_place_named(pack, several, bad):
    message = refused(pack, image=[pixels(), bad], several_images=[several])
    assert f"image 2 of 2 is {type(bad).__name__}, not an image" in message


@pytest.mark.parametrize("several", ["one prompt", EACH])
@pytest.mark.parametrize("shape", [(), (0, 64, 64, 3), (64, 64, 3)])
def test_a_misshapen_image_is_refused_in_one_prompt_and_in_each(pack, several, shape):
    assert "has shape" in refused(pack, image=[torch.zeros(shape)], several_images=[several])


@pytest.mark.parametrize(
    "name",
    [
        "clip",
        "text",
        "layer",
        "tokens",
        "max_image_tokens",
        "system_prompt",
        "text_place",
        "two_layers",
        "several_images",
    ],
)
def test_an_empty_list_is_refused_by_the_inputs_name(pack, name):
    assert f"input {name} is an empty list" in refused(pack, **{name: []})


@pytest.mark.parametrize("name", ["text", "system_prompt"])
def test_a_text_that_is_none_is_refused(pack, name):
    message = refused(pack, **{name: ["a fox", None]})
    assert f"{name} is NoneType, not text" in message


def test_several_images_counts_once_for_the_whole_list(pack):
    message = refused(pack, several_images=["one prompt", EACH])
    assert "several_images is a list of 2 values" in message


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("tokens", "all, image, image + markers, text"),
        ("think_block", "none, empty, open"),
        ("text_place", "after the images, before the images"),
        ("preprocessing", "exact, host"),
        ("several_images", "one prompt, one prompt each"),
    ],
)
@pytest.mark.parametrize("value", ["foo", None, ["all"]])
def test_a_connected_choice_that_is_unknown_is_refused_with_the_known_ones(
    pack, name, known, value
):
    assert f"{name} {value!r} is not one of {known}" in refused(pack, **{name: [value]})


@pytest.mark.parametrize("value", [None, "x", 100.5, 3, 12545])
def test_a_budget_that_is_no_number_of_tokens_is_refused(pack, value):
    message = refused(pack, max_image_tokens=[value])
    assert f"max_image_tokens is {value!r}: " in message and "between 4 and 12544" in message


def test_a_bad_value_late_in_a_list_is_refused_before_the_first_run(pack):
    assert "tokens 'foo'" in refused(pack, tokens=["all", "all", "foo"])


@pytest.mark.parametrize("name", ["text", "system_prompt"])
@pytest.mark.parametrize("token", ["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"])
def test_a_special_token_of_images_that_a_user_typed_is_refused(pack, name, token):
    message = refused(pack, **{name: [f"a {token} fox"]})
    assert f"the {name} holds {token}" in message and "remove it" in message


@pytest.mark.parametrize("name", ["layer", "image_layer", "text_layer"])
@pytest.mark.parametrize("value", ["x", [], {"a": 1}, 2.5, 10**400, True])
def test_a_typed_layer_that_is_no_layer_is_refused_by_validation(pack, name, value):
    message = pack.VLEncode.validate_inputs(**{name: [value]})
    assert isinstance(message, str) and message.startswith("layer ")
    alone = pack.Qwen3Encode.validate_inputs(layer=value)
    assert alone == message
