"""What the syntax of weights has beyond ComfyUI's, and its errors.

What both have is compared in ``tests/nodes/test_weighted_encode.py``.
"""

import pytest
from zimage_layer_lab.core.prompt_weights.parsing import parse_weights


@pytest.mark.parametrize(
    ("text", "stretches"),
    [
        ("a [fog]", [("a ", 1.0), ("fog", 1 / 1.1)]),
        ("[[a]]", [("a", 1 / 1.1 / 1.1)]),
        ("(a [b] c:2)", [("a ", 2.0), ("b", 2 * (1 / 1.1)), (" c", 2.0)]),
        ("[a:b:0.5]", [("a:b:0.5", 1 / 1.1)]),
        (r"\[a\] \(b", [("[a] (b", 1.0)]),
    ],
)
def test_brackets_weaken_and_a_backslash_makes_them_text(text, stretches):
    got = parse_weights(text)
    assert [one.text for one in got] == [text for text, _ in stretches]
    assert [one.weight for one in got] == pytest.approx([weight for _, weight in stretches])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a (red fox", r"'\(' at character 3, which nothing closes.*write '\)' behind"),
        ("a red) fox", r"'\)' at character 6, which closes nothing: remove it"),
        ("(a [b) c]", r"'\)' at character 6, which closes nothing \('\[' at 4 is open\)"),
        ("a () fox", r"'\(' at character 3 around no words"),
        ("a ( :1.4) fox", r"'\(' at character 3 around no words"),
        ("(red:1,4)", r"the weight '1,4' of the '\(' at character 1 of text is no number"),
        ("(red:1.4.2)", "is no number: write it like"),
        ("(red:nan)", "the weight of 'red' is nan: it must be a number between -10 and 10"),
        ("(red:inf)", "the weight of 'red' is inf"),
        ("(red:11)", "the weight of 'red' is 11.0"),
        ("(" * 26 + "a" + ")" * 26, "the weight of 'a' is 11.9"),
    ],
)
def test_bad_marks_and_weights_are_named(text, named):
    with pytest.raises(ValueError, match=named):
        parse_weights(text)


def test_only_a_text_has_weights():
    with pytest.raises(ValueError, match="text is int, not text"):
        parse_weights(3)


ESCAPED = (
    ". A parenthesis or bracket that belongs to the text has a backslash before it: \\( \\) \\[ \\]"
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a red) fox",
            "text has ')' at character 6, which closes nothing: remove it, or open it before"
            + ESCAPED,
        ),
        (
            "(a [b) c]",
            "text has ')' at character 6, which closes nothing ('[' at 4 is open): remove it, or "
            "open it before" + ESCAPED,
        ),
        (
            "(a] b",
            "text has ']' at character 3, which closes nothing ('(' at 1 is open): remove it, or "
            "open it before" + ESCAPED,
        ),
        (
            "(a [fog",
            "text has '[' at character 4, which nothing closes: remove it, or write ']' behind "
            "its words" + ESCAPED,
        ),
        (
            "(",
            "text has '(' at character 1, which nothing closes: remove it, or write ')' behind "
            "its words" + ESCAPED,
        ),
        (
            "a [ ] fox",
            "text has '[' at character 3 around no words: write some before its ']', or remove "
            "both" + ESCAPED,
        ),
        (
            "(a ( ))",
            "text has '(' at character 4 around no words: write some before its ')', or remove "
            "both" + ESCAPED,
        ),
        (
            "a (red:1,4)",
            "the weight '1,4' of the '(' at character 3 of text is no number: write it like "
            "(red:1.4), with a point",
        ),
        ("(red:-10.5)", "the weight of 'red' is -10.5: it must be a number between -10 and 10"),
    ],
)
def test_bad_marks_are_refused_in_a_whole_sentence(text, says):
    with pytest.raises(ValueError) as refused:
        parse_weights(text)
    assert str(refused.value) == says


UP, DOWN = 1.1, 1 / 1.1


@pytest.mark.parametrize(
    ("text", "stretches"),
    [
        ("", []),
        ("a fox", [("a fox", 1.0)]),
        ("(a)(b)", [("ab", UP)]),
        ("((a) b)", [("a", UP * UP), (" b", UP)]),
        ("([a])", [("a", UP * DOWN)]),
        ("(a:10) (b:-10)", [("a", 10.0), (" ", 1.0), ("b", -10.0)]),
        ("(a: 1.5 )", [("a", 1.5)]),
        ("(poster: a fox)", [("poster: a fox", UP)]),
        ("(a:b:2)", [("a:b", 2.0)]),
        ("(a:)", [("a:", UP)]),
        ("(:2)", [(":2", UP)]),
        ("([a]:2)", [("a", 2 * DOWN)]),
        ("(a:1) b", [("a b", 1.0)]),
        ("a:2", [("a:2", 1.0)]),
        ("\\", [("\\", 1.0)]),
        ("\\a \\\\(b\\)", [("\\a \\(b)", 1.0)]),
        ("a \\(b\\) (c\\):2)", [("a (b) ", 1.0), ("c)", 2.0)]),
    ],
)
def test_stretches_of_one_weight_are_one_and_marks_are_gone(text, stretches):
    got = parse_weights(text)
    assert [one.text for one in got] == [text for text, _ in stretches]
    assert [one.weight for one in got] == pytest.approx([weight for _, weight in stretches])
