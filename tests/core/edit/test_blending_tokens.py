"""Which tokens a blend uses: lengths, appending, sinks; and what it refuses."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.edit.blending import MATCHES, METHODS, blend


def states(tokens, width=4, seed=0, sinks=(), batch=1):
    """(batch, tokens, width) float32; each token of ``sinks`` is far longer than the others."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, tokens, width, generator=generator) * 0.3 + 1.0
    for sink in sinks:
        hidden[:, sink] *= 1000.0
    return hidden


def test_linear_pairs_the_first_tokens_and_says_how_many_it_lost():
    text, vision = states(5), states(12, seed=1)
    result = blend(text, vision, 0.25, "linear", "none")
    want = 0.75 * text.double() + 0.25 * vision[:, :5].double()
    np.testing.assert_allclose(result.hidden, want, rtol=1e-6)
    assert (result.vision_used, result.vision_lost, result.text_unblended) == (5, 7, 0)


def test_linear_with_fewer_vision_tokens_leaves_the_rest_of_the_text_bit_for_bit():
    text, vision = states(9), states(4, seed=1)
    result = blend(text, vision, 1.0, "linear", "none")
    assert torch.equal(result.hidden[:, 4:], text[:, 4:])
    assert torch.equal(result.hidden[:, :4], vision)
    assert (result.vision_used, result.vision_lost, result.text_unblended) == (4, 0, 5)


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_append_puts_vision_after_the_text_whatever_alpha(match, alpha):
    text, vision = states(5), states(8, seed=1) * 20
    result = blend(text, vision, alpha, "append", match)
    assert result.hidden.shape == (1, 13, 4) and torch.equal(result.hidden[:, :5], text)
    assert (result.vision_tokens, result.vision_used, result.vision_lost) == (8, 8, 0)
    assert result.text_unblended == 0
    assert torch.equal(result.hidden, blend(text, vision, 0.7, "append", match).hidden)
    if match == "none":
        assert torch.equal(result.hidden[:, 5:], vision)


def test_append_gives_each_vision_token_the_texts_median_rms():
    text, vision = states(7), states(8, seed=1) * 1000
    got = blend(text, vision, method="append").hidden[0, 7:].double().numpy()
    t, v = text[0].double().numpy(), vision[0].double().numpy()
    rms = np.median(np.sqrt((t**2).mean(1)))
    want = v / np.sqrt((v**2).mean(1, keepdims=True)) * rms
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 3, 30, 1000])
def test_interpolate_lets_every_vision_token_count(tokens):
    text, vision = states(7), states(tokens, seed=1)
    result = blend(text, vision, 0.5, "interpolate", "none")
    assert result.vision_used == tokens and result.vision_lost == 0
    for token in {0, tokens // 2, tokens - 1}:
        moved = vision.clone()
        moved[:, token] += 1.0
        assert not torch.equal(blend(text, moved, 0.5, "interpolate", "none").hidden, result.hidden)


@given(vision_tokens=st.integers(1, 1100), text_tokens=st.integers(1, 80))
def test_two_point_sampling_says_how_many_vision_tokens_it_used(vision_tokens, text_tokens):
    """In exact fractions: the neighbours of each sampling point that have a weight."""
    used = set()
    for row in range(text_tokens):
        at = Fraction(2 * row + 1, 2) * Fraction(vision_tokens, text_tokens) - Fraction(1, 2)
        at = max(at, Fraction(0))
        low = math.floor(at)
        used.add(low)
        if at != low:
            used.add(min(low + 1, vision_tokens - 1))
    text, vision = torch.ones(1, text_tokens, 1), torch.ones(1, vision_tokens, 1)
    result = blend(text, vision, 0.5, "interpolate (llm-dit)", "none")
    assert (result.vision_used, result.vision_lost) == (len(used), vision_tokens - len(used))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("text_tokens", "vision_tokens"), [(5, 23), (5, 3), (4, 12), (1, 6)])
def test_the_tokens_used_are_those_that_change_the_result_when_they_change(
    method, text_tokens, vision_tokens
):
    text, vision = states(text_tokens, width=6), states(vision_tokens, width=6, seed=1)
    result = blend(text, vision, 0.5, method, "none")
    felt = 0
    for token in range(vision_tokens):
        moved = vision.clone()
        moved[:, token] += torch.linspace(0.5, -1.0, 6)
        felt += not torch.equal(blend(text, moved, 0.5, method, "none").hidden, result.hidden)
    assert (result.vision_used, result.vision_lost) == (felt, vision_tokens - felt)


def test_graduated_uses_the_first_text_tokens_vision_tokens_only_if_it_starts_above_0():
    text, vision = states(4), states(12, seed=1)
    from_nothing = blend(text, vision, 0.5, "graduated")
    assert (from_nothing.vision_used, from_nothing.vision_lost) == (9, 3)
    assert blend(text, vision, 0.5, "graduated", start_alpha=0.1).vision_used == 12


@pytest.mark.parametrize("method", [m for m in METHODS if m != "append"])
def test_at_alpha_0_every_vision_token_counts_as_lost(method):
    result = blend(states(4), states(12, seed=1), 0.0, method)
    assert (result.vision_used, result.vision_lost, result.shares) == (0, 12, (0.0, 0.0))


