"""The prompt strings, letter by letter."""

import pytest
from zimage_layer_lab.core.encoder.prompt import THINK_BLOCKS, build_prompt, text_of_prompt


def test_plain_text_gives_the_template_of_the_z_image_pipelines():
    assert (
        build_prompt("a red fox")
        == "<|im_start|>user\na red fox<|im_end|>\n<|im_start|>assistant\n"
    )


def test_an_empty_text_is_still_a_whole_prompt():
    assert build_prompt("") == "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"


def test_the_empty_think_block_follows_the_assistants_header():
    assert build_prompt("fox", think_block="empty") == (
        "<|im_start|>user\nfox<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert set(THINK_BLOCKS) == {"none", "empty", "open"}


def test_an_open_think_block_is_what_the_thinking_models_template_ends_in():
    assert build_prompt("fox", think_block="open").endswith("<|im_start|>assistant\n<think>\n")


def test_a_system_prompt_comes_first():
    assert build_prompt("fox", system_prompt="Be terse.") == (
        "<|im_start|>system\nBe terse.<|im_end|>\n"
        "<|im_start|>user\nfox<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_thought_fills_the_block_which_is_closed_unless_it_is_open():
    """As the chat template of Qwen3 writes the thoughts of an earlier answer."""
    user = "<|im_start|>user\nfox<|im_end|>\n<|im_start|>assistant\n"
    closed = user + "<think>\nred, in snow\n</think>\n\n"
    for block in ("none", "empty"):
        assert build_prompt("fox", think_block=block, think_text="red, in snow") == closed
    assert build_prompt("fox", think_block="open", think_text="red") == user + "<think>\nred"
    assert build_prompt("fox", think_text="red, in snow", assistant_text="A") == closed + "A"
    assert build_prompt("fox", assistant_text="A fox") == user + "A fox"
    with pytest.raises(ValueError, match="think_block is 'open', so assistant_text would be"):
        build_prompt("fox", think_block="open", assistant_text="A fox")


def test_images_stand_before_the_text_each_in_its_own_markers():
    block = "<|vision_start|><|image_pad|><|vision_end|>"
    assert build_prompt("fox", images=2) == (
        f"<|im_start|>user\n{block}{block}fox<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_text_can_come_first():
    assert build_prompt("fox", images=2, text_first=True) == build_prompt(
        "fox" + "<|vision_start|><|image_pad|><|vision_end|>" * 2
    )


def test_everything_at_once_keeps_its_order():
    prompt = build_prompt("fox", "Be terse.", "empty", 1)
    parts = ["system\n", "Be terse.", "user\n", "<|vision_start|>", "fox", "assistant\n", "<think>"]
    places = [prompt.index(part) for part in parts]
    assert places == sorted(places)


def test_text_is_taken_as_it_is():
    """Braces, newlines and blanks are the user's own."""
    text = "  {prompt} %s\nand\n\n more "
    assert text in build_prompt(text)


@pytest.mark.parametrize("think_block", ["", "None", "full", "<think>"])
def test_an_unknown_think_block_is_refused_with_the_known_ones(think_block):
    with pytest.raises(ValueError, match="none, empty"):
        build_prompt("fox", think_block=think_block)


@pytest.mark.parametrize("name", ["text", "system_prompt", "think_text", "assistant_text"])
@pytest.mark.parametrize(
    ("given", "says"),
    [(None, "NoneType, not text"), (7, "int, not text"), ("a \ud83d fox", "character 3 of ")],
)
def test_what_a_tokenizer_cannot_read_is_refused_by_name(name, given, says):
    with pytest.raises(ValueError, match=says) as caught:
        build_prompt(**{"text": "fox", name: given})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "a red fox"),
        ({"think_block": "empty", "system_prompt": "Be terse."}, "a red fox"),
        ({"think_block": "open"}, "a red fox"),
        ({"system_prompt": "What stands after <|vision_start|> is a picture."}, "a red fox"),
        ({"images": 1}, None),
        ({"images": 2, "text_first": True}, None),
        ({"assistant_text": "Well,"}, None),
    ],
)
def test_the_text_of_a_prompt_is_read_back_where_it_is_all_that_was_asked(settings, text):
    assert text_of_prompt(build_prompt("a red fox", **settings)) == text
