"""The rule of the verdict, case by case, and what would overturn it."""

import pytest
from zimage_layer_lab.core.dimension.loss import Cost, cost_of
from zimage_layer_lab.core.dimension.verdict import DECISIVE, Trial, judge

CONTROLS = (-0.01, 0.004, 0.02)


def trial(mean, width=0.01):
    return Trial(Cost(mean, mean - width, mean + width, (mean,)), mean, CONTROLS)


@pytest.mark.parametrize(
    ("costs", "name", "limit"),
    [
        ((0.01, 0.0, 0.015), "unused", "by more than 0.02 nats"),
        ((3.0, 0.03, 0.25), "constant bias", "cost over +0.3 nats"),
        ((0.05, 0.019, 0.01), "constant bias", "cost over +0.005 nats"),
        ((1.0, 0.8, 0.5), "signal", "cost no more than +0.1 nats"),
        ((1.0, 0.2, 0.5), "mixed", "a signal if its mean cost at least +0.5 nats"),
        ((-1.0, 0.0, 0.0), "mixed", "constant bias if"),
        ((0.0, 0.0, 0.3), "signal", "cost no more than +0.02 nats"),
    ],
)
def test_each_verdict_and_the_number_that_would_overturn_it(costs, name, limit):
    verdict = judge(dict(zip(DECISIVE, map(trial, costs), strict=True)))
    assert verdict.name == name
    assert limit in verdict.overturned


def test_a_wide_interval_does_not_matter():
    trials = dict(zip(DECISIVE, (trial(3.0, width=4.0), trial(0.0), trial(0.0)), strict=True))
    assert judge(trials).name == "unused"


def test_the_interval_is_the_bootstraps():
    """Of normal differences: the mean +- 1.96 standard errors, within what 2000 draws give."""
    import numpy as np

    random = np.random.default_rng(0)
    plain = random.normal(4, 1, 200)
    change = random.normal(0.5, 0.3, 200)
    cost = cost_of(plain.tolist(), (plain + change).tolist())
    error = change.std(ddof=1) / np.sqrt(200)
    assert cost.mean == pytest.approx(change.mean())
    assert cost.per_prompt == pytest.approx(change)
    assert cost.low == pytest.approx(change.mean() - 1.96 * error, abs=0.2 * error)
    assert cost.high == pytest.approx(change.mean() + 1.96 * error, abs=0.2 * error)
