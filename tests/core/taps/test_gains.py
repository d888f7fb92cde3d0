"""Gains of taps in float64 against NumPy."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.taps.gains import (
    parse_gains,
    parse_solo,
    tap_rms,
    tap_shares,
    weigh,
)
from zimage_layer_lab.core.taps.layout import INTERLEAVED, LAYER_MAJOR, Taps

STACK = np.random.default_rng(1).standard_normal((2, 6, 3, 5)) * np.array([1, 30, 4])[:, None]
"""(batch, tokens, taps, width)."""


def layout(order, stack=STACK):
    axes = stack if order == LAYER_MAJOR else stack.transpose(0, 1, 3, 2)
    return Taps((9, 18, 27), 5, order, 36), axes.reshape(2, 6, 15)


@pytest.mark.parametrize("order", [LAYER_MAJOR, INTERLEAVED])
@pytest.mark.parametrize("gains", [[1.0, 2.5, 0.0], [0.0, 0.0, 1.0], [-1.0, 1.0, 3.0]])
@pytest.mark.parametrize("keep_rms", [True, False])
def test_every_tap_is_multiplied_and_the_tokens_rms_kept(order, gains, keep_rms):
    taps, hidden = layout(order)
    stack = STACK * np.array(gains)[:, None]
    if keep_rms:
        before, after = (np.sqrt((x**2).sum((2, 3), keepdims=True)) for x in (STACK, stack))
        stack = stack * before / after
    expected = layout(order, stack)[1]
    weighed = weigh(torch.from_numpy(hidden), taps, gains, keep_rms)
    assert np.allclose(weighed.numpy(), expected, rtol=1e-13, atol=0)
    single = weigh(torch.from_numpy(hidden).float(), taps, gains, keep_rms)
    assert single.dtype == torch.float32
    assert np.allclose(single.numpy(), expected, rtol=3e-7, atol=1e-6)


def test_one_gain_for_all_taps_is_nothing_where_the_rms_is_kept():
    taps, hidden = layout(LAYER_MAJOR)
    hidden = torch.from_numpy(hidden)
    assert torch.equal(weigh(hidden, taps, [7.0] * 3), hidden)
    assert torch.equal(weigh(hidden, taps, [7.0] * 3, keep_rms=False), 7 * hidden)


def test_a_token_of_zeros_stays_zero():
    taps = Taps((1, 2), 3)
    assert not weigh(torch.zeros(1, 2, 6), taps, [2.0, 1.0]).any()


def test_shares_and_rms_are_numpys():
    taps, hidden = layout(INTERLEAVED)
    kept = np.array([True, True, False, True, True, False])
    square = (STACK**2).sum(3)
    share = (square / square.sum(2, keepdims=True))[:, kept].mean((0, 1))
    rms = np.median(np.sqrt(square[:, kept] / 5).reshape(-1, 3), axis=0)
    ours = torch.from_numpy(hidden), taps, torch.from_numpy(kept)
    assert np.allclose(tap_shares(*ours).numpy(), share, rtol=1e-13)
    assert np.allclose(tap_rms(*ours).numpy(), rms, rtol=1e-13)


def test_weights_are_read_by_layer_or_by_number():
    krea = Taps(tuple(range(2, 36, 3)), 4, blocks=36)
    gains = parse_gains("23: 2.5, 26: 5", krea)
    assert gains == [1.0] * 7 + [2.5, 5.0] + [1.0] * 3
    assert parse_gains("", krea) == [1.0] * 12
    assert parse_gains("2: 0", Taps((None, None), 4)) == [1.0, 0.0]
    assert parse_gains("9: 3", Taps((9, 18, 9), 4)) == [3.0, 1.0, 3.0]
    assert parse_solo("20, 23", krea).count(True) == 2
    assert parse_solo("not 23", krea).count(False) == 1
    assert parse_solo(" ", krea) == [True] * 12


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (parse_gains, "23", "LAYER: WEIGHT"),
        (parse_gains, "24: 1", "24 is none of the taps.*layers 2, 5"),
        (parse_gains, "23: 1, 23: 2", "layer 23 twice"),
        (parse_gains, "23: nan", "'nan'.*2.5"),
        (parse_gains, "23: 1e9", "at most"),
        (parse_gains, "x: 2", "'x' in weights"),
        (parse_gains, 3, "weights is 3"),
        (parse_solo, "not", "'not' in solo|'' in solo"),
        (parse_solo, "24", "24 is none"),
        (parse_solo, "not " + ", ".join(map(str, range(2, 36, 3))), "leaves no tap"),
        (parse_solo, None, "solo is None"),
    ],
)
def test_what_is_no_list_of_weights_is_refused(read, text, says):
    with pytest.raises(ValueError, match=says):
        read(text, Taps(tuple(range(2, 36, 3)), 4, blocks=36))


KREA = Taps(tuple(range(2, 36, 3)), 4, blocks=36)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (
            parse_gains,
            "23: 1, " + "x" * 50,
            f"'{'x' * 40}' in weights is no weight of a tap: write LAYER: WEIGHT with commas "
            "between them, such as 23: 2.5, 26: 5",
        ),
        (parse_gains, "23: 1, -14: 2", "weights names layer 23 twice: give it one weight"),
        (
            parse_gains,
            f"23: {'y' * 50}",
            f"'{'y' * 40}' in weights is no weight: write a number such as 2.5, at most 1e+06",
        ),
        (
            parse_gains,
            "23: -1000001",
            "'-1000001' in weights is no weight: write a number such as 2.5, at most 1e+06",
        ),
        (
            parse_gains,
            f"{'z' * 50}: 1",
            f"'{'z' * 40}' in weights is no number of a tap: write for example 23, as the report "
            "lists them",
        ),
        (
            parse_gains,
            "1234567890: 1",
            "'1234567890' in weights is no number of a tap: write for example 23, as the report "
            "lists them",
        ),
        (parse_gains, None, "weights is None: write for example 23: 2.5, 26: 5"),
        (parse_solo, 23, "solo is 23: write for example 23, or not 23"),
        (
            parse_solo,
            "23, not 20",
            "'not 20' in solo is no number of a tap: write for example 23, as the report lists "
            "them",
        ),
        (
            parse_solo,
            " not 9 ",
            "solo 'not 9' leaves no tap: name fewer, or use none",
        ),
    ],
)
def test_what_is_no_list_is_refused_in_a_whole_sentence(read, text, says):
    taps = Taps((9,), 4) if "not 9" in str(text) else KREA
    with pytest.raises(ValueError) as refused:
        read(text, taps)
    assert str(refused.value) == says


def test_the_largest_weights_are_weights_and_signs_and_negative_layers_are_read():
    gains = parse_gains("+23: 1e6, -11: -1000000, 2: .5", KREA)
    assert gains == [0.5] + [1.0] * 6 + [1e6, -1e6] + [1.0] * 3
    assert parse_solo("NOT 2, 5", KREA) == [False, False] + [True] * 10
    assert parse_solo("2, 35", KREA) == [True] + [False] * 10 + [True]


def test_only_one_positive_gain_for_all_is_nothing():
    taps, hidden = layout(LAYER_MAJOR)
    hidden = torch.from_numpy(hidden)
    assert weigh(hidden, taps, [1.0] * 3, keep_rms=False) is hidden
    assert weigh(hidden, taps, [0.5] * 3) is hidden
    torch.testing.assert_close(weigh(hidden, taps, [-2.0] * 3), -hidden)
    assert not weigh(hidden, taps, [0.0] * 3).any()
    with pytest.raises(ValueError) as refused:
        weigh(hidden, taps, [1.0] * 4)
    assert str(refused.value) == "there are 4 gains for 3 taps"


def test_without_a_selection_every_token_counts_and_zeros_have_no_share():
    taps, hidden = Taps((1, 2), 1), torch.tensor([[[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]])
    assert tap_shares(hidden, taps).tolist() == pytest.approx([(0.36 + 1) / 3, 0.64 / 3])
    assert tap_rms(hidden, taps).tolist() == [1.0, 0.0]


def test_a_quiet_token_keeps_its_rms_too_and_has_shares():
    taps, hidden = Taps((1, 2), 1), torch.tensor([[[3e-3, 4e-3]]])
    weighed = weigh(hidden, taps, [0.0, 0.5])[0, 0]
    assert weighed.tolist() == pytest.approx([0.0, 5e-3])
    assert tap_shares(hidden, taps).tolist() == pytest.approx([0.36, 0.64])
