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
