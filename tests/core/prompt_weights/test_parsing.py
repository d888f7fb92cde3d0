"""The syntax of weights against ComfyUI's own, and what goes beyond it."""

import sys

import pytest
from zimage_layer_lab.core.prompt_weights.parsing import parse_weights

SAME = [
    "",
    "a red fox",
    "a (red:1.4) fox",
    "(a)",
    "((a)) b (((c)))",
    "(a (b:1.5) c:1.2) d",
    "((a:0.5))",
    "((a:0.5):2)",
    "(a (b):2)",
    "(a:b:0.7)",
    "(poster: a fox)",
    "(note:)",
    "(x: 1.5 )",
    "(x:-1) (y:0) (z:1e0)",
    "(x:1) y",
    r"\(a\) (b\):1.3) (\(c\))",
    r"C:\new (a:1.2)",
    "(16:9) (a)b(c)",
    "café (狐:1.3)🦊(🦊:.5)",
    "line\n(two\nlines:1.2)\n",
]


def merged(pairs):
    """Neighbours of one weight as one, without the empty ones."""
    out = []
    for text, weight in pairs:
        if text and out and out[-1][1] == weight:
            text = out.pop()[0] + text
        if text:
            out.append((text, weight))
    return out


@pytest.mark.parametrize("text", SAME)
def test_comfyuis_syntax_is_read_as_comfyui_reads_it(comfyui, monkeypatch, text):
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    monkeypatch.syspath_prepend(str(comfyui))
    pytest.importorskip("comfy.cli_args").args.cpu = True
    from comfy import sd1_clip

    parts = sd1_clip.token_weights(sd1_clip.escape_important(text), 1.0)
    theirs = [(sd1_clip.unescape_important(part), weight) for part, weight in parts]
    assert [tuple(one) for one in parse_weights(text)] == merged(theirs)


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