METHODS_THAT_MIX = [m for m in METHODS if m not in ("append", "interpolate (llm-dit)")]


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("method", METHODS_THAT_MIX)
@pytest.mark.parametrize("sinks", [[0], [4], [0, 6]])
def test_the_texts_sinks_pass_through_and_count_for_nothing(method, match, sinks):
    text, vision = states(9, sinks=sinks), states(14, seed=1)
    content = [token for token in range(9) if token not in sinks]
    result = blend(text, vision, 0.6, method, match)
    assert result.text_sinks == sinks
    assert torch.equal(result.hidden[:, sinks], text[:, sinks])
    without = blend(text[:, content], vision, 0.6, method, match)
    torch.testing.assert_close(result.hidden[:, content], without.hidden, rtol=1e-5, atol=1e-5)
    assert not torch.equal(result.hidden[:, content], text[:, content])


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("method", [*METHODS_THAT_MIX, "append"])
@pytest.mark.parametrize("sinks", [[0], [5], [0, 5]])
def test_the_vision_sides_sinks_are_left_out_before_resampling(method, match, sinks):
    text, vision = states(6), states(14, seed=1, sinks=sinks)
    content = [token for token in range(14) if token not in sinks]
    result = blend(text, vision, 0.6, method, match)
    assert result.vision_sinks == sinks
    want = blend(text, vision[:, content], 0.6, method, match)
    torch.testing.assert_close(result.hidden, want.hidden, rtol=1e-6, atol=1e-6)
    assert result.vision_used + result.vision_lost == len(content)


@pytest.mark.parametrize("method", METHODS)
def test_sinks_can_be_treated_like_any_other_token(method):
    text, vision = states(9, sinks=[0]), states(14, seed=1, sinks=[3])
    result = blend(text, vision, 0.5, method, "none", keep_sinks=False, start_alpha=0.1)
    assert result.text_sinks == [] and result.vision_sinks == []
    if method == "append":
        assert torch.equal(result.hidden[:, 9:], vision)
    else:
        assert not torch.equal(result.hidden[:, 0], text[:, 0])


def test_llm_dits_sampling_takes_all_tokens_sinks_included():
    text, vision = states(9, sinks=[0]), states(14, seed=1, sinks=[0])
    result = blend(text, vision, 1.0, "interpolate (llm-dit)", "none")
    want = torch.nn.functional.interpolate(vision.mT, size=9, mode="linear").mT
    torch.testing.assert_close(result.hidden, want)
    assert result.text_sinks == [] and result.vision_sinks == []


def test_in_a_batch_a_sink_of_any_entry_is_kept_out_of_all():
    text = torch.cat([states(9, sinks=[0]), states(9, seed=2, sinks=[4])])
    result = blend(text, states(14, seed=1), 0.6)
    assert result.text_sinks == [0, 4]
    assert torch.equal(result.hidden[:, [0, 4]], text[:, [0, 4]])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_whose_sinks_leave_no_content_is_refused_or_passed_through(method):
    text = torch.cat([states(3, sinks=[place], seed=place) for place in range(3)])
    try:
        result = blend(text, states(5, seed=1), 0.5, method)
    except ValueError:
        return
    assert bool(result.hidden.isfinite().all())
    assert method == "interpolate (llm-dit)" or torch.equal(result.hidden[:, :3], text)


@pytest.mark.parametrize("alpha", [math.nan, math.inf, -math.inf, -0.01, 1.01])
@pytest.mark.parametrize("method", METHODS)
def test_an_alpha_outside_0_to_1_or_nan_is_refused(method, alpha):
    with pytest.raises(ValueError, match="^alpha is .*between 0 and 1"):
        blend(states(3), states(4), alpha, method)
    with pytest.raises(ValueError, match="^start_alpha is .*between 0 and 1"):
        blend(states(3), states(4), 0.5, method, start_alpha=alpha)


def test_sides_of_different_width_are_refused_with_both_widths():
    with pytest.raises(ValueError, match="4 dimensions.*6"):
        blend(states(3, width=4), states(5, width=6))


def test_batches_that_do_not_fit_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match="batch of 3.*2"):
        blend(states(3, batch=3), states(4, batch=2))


@pytest.mark.parametrize(("side", "name"), [(0, "text side"), (1, "vision side")])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_non_finite_side_is_named_with_token_and_dimension(side, name, bad, alpha):
    pair = [states(3), states(5)]
    pair[side][0, 2, 1] = bad
    with pytest.raises(NonFiniteError, match=f"{name}.*token 2 dimension 1"):
        blend(*pair, alpha)


def test_unknown_methods_and_matches_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="method.*interpolate.*append"):
        blend(states(3), states(4), method="cubic")
    with pytest.raises(ValueError, match="match.*rms per token"):
        blend(states(3), states(4), match="rms")
    with pytest.raises(ValueError, match="curve.*ease in"):
        blend(states(3), states(4), curve="cosine")


@pytest.mark.parametrize("shape", [(1, 0, 4), (4,), (0, 3, 4)])
def test_an_empty_or_misshapen_side_is_refused_by_name(shape):
    with pytest.raises(ValueError, match="the vision side"):
        blend(states(3), torch.zeros(shape))
    with pytest.raises(ValueError, match="the text side"):
        blend(torch.zeros(shape), states(3))
