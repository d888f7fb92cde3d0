"""Weighted Encode against Qwen3 Encode, transformers' Qwen3 and the formula in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.prompt_weights.parsing import parse_weights
from zimage_layer_lab.core.prompt_weights.weighing import FILLER
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import output, record, run, states
from .twins import Qwen3Twin, largest_error

PLAIN = "a red fox in fog (old)"
WEIGHTED = r"a (red:1.4) fox in [fog] \(old\)"
RED, FOG = 4, 7
"""Their positions, behind <|im_start|>, user, the new line and "a"."""


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
def test_comfyuis_syntax_is_read_as_comfyui_reads_it(host, text):
    from comfy.sd1_clip import escape_important, token_weights, unescape_important

    parts = token_weights(escape_important(text), 1.0)
    theirs = merged((unescape_important(part), weight) for part, weight in parts)
    assert [tuple(one) for one in parse_weights(text)] == theirs


@pytest.fixture(scope="module")
def plain(clip, pack):
    with torch.inference_mode():
        conditioning, prompt = run(pack.Qwen3Encode, clip=clip, text=PLAIN)
    return states(conditioning), prompt


@pytest.mark.parametrize("text", ["", r"a red fox in fog \(old\)", r"a (red:1) fox in fog \(old\)"])
def test_without_weights_it_is_qwen3_encode_bitwise(clip, pack, text):
    conditioning, prompt, report = run(pack.WeightedEncode, clip=clip, text=text, layer=-3)
    theirs, exact = run(pack.Qwen3Encode, clip=clip, text=PLAIN if text else "", layer=-3)
    assert torch.equal(states(conditioning), states(theirs)) and prompt == exact
    assert record(conditioning) == record(theirs)
    assert "no weights: as Qwen3 Encode" in report


@pytest.fixture(scope="module")
def twin(host):
    return Qwen3Twin(host.base / "models/text_encoders/qwen_3_4b.safetensors", load_sizes())


def without(twin, clip, position, method):
    """transformers' states at layer -2 of PLAIN with another word at ``position``."""
    [filler] = clip.tokenizer.qwen3_4b.tokenizer(FILLER)["input_ids"]
    [section] = clip.tokenize(PLAIN)["qwen3_4b"]
    ids = [token for token, *_ in section]
    ids[position] = filler
    causal = torch.full((len(ids), len(ids)), torch.finfo(torch.float32).min).triu(1)
    if method == "masked":
        causal[position + 1 :, position] = torch.finfo(torch.float32).min
    return twin.run(torch.tensor(ids), attention_mask=causal[None, None])[-2]


@pytest.mark.parametrize("method", ["masked", "replaced"])
def test_weights_are_the_formula_on_transformers_states(clip, pack, twin, plain, method):
    conditioning, prompt, _ = run(pack.WeightedEncode, clip=clip, text=WEIGHTED, method=method)
    whole = plain[0].double().numpy()
    want = whole.copy()
    for position, weight in ((RED, 1.4), (FOG, 1 / 1.1)):
        other = without(twin, clip, position, method).double().numpy()
        assert np.abs(whole - other)[:, :position].max() < 1e-4 * np.abs(whole).max()
        difference = (whole - other)[:, position:]
        want[:, position:] += other[:, position:] + weight * difference - whole[:, position:]
    assert prompt == plain[1]
    assert largest_error(states(conditioning), torch.from_numpy(want)) < 1e-4
    assert float((states(conditioning) - plain[0])[:, RED:].abs().amin(dim=1).max()) > 0


def test_any_number_of_words_is_one_pass(clip, pack):
    decoder = clip.cond_stage_model.qwen3_4b.transformer.model
    batches = []
    handle = decoder.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: batches.append(len(kwargs["x"])), with_kwargs=True
    )
    try:
        text = "(a:2) (red:1.4) (fox:0.5) in [fog]"
        _, _, report = run(pack.WeightedEncode, clip=clip, text=text, layer=-7)
    finally:
        handle.remove()
    assert batches == [5]
    assert "weighted (masked): 'a' x2, 'red' x1.4, 'fox' x0.5, 'fog' x0.909091" in report


def test_the_report_gives_each_words_change(clip, pack, plain):
    """One word: its row is the change of the whole conditioning."""
    text = PLAIN.replace("red", "(red:3)").replace("(old)", r"\(old\)")
    conditioning, _, report = run(pack.WeightedEncode, clip=clip, text=text)
    normed = [
        one / one.pow(2).mean(-1, keepdim=True).add(1e-5).sqrt()
        for one in (plain[0][0].double(), states(conditioning)[0].double())
    ]
    change = (normed[1] - normed[0]).norm(dim=-1) / normed[0].norm(dim=-1)
    row = next(line for line in report.splitlines() if line.startswith("'red'"))
    assert [float(cell) for cell in row.split()[1:]] == pytest.approx(
        [3, 1, float(change[RED]), float(change[RED + 1 :].mean())], abs=1e-3
    )
    assert record(conditioning).edits == ("weighted (masked): 'red' x3",)


def test_the_further_from_1_the_larger_the_change(clip, pack):
    shown = []
    for weight in (1.2, 1.6, 2.4):
        _, _, report = run(pack.WeightedEncode, clip=clip, text=f"a (red:{weight}) fox")
        row = next(line for line in report.splitlines() if line.startswith("'red'"))
        shown.append([float(cell) for cell in row.split()[-2:]])
    assert all(
        low < high
        for before, after in zip(shown, shown[1:], strict=False)
        for low, high in zip(before, after, strict=True)
    )


def test_a_typed_end_of_text_still_hides_what_follows(clip, pack):
    text = "a (red:1.5) fox<|endoftext|> never seen"
    conditioning, _, _ = run(pack.WeightedEncode, clip=clip, text=text)
    [same, _] = run(pack.Qwen3Encode, clip=clip, text=text.replace("(red:1.5)", "red"))
    unmarked = states(conditioning)[:, :RED], states(same)[:, :RED]
    torch.testing.assert_close(
        *unmarked, rtol=0, atol=1e-4
    )  # Other sizes of batch, other rounding.
    assert record(conditioning).roles == record(same).roles


@pytest.mark.parametrize("name", ["klein 4b", "krea2"])
def test_other_loader_types_give_the_single_layer(tapped_clips, pack, name):
    clip = tapped_clips(name)
    conditioning, _, _ = run(pack.WeightedEncode, clip=clip, text="a (red:1.5) fox", layer=-7)
    [same, _] = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-7)
    assert states(conditioning).shape == states(same).shape
    torch.testing.assert_close(states(conditioning)[:, :RED], states(same)[:, :RED])
    assert not torch.equal(states(conditioning), states(same))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a (red fox", "which nothing closes"),
        ("(red:inf) fox", "the weight of 'red' is inf"),
        ("(red:1,4) fox", "is no number"),
    ],
)
def test_bad_weights_are_told_before_the_run(clip, pack, text, named):
    assert named in pack.WeightedEncode.validate_inputs(text=text, layer=-2, method="masked")
    with pytest.raises(ValueError, match=named):
        output(pack.WeightedEncode, clip=clip, text=text)


def test_a_part_of_a_word_is_refused(clip, pack):
    with pytest.raises(ValueError, match="no token of its own"):
        run(pack.WeightedEncode, clip=clip, text="a re(d:1.4) fox")
