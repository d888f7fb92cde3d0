"""Appending within a budget of tokens."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dit.caption_length import trained_positions
from zimage_layer_lab.core.edit.blending import MATCHES, blend

from ...oracles.blending_formulas import matched, token_rms
from ...oracles.resampling import area_weights


def states(tokens, seed=0, width=6, batch=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, width, generator=generator)


@pytest.mark.parametrize("max_tokens", [13, 14, 5000])
def test_sides_that_fit_the_budget_are_kept_whole(max_tokens):
    text, vision = states(5), states(8, seed=1)
    result = blend(text, vision, 0.3, "append", "none", max_tokens=max_tokens)
    assert torch.equal(result.hidden, torch.cat([text, vision], dim=1))
    assert (result.vision_tokens, result.vision_used, result.vision_lost) == (8, 8, 0)


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("max_tokens", [6, 7, 12])
def test_beyond_the_budget_the_vision_side_is_averaged_by_area_and_then_matched(match, max_tokens):
    text, vision = states(5, batch=2), states(8, seed=1) * 9
    result = blend(text, vision, 0.3, "append", match, keep_sinks=False, max_tokens=max_tokens)
    assert result.hidden.shape == (2, max_tokens, 6)
    assert torch.equal(result.hidden[:, :5], text)
    room = max_tokens - 5
    assert (result.vision_tokens, result.vision_used, result.vision_lost) == (room, 8, 0)
    pooled = area_weights(8, room) @ vision[0].double().numpy()
    for number in range(2):
        t = text[number].double().numpy()
        want, _ = matched(pooled, t, match, np.median(token_rms(t)))
        got = result.hidden[number, 5:].double().numpy()
        np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_sinks_of_the_vision_side_do_not_count_against_the_budget():
    text, vision = states(5), states(9, seed=1)
    vision[:, 3] *= 1000
    result = blend(text, vision, 0.3, "append", "none", max_tokens=13)
    content = vision[:, [i for i in range(9) if i != 3]]
    assert torch.equal(result.hidden, torch.cat([text, content], dim=1))


def test_a_sink_of_the_text_side_counts_against_the_budget():
    text, vision = states(9), states(8, seed=1)
    text[:, 3] *= 1000
    result = blend(text, vision, 0.3, "append", "none", max_tokens=13)
    assert result.text_sinks == [3] and result.hidden.shape[1] == 13
    assert torch.equal(result.hidden[:, :9], text) and result.vision_tokens == 4


def test_the_budget_is_by_default_what_z_image_was_trained_on():
    known = trained_positions()
    text, vision = states(known - 4, width=2), states(8, seed=1, width=2)
    result = blend(text, vision, method="append")
    assert result.hidden.shape[1] == known and result.vision_tokens == 4


@pytest.mark.parametrize("max_tokens", [4, 5])
def test_a_text_that_leaves_no_room_is_refused_with_the_way_out(max_tokens):
    with pytest.raises(ValueError, match=f"5 tokens and max_tokens is {max_tokens}.*raise"):
        blend(states(5), states(8), method="append", max_tokens=max_tokens)


@pytest.mark.parametrize("method", ["interpolate", "graduated", "slerp"])
def test_the_budget_is_for_append_alone(method):
    text, vision = states(5), states(8, seed=1)
    want = blend(text, vision, 0.3, method).hidden
    assert torch.equal(blend(text, vision, 0.3, method, max_tokens=2).hidden, want)


@pytest.mark.parametrize("max_tokens", [math.nan, math.inf, 1, -3])
def test_a_budget_that_is_no_number_of_tokens_is_refused(max_tokens):
    with pytest.raises(ValueError, match="^max_tokens is .*at least 2"):
        blend(states(3), states(4), method="append", max_tokens=max_tokens)
