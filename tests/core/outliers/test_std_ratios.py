"""Every dimension of one reference against another's, against NumPy."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.outliers.std_ratios import std_ratios


def reference(std, bare=None):
    std = torch.as_tensor(std, dtype=torch.float64)
    apart = () if bare is None else (std * 0, torch.as_tensor(bare, dtype=torch.float64))
    return Reference(std * 0, std, 0.0, 1.0, *apart)


def test_both_ways_and_both_views_equal_numpy():
    rng = np.random.default_rng(0)
    a, bare_a, b, bare_b = rng.uniform(0.1, 50, (4, 300))
    found = std_ratios(reference(a, bare_a), reference(b, bare_b))
    for view, one, other in ((found.whole, a, b), (found.bare, bare_a, bare_b)):
        np.testing.assert_array_equal(view.ratios.numpy(), one / other)
        np.testing.assert_array_equal(view.inverses.numpy(), other / one)
        assert view.loudest(4) == np.argsort(-one / other)[:4].tolist()
        assert view.quietest(4) == np.argsort(one / other)[:4].tolist()
    larger = np.maximum(a / b, bare_a / bare_b)
    assert found.loudest(7) == np.argsort(-larger)[:7].tolist()
    smaller = np.minimum(a / b, bare_a / bare_b)
    assert found.quietest(7) == np.argsort(smaller)[:7].tolist()


def test_only_what_is_louder_is_among_the_loudest():
    found = std_ratios(reference([1.0, 5.0, 3.0]), reference([1.0, 1.0, 6.0]))
    assert (found.loudest(5), found.quietest(5)) == ([1], [2])
    same = std_ratios(reference([1.0, 2.0]), reference([1.0, 2.0]))
    assert (same.loudest(5), same.quietest(5)) == ([], [])


def test_a_dimension_that_does_not_vary_is_infinitely_quiet_unless_neither_does():
    found = std_ratios(reference([0.0, 0.0, 2.0]), reference([0.0, 2.0, 0.0]))
    assert found.whole.ratios.tolist() == [1.0, 0.0, math.inf]
    assert found.whole.inverses.tolist() == [1.0, math.inf, 0.0]
    assert (found.loudest(5), found.quietest(5)) == ([2], [1])


def test_the_view_without_sinks_needs_both_sides():
    for a, b in (((1, 1), None), (None, (1, 1)), (None, None)):
        found = std_ratios(reference([1, 1], a), reference([1, 1], b))
        assert found.bare is None and len(found.views) == 1


def test_widths_that_differ_are_refused():
    with pytest.raises(ValueError, match="has 3 dimensions and the states have 2"):
        std_ratios(reference([1, 1]), reference([1, 1, 1]))
