"""Prompts in the templates that ComfyUI's tokenizers hold, written down here again."""

import pytest
from zimage_layer_lab.core.taps.template import OWN, fill_template

KLEIN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
KREA = (
    "<|im_start|>system\nDescribe the image:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
MISTRAL = "[SYSTEM_PROMPT]You are an AI\nof few words.[/SYSTEM_PROMPT][INST]{}[/INST]"
TEXT = "a {fox} \\1 {}"
EMPTY = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize("template", [KLEIN, KREA, MISTRAL])
def test_nothing_changed_is_the_template_with_the_text(template):
    assert fill_template(template, TEXT) == template.format(TEXT)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (KLEIN, "<|im_start|>system\nBe {}.<|im_end|>\n" + KLEIN.format(TEXT)),
        (KREA, KREA.replace("Describe the image:", "Be {{}}.").format(TEXT)),
        (MISTRAL, f"[SYSTEM_PROMPT]Be {{}}.[/SYSTEM_PROMPT][INST]{TEXT}[/INST]"),
    ],
)
def test_a_system_prompt_takes_the_place_of_the_templates_own(template, expected):
    assert fill_template(template, TEXT, "Be {}.") == expected


def test_the_think_block_is_the_templates_own_or_the_one_chosen():
    without = KLEIN.removesuffix(EMPTY)
    assert fill_template(KLEIN, "fox", think_block="none") == without.format("fox")
    assert fill_template(KLEIN, "fox", think_block="empty") == KLEIN.format("fox")
    assert fill_template(KREA, "fox", think_block="none") == KREA.format("fox")
    assert fill_template(KREA, "fox", think_block="empty") == KREA.format("fox") + EMPTY


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"think_block": "empty"}, "no assistant's turn"),
        ({"think_block": "full"}, "not one of the model's own, none, empty"),
        ({"system_prompt": None}, "system_prompt is NoneType"),
    ],
)
def test_what_does_not_fit_a_template_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        fill_template(MISTRAL, "fox", **{"think_block": OWN, **given})


def test_of_two_system_turns_the_first_is_replaced():
    turn = "<|im_start|>system\n{}<|im_end|>\n"
    template = turn.format("A") + turn.format("B") + "<|im_start|>user\n{}<|im_end|>\n"
    made = turn.format("new") + turn.format("B") + "<|im_start|>user\nfox<|im_end|>\n"
    assert fill_template(template, "fox", "new") == made
    mistral = "[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]"
    template = mistral.format("A") + mistral.format("B") + "[INST]{}[/INST]"
    made = mistral.format("new") + mistral.format("B") + "[INST]fox[/INST]"
    assert fill_template(template, "fox", "new") == made


def test_refusals_are_whole_sentences_and_read_choices_are_choices():
    with pytest.raises(ValueError) as refused:
        fill_template(MISTRAL, "fox", think_block="empty")
    assert str(refused.value) == (
        "think_block is 'empty', and this encoder's template has no assistant's turn to put one "
        'in: choose "the model\'s own"'
    )
    own = "".join(list(OWN))
    assert fill_template(MISTRAL, "fox", think_block=own) == MISTRAL.format("fox")
    with pytest.raises(ValueError, match="^text is int, not text"):
        fill_template(MISTRAL, 7)
    with pytest.raises(ValueError, match="not one of the model's own, none, empty"):
        fill_template(MISTRAL, "fox", think_block=None)
