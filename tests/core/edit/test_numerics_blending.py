"""Blends and added styles of states with 6e4 and denormals, against NumPy float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.edit.blend_methods import attention_received
from zimage_layer_lab.core.edit.blending import MATCHES, METHODS, blend
from zimage_layer_lab.core.edit.style_delta import add_style

from ...oracles.blending_formulas import aligned, attention, blended, std
from ...oracles.massive_states import CONTENT, DTYPES, SINKS, array, close, made, numbers_in

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@by_dtype
@pytest.mark.parametrize("keep_sinks", [True, False])
@pytest.mark.parametrize("method", [method for method in METHODS if method != "append"])
def test_blended_states(dtype, method, keep_sinks):
    text, vision = made(dtype), made(dtype, seed=1, tokens=14)
    rows = CONTENT if keep_sinks and "llm-dit" not in method else np.ones(10, bool)
    others = np.array([row not in SINKS or bool(rows.all()) for row in range(14)])
    for match in MATCHES:
        got = blend(text, vision, 0.4, method, match, keep_sinks, start_alpha=0.1)
        assert got.hidden.dtype == dtype and not numbers_in(got).bad
        assert torch.equal(got.hidden[0, ~rows], text[0, ~rows])
        t, v = array(text)[0][rows], array(vision)[0][others]
        want = blended(t, v, 0.4, method, match, start_alpha=0.1)
        limit = float(torch.finfo(dtype).max)
        size = max(np.abs(want).max(), np.abs(t).max())
        close(array(got.hidden)[0][rows], np.clip(want, -limit, limit), dtype, size, times=64)


@by_dtype
@pytest.mark.parametrize("method", METHODS)
def test_blends_with_denormals_stay_finite_and_within_the_sides(dtype, method):
    text, vision = made(dtype, quiet=True), made(dtype, seed=1, tokens=14, quiet=True)
    before = text.clone(), vision.clone()
    for match in MATCHES:
        for keep_sinks in (True, False):
            got = blend(text, vision, 0.4, method, match, keep_sinks)
            assert got.hidden.dtype == dtype and not numbers_in(got).bad
    assert torch.equal(text, before[0]) and torch.equal(vision, before[1])


@by_dtype
def test_appended_states(dtype):
    text, vision = made(dtype), made(dtype, seed=1, tokens=14)
    got = blend(text, vision, method="append", match="none").hidden
    assert torch.equal(got[:, :10], text)
    kept = [row for row in range(14) if row not in SINKS]
    assert torch.equal(got[:, 10:], vision[:, kept])


@by_dtype
def test_the_attention_that_tokens_receive(dtype):
    hidden = made(dtype)
    np.testing.assert_allclose(
        array(attention_received(hidden))[0], attention(array(hidden)[0]), rtol=1e-6
    )
    assert not numbers_in(attention_received(made(dtype, quiet=True))).bad


@by_dtype
@pytest.mark.parametrize("alpha", [-1.0, 0.3, 4.0])
def test_added_style(dtype, alpha):
    text, styled, neutral = made(dtype), made(dtype, seed=1, tokens=14), made(dtype, seed=2)
    got = add_style(text, styled, neutral, alpha)
    assert got.hidden.dtype == dtype and not numbers_in(got).bad
    t, s, n = (array(one)[0] for one in (text, styled, neutral))
    s, n = (np.delete(one, SINKS, axis=0) for one in (s, n))
    delta = aligned(s - aligned(n, "interpolate", len(s)), "interpolate", int(CONTENT.sum()))
    want = t.copy()
    want[CONTENT] += alpha * delta * std(t[CONTENT]) / std(delta)
    close(array(got.hidden)[0][CONTENT], want[CONTENT], dtype, size=np.abs(want[CONTENT]).max())
    assert torch.equal(got.hidden[0, ~CONTENT], text[0, ~CONTENT])
    quiet = [made(dtype, seed, quiet=True) for seed in range(3)]
    assert not numbers_in(add_style(*quiet, alpha)).bad
