"""The class of a token by its text and what stands before it."""

import pytest
from zimage_layer_lab.core.dimension.token_classes import CLASSES, classify_tokens


def classes(*texts, special=()):
    return classify_tokens(texts, [text in special for text in texts])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *((text, "blank") for text in ("", " ", "\n\n", "\t ", "\u3000")),
        *((text, "bytes") for text in ("\ufffd", " a\ufffd", "\ufffd狐")),
        *((text, "CJK") for text in ("狐", " a狐", "きつね", "キ", "여우", "ㄅ", "〇")),
        *((text, "word start") for text in ("fox", " fox", "é", "3d", "\nfox", "x!", "Ω")),
        *((text, "digit") for text in ("7", " 42", "1.5", "½", "Ⅷ", "٣", "7%")),
        *((text, "punctuation") for text in (",", " --", "$", "+=", "→", "…")),
        *((text, "other") for text in ("\u0301", "\u200d", "\x00", ",\u200d")),
    ],
)
def test_a_first_token_by_its_text(text, name):
    assert classes(text) == [name] and name in CLASSES


@pytest.mark.parametrize(
    ("before", "name"),
    [
        *((text, "word start") for text in (",", " ", "7", "狐", "\u200d", "<s>")),
        *((text, "word part") for text in ("fox", " fox", "\ufffd")),
    ],
)
def test_letters_go_on_with_a_word_and_with_a_broken_character(before, name):
    assert classes(before, "es", special=("<s>",))[1] == name
    assert classes(before, " es", special=("<s>",))[1] == "word start"


def test_a_word_of_three_parts_and_a_special_token_with_letters():
    assert classes(" fo", "xe", "s", ",", "s") == [
        "word start",
        "word part",
        "word part",
        "punctuation",
        "word start",
    ]
    assert classes("user", "fox", special=("user",)) == ["special", "word start"]


def test_every_text_needs_to_be_told_whether_it_is_special():
    with pytest.raises(ValueError):
        classify_tokens(["a", "b"], [True])
