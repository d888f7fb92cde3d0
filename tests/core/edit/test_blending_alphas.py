"""An alpha for each token, against NumPy float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.edit.blending import METHODS, blend

from ...oracles.blending_formulas import blended, sides
from ...oracles.massive_states import CONTENT, DTYPES, array, close, made

TAKING = [method for method in METHODS if method not in ("append", "graduated")]
ALPHAS = [0.9, 0.0, 0.1, 0.5, 1.0, 0.25, 0.0, 0.75, 0.3, 0.6]


def one_by_one(text, vision, alphas, method, match):
    """Each token of the blend that has this token's alpha for all."""
    whole = [blended(text, vision, alpha, method, match) for alpha in alphas]
    return np.stack([states[token] for token, states in enumerate(whole)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", TAKING)
def test_every_token_takes_its_own_alpha(dtype, method):
    text, vision = sides(0, 10, 14, 24, 1, (dtype, dtype))
    for match in ("none", "rms per token"):
        got = blend(text, vision, 0.4, method, match, alphas=ALPHAS)
        want = one_by_one(array(text)[0], array(vision)[0], ALPHAS, method, match)
        size = max(np.abs(want).max(), np.abs(array(text)).max())
        close(array(got.hidden)[0], want, dtype, size, times=64)
        # Bit for bit where the alpha is 0.
        assert torch.equal(got.hidden[0, [1, 6]], text[0, [1, 6]])
        assert got.shares[0] == 0 and got.hidden.dtype == dtype


def test_sinks_pass_through_whatever_their_alpha_and_shift_no_others():
    text, vision = made(torch.float32), made(torch.float32, seed=1, tokens=14)
    got = blend(text, vision, match="none", alphas=ALPHAS).hidden
    assert torch.equal(got[0, ~CONTENT], text[0, ~CONTENT])
    other = np.delete(array(vision)[0], [0, 2], axis=0)
    alphas = np.array(ALPHAS)[CONTENT]
    want = one_by_one(array(text)[0, CONTENT], other, alphas, "interpolate", "none")
    close(array(got)[0, CONTENT], want, torch.float32, np.abs(want).max())


def test_tokens_without_a_partner_need_no_alpha_of_their_own():
    text, vision = sides(2, 10, 4, 24, 1)
    got = blend(text, vision, 0.4, "linear", "none", alphas=ALPHAS)
    assert torch.equal(got.hidden[0, 4:], text[0, 4:])
    assert got.vision_used == 3 and got.vision_lost == 1  # The alpha of token 1 is 0.


def test_alphas_that_do_not_fit_are_refused():
    text, vision = sides(0, 10, 14, 24, 1)
    with pytest.raises(ValueError, match="there are 2 alphas and 10 text tokens"):
        blend(text, vision, alphas=[0.1, 0.2])
    with pytest.raises(ValueError, match="alphas is 1.5: it must be a number between 0 and 1"):
        blend(text, vision, alphas=[1.5] * 10)
    for method in ("append", "graduated"):
        with pytest.raises(ValueError, match=f"method '{method}' .*choose another method"):
            blend(text, vision, method=method, alphas=ALPHAS)
