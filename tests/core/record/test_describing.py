"""A conditioning in words, line by line, of states made by hand."""

from dataclasses import replace

import pytest
import torch
from zimage_layer_lab.core.record.describing import describe
from zimage_layer_lab.core.record.record import Record, Role, plain_record
from zimage_layer_lab.core.taps.layout import Taps

NAN = float("nan")


def record(tokens=5, roles=None, **more):
    texts = ("<s>", "a", " red", " fox", " sits", " in", " the", " snow", "\n", ".", "!", "?")
    made = Record(
        -3,
        "qwen (Qwen3_4B)",
        tuple(range(tokens)),
        texts[:tokens],
        roles or (Role.TEMPLATE, *(Role.TEXT,) * (tokens - 1)),
        prompt="<s>a red fox",
    )
    return replace(made, **more)


def even(*rms):
    """(1, tokens, 4) states, each token of the rms given, of signs that turn."""
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0])
    return torch.tensor(rms)[None, :, None] * signs


def test_a_conditioning_is_described_line_by_line():
    # Of four values the median is the mean of the middle two, 2.5.
    assert describe(even(1.0, 2.0, 4.0, 3.0), record(4)).split("\n") == [
        "encoder: qwen (Qwen3_4B)",
        "layer -3; 4 tokens x 4 dimensions, float32",
        "tokens: 1 template, 3 text",
        "rms per token: median 2.5, smallest 1, largest 4 at 2 ' red' (text)",
        "sink tokens: none",
        "edits: none",
        "prompt:",
        "<s>a red fox",
    ]


def test_a_conditioning_of_which_nothing_is_known_says_so():
    assert describe(even(1.0, 2.0).half(), plain_record(2)).split("\n") == [
        "encoder: unknown encoder",
        "unknown layer; 2 tokens x 4 dimensions, float16",
        "tokens: 2 text",
        "rms per token: median 1.5, smallest 1, largest 2 at 1 '?' (text)",
        "sink tokens: none",
        "edits: not known",
        "prompt: not known",
    ]


def test_a_batch_images_edits_and_layers_apart_have_their_lines():
    made = record(
        4,
        (Role.TEMPLATE, Role.IMAGE, Role.IMAGE, Role.TEXT),
        layer=None,
        layers=(-2, -6, -6, None),
        images=((2, 3), (5, 1)),
        edits=("mask", "blend"),
    )
    states = torch.cat([even(1.0, 2.0, 3.0, 2.0), even(2.0, 1.0, 4.0, 3.0)])
    assert describe(states, made).split("\n") == [
        "encoder: qwen (Qwen3_4B)",
        "layers -2 and -6 and a mix of layers; 4 tokens x 4 dimensions, batch of 2, float32",
        "  layer -2: 1 template",
        "  layer -6: 2 image",
        "  unknown layer: 1 text",
        "tokens: 1 template, 2 image, 1 text",
        "image 1: 2 x 3 tokens (96x64 pixels)",
        "image 2: 5 x 1 tokens (32x160 pixels)",
        "rms per token: median 2, smallest 1, largest 4 at 2 ' red' (image)",
        "sink tokens: none",
        "edits:",
        "  1. mask",
        "  2. blend",
        "prompt:",
        "<s>a red fox",
    ]


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_states_that_are_not_finite_are_counted_and_not_measured(bad):
    states = even(1.0, 2.0, 3.0)
    states[0, 1, :3] = bad
    lines = describe(states, record(3, taps=Taps((9, 18), 2, blocks=36), layer=None)).split("\n")
    assert lines[3:] == [
        "rms: not measured, 3 values are NaN or infinite; encode in a wider dtype",
        "edits: none",
        "prompt:",
        "<s>a red fox",
    ]


def test_sinks_are_named_and_the_others_largest_rms_given():
    states = even(1000.0, 1.0, 2.0, 3.0, 1.5, 2.5)
    lines = describe(states, record(6)).split("\n")
    assert lines[3:6] == [
        "rms per token: median 2.25, smallest 1, largest 1000 at 0 '<s>' (template)",
        "sink tokens: 0 '<s>' (template)",
        "rms without them: largest 3",
    ]


def test_a_sink_of_one_of_the_batch_is_one_and_padding_is_none():
    calm, loud = even(1.0, 1.1, 1.2, 1.0, 1.3, 500.0), even(1.0, 700.0, 1.2, 1.0, 1.3, 500.0)
    made = record(6, (*(Role.TEXT,) * 5, Role.PAD))
    lines = describe(torch.cat([calm, loud]), made).split("\n")
    assert lines[4:6] == ["sink tokens: 1 'a' (text)", "rms without them: largest 500"]


def test_no_more_than_ten_sinks_are_named():
    values = [1.0 + 0.01 * number for number in range(49)] + [900.0] * 11
    made = replace(plain_record(60, "x"), texts=tuple(map(str, range(60))))
    line = describe(even(*values), made).split("\n")[-4]
    named = ", ".join(f"{number} '{number}' (text)" for number in range(49, 59))
    assert line == f"sink tokens: {named} and 1 more"


def test_every_tap_has_a_row_of_content_tokens():
    """Two taps of two dimensions; the pad token counts in no figure but the largest value."""
    first = [[1.0, -1.0], [2.0, -2.0], [4.0, -4.0], [9.0, 9.0]]
    second = [[3.0, 3.0], [0.0, 0.0], [4.0, -4.0], [0.0, -99.0]]
    states = torch.cat([torch.tensor([first]), torch.tensor([second])], -1)
    taps = Taps((9, 18), 2, blocks=36)
    made = record(4, (Role.TEXT,) * 3 + (Role.PAD,), layer=None, taps=taps)
    lines = describe(states, made).split("\n")
    # Medians of 1, 2, 4 and of 3, 0, 4; shares 1/10, 1 and 1/2 of the squared lengths.
    assert lines[1] == "layers 9, 18 side by side; 4 tokens x 4 dimensions, float32"
    assert lines[5:-3] == [
        "layer-major, 2 dimensions each",
        "tap       median rms  share of a token  largest |x|  sink tokens",
        "layer 9   2           53.3%             9            none",
        "layer 18  3           46.7%             99           none",
    ]


def test_a_taps_own_sinks_are_named_two_of_them():
    calm = torch.tensor([[1.0 + 0.01 * number, -1.0] for number in range(40)])
    loud = calm.clone()
    loud[:3] = torch.tensor([[800.0, 1.0], [700.0, 1.0], [900.0, 1.0]])
    states = torch.cat([calm, loud], -1)[None]
    made = replace(plain_record(40, "x"), taps=Taps((9, 18), 2, blocks=36))
    rows = describe(states, made).split("\n")[-4:-2]
    assert rows[0].endswith("  none")
    assert rows[1].endswith("  0 '?' (text), 1 '?' (text) and 1 more")


def test_without_any_content_all_tokens_count():
    states = torch.tensor([[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]])
    made = record(2, (Role.PAD,) * 2, layer=None, taps=Taps((9, 18), 2, blocks=36))
    rows = describe(states, made).split("\n")[-5:-3]
    assert [row.split()[2:5] for row in rows] == [["1", "20.0%", "1"], ["2", "80.0%", "2"]]
