"""States from denormal to nearly float32's largest: whatever is done to them, they stay finite."""

from itertools import product

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.edit.blending import MATCHES, METHODS, blend
from zimage_layer_lab.core.edit.masking import MODES, mask_states
from zimage_layer_lab.core.edit.normalizing import normalize
from zimage_layer_lab.core.edit.style_delta import add_style
from zimage_layer_lab.core.edit.token_fit import METHODS as FITS
from zimage_layer_lab.core.edit.token_fit import fit_tokens
from zimage_layer_lab.core.outliers.detection import DIRECTIONS

SIZES = (0.0, 1e-40, 1e-30, 10.0, 1e20, 1e30, 1e37)
WIDTH = 48


def states(size, tokens=8, seed=0):
    values = torch.randn(1, tokens, WIDTH, generator=torch.Generator().manual_seed(seed))
    return values * size


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("method", METHODS)
def test_a_blend_of_any_two_sizes_is_finite(method, match):
    for one, other in product(SIZES, SIZES):
        given = blend(states(one), states(other, 11, seed=1), 0.3, method, match).hidden
        assert given.isfinite().all(), (one, other)


@pytest.mark.parametrize("one", [1e-30, 10.0, 1e20])
@pytest.mark.parametrize("other", [1e-30, 1e-38, 10.0, 1e30])
def test_rms_per_token_brings_any_size_to_the_texts(one, other):
    text, vision = states(one), states(other, seed=1)
    x, y = text[0].double().numpy(), vision[0].double().numpy()

    def rms(tokens):
        return np.sqrt((tokens**2).mean(axis=1, keepdims=True))

    given = blend(text, vision, 1.0, match="rms per token").hidden[0].double().numpy()
    np.testing.assert_allclose(given, y / rms(y) * rms(x), rtol=2e-5)


@pytest.mark.parametrize("size", SIZES)
def test_masks_norms_fits_and_style_deltas_of_any_size_are_finite(size):
    hidden = states(size)
    for mode, direction in product(MODES, DIRECTIONS):
        assert mask_states(hidden, mode=mode, direction=direction).hidden.isfinite().all(), mode
    for method in ("rms per token", "per dimension"):
        assert normalize(hidden, method).hidden.isfinite().all(), method
    for method in FITS:
        assert fit_tokens(hidden, 4, method).hidden.isfinite().all(), method
    for other in SIZES:
        styled, neutral = states(other, 9, seed=1), states(0.7 * other, 9, seed=2)
        assert add_style(hidden, styled, neutral, 0.3).hidden.isfinite().all(), other


@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e19, 3e36])
def test_normalizing_by_rms_holds_at_either_end_of_float32(size):
    """The squares of such values, and for the largest the norm too, are no float32."""
    hidden = states(size, 60)
    x = hidden[0].double().numpy()
    rms = np.sqrt((x**2).mean(axis=1, keepdims=True))
    truth = x / rms * np.median(rms)
    given = normalize(hidden, "rms per token").hidden[0].double().numpy()
    np.testing.assert_allclose(given, truth, rtol=2e-6 if size > 1e-38 else 1e-4, atol=size * 1e-4)
