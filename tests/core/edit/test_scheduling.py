"""A share's schedule against its formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.edit.scheduling import CURVES, MOST_STEPS, schedule

"""Half a step of ComfyUI's table of 1000 noise levels."""
SHARE = st.one_of(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.floats(0, 1))
FORMULAS = {
    "linear": lambda t: t,
    "cosine": lambda t: 0.5 - 0.5 * np.cos(np.pi * t),
    "step": lambda t: np.where(t < 0.5, 0.0, 1.0),
}


def alphas_in(ranges, count):
    """The share in the middle of each of ``count`` equal parts, joined or not."""
    middles = [(i + 0.5) / count for i in range(count)]
    found = [[r.alpha for r in ranges if r.start < at < r.end] for at in middles]
    assert all(len(one) == 1 for one in found)
    return [one for [one] in found]


@given(
    curve=st.sampled_from(list(FORMULAS)),
    start=SHARE,
    end=SHARE,
    steps=st.integers(1, MOST_STEPS),
)
def test_every_part_has_the_share_of_the_formula(curve, start, end, steps):
    ranges = schedule(curve, start, end, steps)
    t = np.arange(steps) / max(steps - 1, 1)
    want = start + FORMULAS[curve](t) * (end - start)
    assert np.abs(alphas_in(ranges, steps) - want).max() < 1e-12


@given(
    curve=st.sampled_from(list(FORMULAS)),
    start=SHARE,
    end=SHARE,
    steps=st.integers(1, MOST_STEPS),
)
def test_ranges_touch_cover_everything_and_differ_from_their_neighbours(curve, start, end, steps):
    ranges = schedule(curve, start, end, steps)
    assert (ranges[0].start, ranges[-1].end) == (0.0, 1.0)
    for one, other in zip(ranges, ranges[1:], strict=False):
        assert one.end == other.start and one.alpha != other.alpha
    for one in ranges:
        assert one.start < one.end and 0 <= one.alpha <= 1
        for border in {one.start, one.end} - {0.0, 1.0}:
            # Between two of the 1000 noise levels, the first of them at or before an even place.
            level = border * 1000 + 0.5
            assert level == pytest.approx(round(level), abs=1e-9)
            assert any(round(level) == number * 1000 // steps for number in range(1, steps))


@given(curve=st.sampled_from(list(FORMULAS)), start=SHARE, end=SHARE, steps=st.integers(2, 100))
def test_the_first_and_the_last_range_have_exactly_the_shares_asked_for(curve, start, end, steps):
    ranges = schedule(curve, start, end, steps)
    assert (ranges[0].alpha, ranges[-1].alpha) == (start, end)


@given(curve=st.sampled_from(list(FORMULAS)), alpha=SHARE, steps=st.integers(1, MOST_STEPS))
def test_a_share_that_does_not_change_is_one_range(curve, alpha, steps):
    assert schedule(curve, alpha, alpha, steps) == [(0.0, 1.0, alpha)]


@pytest.mark.parametrize("curve", CURVES)
def test_a_single_range_has_the_first_share(curve):
    assert schedule(curve, 0.7, 0.1, 1) == [(0.0, 1.0, 0.7)]


@given(curve=st.sampled_from(list(FORMULAS)), start=SHARE, end=SHARE, steps=st.integers(1, 100))
def test_the_share_never_turns_back(curve, start, end, steps):
    alphas = [r.alpha for r in schedule(curve, start, end, steps)]
    assert alphas == sorted(alphas, reverse=end < start)


def test_the_defaults_go_from_a_half_to_nothing_in_four():
    thirds = [0.5, 1 / 3, 1 / 6, 0.0]
    ranges = schedule()
    borders = [0.0, 0.2495, 0.4995, 0.7495, 1.0]
    assert [r.start for r in ranges] == pytest.approx(borders[:-1], abs=1e-12)
    assert [r.end for r in ranges] == pytest.approx(borders[1:], abs=1e-12)
    assert [r.alpha for r in ranges] == pytest.approx(thirds, abs=1e-12)


@pytest.mark.parametrize("steps", [2, 4, 10, 100])
def test_step_changes_once_in_the_middle(steps):
    assert schedule("step", 0.8, 0.2, steps) == [(0.0, 0.4995, 0.8), (0.4995, 1.0, 0.2)]


@pytest.mark.parametrize("steps", [3, 5, 99])
def test_step_changes_at_the_border_before_the_middle_of_an_odd_number(steps):
    one, other = schedule("step", 0.8, 0.2, steps)
    even = (steps - 1) / 2 / steps
    assert one.end == other.start and even - 0.0015 < one.end < even
    assert (one.alpha, other.alpha) == (0.8, 0.2)


@pytest.mark.parametrize("ranges", [2, 4, 5, 8])
@pytest.mark.parametrize("sampling", [4, 8, 9, 10, 12, 20])
def test_every_step_of_the_simple_scheduler_is_in_exactly_one_range(sampling, ranges):
    """It takes every (1000 / steps)-th of 1000 noise levels; a range holds both its ends."""
    found = schedule("linear", 1.0, 0.0, ranges)
    for step in range(sampling):
        at = int(step * 1000 / sampling) / 1000
        assert sum(r.start <= at <= r.end for r in found) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"curve": "ease"}, "curve 'ease' is not one of linear, cosine, step"),
        ({"start_alpha": 1.1}, "start_alpha is 1.1.*between 0 and 1"),
        ({"start_alpha": math.nan}, "start_alpha is nan"),
        ({"end_alpha": -0.1}, "end_alpha is -0.1"),
        ({"end_alpha": math.inf}, "end_alpha is inf"),
        ({"steps": 0}, "steps is 0.*between 1 and 100"),
        ({"steps": 101}, "steps is 101"),
        ({"steps": math.nan}, "steps is nan"),
        ({"steps": 2.5}, "steps is 2.5.*whole number"),
    ],
)
def test_bad_input_is_named(inputs, message):
    with pytest.raises(ValueError, match=message):
        schedule(**inputs)
