"""Style Delta over real encodings, against its formula in float64."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from ..oracles.blending_formulas import aligned
from .stock import output, record, run, same_options, snapshot, states, text_encode, unchanged


def read(pack, vl_clip, seed: int, height: int, width: int, **inputs) -> list:
    """VL Image Token Encode of noise; sizes are multiples of 32, so that nothing is resized."""
    pixels = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(seed))
    return run(pack.VLEncode, clip=vl_clip, image=pixels, **inputs)[0]


@pytest.fixture(scope="module")
def styled(vl_clip, pack):
    with torch.inference_mode():
        return read(pack, vl_clip, 0, 256, 288)


@pytest.fixture(scope="module")
def neutral(vl_clip, pack):
    with torch.inference_mode():
        return read(pack, vl_clip, 1, 256, 256)


@pytest.fixture(scope="module")
def stock(clip):
    """The text as the stock node encodes it, and another one."""
    with torch.inference_mode():
        words = ("a red fox in deep snow", "a lighthouse in a storm, oil painting, by night")
        return [text_encode(clip, one) for one in words]


@pytest.fixture
def regions(host, text, stock):
    """Two entries of different length with options of their own."""
    set_area = host.nodes.ConditioningSetArea().append
    return set_area(text, 64, 64, 0, 0, 0.8)[0] + set_area(stock[1], 64, 64, 64, 0, 0.5)[0]


def image_rows(conditioning: list) -> np.ndarray:
    """The states of the image tokens, (tokens, width) float64."""
    rows = [i for i, role in enumerate(record(conditioning).roles) if role is Role.IMAGE]
    return states(conditioning)[0, rows].double().numpy()


def formula(text: np.ndarray, styled: np.ndarray, neutral: np.ndarray, alpha: float) -> np.ndarray:
    delta = styled - aligned(neutral, "interpolate", len(styled))
    delta = aligned(delta, "interpolate", len(text))
    return text + alpha * delta * text.std(ddof=1) / delta.std(ddof=1)


def assert_close(conditioning: list, want: np.ndarray) -> None:
    got = states(conditioning)[0].double().numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("alpha", [0.3, -1.0, 4.0])
def test_image_tokens_alone_make_the_difference(pack, text, styled, neutral, alpha):
    [result] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral, alpha=alpha)
    own = states(text)[0].double().numpy()
    assert_close(result, formula(own, image_rows(styled), image_rows(neutral), alpha))


def test_conditioning_without_image_tokens_counts_as_a_whole(pack, text, stock):
    neutral, styled = stock
    [result] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    sides = (states(one)[0].double().numpy() for one in (text, styled, neutral))
    assert_close(result, formula(*sides, 0.3))


def test_sides_of_different_layers_are_refused(pack, vl_clip, text, styled):
    neutral = read(pack, vl_clip, 1, 256, 256, layer=-4)
    with pytest.raises(ValueError, match="styled is of layer -6 and neutral of layer -4"):
        run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)


def test_sides_of_which_one_has_two_layers_are_refused(pack, vl_clip, text):
    inputs = {"clip": vl_clip, "text": "a photo", "layer": -6}
    [plain, _] = run(pack.Qwen3Encode, **inputs)
    half = len(record(plain)) // 2
    layers = [-6] * half + [-2] * (len(record(plain)) - half)
    mixed = [[states(plain), {"layer_lab": record(plain).with_layers(layers)}]]
    with pytest.raises(ValueError, match="styled is of layers -6 and -2 and neutral of layer -6"):
        run(pack.StyleDelta, text=text, styled=mixed, neutral=plain)


def test_sides_of_different_models_are_refused(pack, clip, text, styled):
    neutral, _ = run(pack.Qwen3Encode, clip=clip, text="a photo", layer=-6)
    with pytest.raises(ValueError, match="qwen3vl_4b.*qwen_3_4b.*with the same model"):
        run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)


def test_a_neutral_side_without_a_record_is_trusted(pack, text, styled, neutral):
    bare = [[torch.from_numpy(image_rows(neutral)).float()[None], {}]]
    [one] = run(pack.StyleDelta, text=text, styled=styled, neutral=bare)
    [other] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    assert torch.equal(states(one), states(other))


def test_padding_is_no_style(pack, text, styled, neutral):
    padding = replace(record(styled), roles=(Role.PAD,) * len(record(styled)))
    for name in ("styled", "neutral"):
        sides = {"styled": styled, "neutral": neutral}
        sides[name] = [[states(styled), {"layer_lab": padding}]]
        with pytest.raises(ValueError, match="padding only"):
            run(pack.StyleDelta, text=text, **sides)


def test_the_record_stays_the_texts_and_gains_an_edit(pack, text, styled, neutral):
    answer = output(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    [result] = answer.args
    old, new = record(text), record(result)
    assert old.edits == ()
    assert (new.ids, new.texts, new.roles) == (old.ids, old.texts, old.roles)
    assert (new.layer, new.source, new.fingerprint) == (old.layer, old.source, old.fingerprint)
    *_, edit = new.edits
    assert "style delta: alpha 0.3, 72 styled minus 64 neutral tokens of qwen3vl_4b" in edit
    assert answer.ui["text"][0] == edit


def test_the_edit_says_how_large_the_difference_is_and_what_the_dit_sees(
    pack, text, styled, neutral
):
    [result] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    style = image_rows(styled)
    delta = style - aligned(image_rows(neutral), "interpolate", len(style))
    share = np.sqrt((delta**2).mean() / (style**2).mean())

    def seen(x: torch.Tensor) -> np.ndarray:
        x = x[0].double().numpy()
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)

    before, after = seen(states(text)), seen(states(result))
    change = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    *_, edit = record(result).edits
    assert f"their difference has {share:.3g} of the styled side's rms" in edit
    assert f"relative L2 {change.mean():.4f} mean, {change.max():.4f} at most" in edit


def test_a_text_of_another_layer_or_model_is_told(pack, text, styled, neutral):
    [result] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    *_, edit = record(result).edits
    assert "the text is of layer -2" in edit
    assert "the text comes from another model, qwen_3_4b" in edit


def test_a_text_of_the_same_layer_and_model_is_not_remarked_on(pack, vl_clip, styled, neutral):
    text, _ = run(pack.Qwen3Encode, clip=vl_clip, text="a red fox", layer=-6)
    [result] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    assert "the text" not in record(result).edits[-1]


def test_a_text_of_two_layers_is_told_whichever_comes_first(pack, text, styled, neutral):
    layers = [-6] + [-2] * (len(record(text)) - 1)
    mixed = [[states(text), {"layer_lab": record(text).with_layers(layers)}]]
    [result] = run(pack.StyleDelta, text=mixed, styled=styled, neutral=neutral)
    assert "the text is of layers -6 and -2" in record(result).edits[-1]


def test_the_texts_sinks_stay_and_are_named(pack, text, styled, neutral):
    hidden = states(text).clone()
    hidden[:, 0] *= 1000
    sunk = [[hidden, {"layer_lab": replace(record(text), checksum="")}]]
    [result] = run(pack.StyleDelta, text=sunk, styled=styled, neutral=neutral)
    assert torch.equal(states(result)[:, 0], hidden[:, 0])
    assert f"sinks kept: {record(text).describe(0)}" in record(result).edits[-1]
    own = hidden[0, 1:].double().numpy()
    want = formula(own, image_rows(styled), image_rows(neutral), 0.3)
    assert_close([[states(result)[:, 1:], {}]], want)


def test_alpha_0_is_the_text_and_no_edit(pack, text, styled, neutral):
    [result] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral, alpha=0.0)
    assert torch.equal(states(result), states(text)) and record(result).edits == ()


def test_equal_sides_are_the_text_no_edit_and_a_warning(pack, text, styled, caplog):
    with caplog.at_level(logging.WARNING):
        answer = output(pack.StyleDelta, text=text, styled=styled, neutral=styled)
    [result] = answer.args
    assert torch.equal(states(result), states(text)) and record(result).edits == ()
    assert "nothing is added" in caplog.text
    assert "nothing is added" in answer.ui["text"][0]


def test_a_stock_conditioning_is_styled_like_the_packs_own(pack, stock, text, styled, neutral):
    [ours] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    [result] = run(pack.StyleDelta, text=stock[0], styled=styled, neutral=neutral)
    assert torch.equal(states(result), states(ours))
    assert record(result).edits[-1].startswith("style delta")
    assert same_options(result[0][1], stock[0][0][1])


@pytest.mark.parametrize("each", [False, True])
def test_every_region_is_styled_as_if_alone_and_keeps_its_options(
    pack, regions, styled, neutral, each
):
    sides = [(styled, neutral), (neutral, styled) if each else (styled, neutral)]
    many = {"styled": styled + neutral, "neutral": neutral + styled}
    one = {"styled": styled, "neutral": neutral}
    [result] = run(pack.StyleDelta, text=regions, **(many if each else one))
    for entry, region, (style, plain) in zip(result, regions, sides, strict=True):
        [alone] = run(pack.StyleDelta, text=[region], styled=style, neutral=plain)
        assert torch.equal(entry[0], states(alone)) and not torch.equal(entry[0], region[0])
        assert same_options(entry[1], {k: v for k, v in region[1].items() if k != "layer_lab"})
        assert entry[1]["layer_lab"].edits[-1].startswith("style delta")


@pytest.mark.parametrize("name", ["styled", "neutral"])
def test_numbers_of_entries_that_do_not_fit_are_refused(pack, text, styled, neutral, name):
    sides = {"styled": styled, "neutral": neutral}
    sides[name] = sides[name] * 2
    with pytest.raises(ValueError, match=f"1 conditioning entries and {name} has 2"):
        run(pack.StyleDelta, text=text, **sides)


def test_inputs_are_never_modified(pack, text, styled, neutral):
    before = [snapshot(one) for one in (text, styled, neutral)]
    run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    assert all(map(unchanged, (text, styled, neutral), before))


@pytest.mark.parametrize("alpha", [math.nan, 5.0, -4.5, math.inf])
def test_a_bad_alpha_is_refused_typed_and_connected(pack, text, styled, neutral, alpha):
    assert "alpha" in pack.StyleDelta.validate_inputs(alpha=alpha)
    with pytest.raises(ValueError, match="alpha is"):
        run(pack.StyleDelta, text=text, styled=styled, neutral=neutral, alpha=alpha)


@pytest.mark.parametrize("alpha", [None, -4.0, 0.0, 4.0])
def test_a_good_alpha_is_accepted(pack, alpha):
    assert pack.StyleDelta.validate_inputs(alpha=alpha) is True
