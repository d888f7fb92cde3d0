"""The rule of the verdict, case by case, and what would overturn it."""

import pytest
from zimage_layer_lab.core.dimension.loss import Cost, cost_of
from zimage_layer_lab.core.dimension.verdict import DECISIVE, RULE, Trial, judge

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


def judged(*costs):
    return judge(dict(zip(DECISIVE, map(trial, costs), strict=True)))


def because(zero, mean, shuffle):
    bar = "; the controls at most 0.02 either way)"
    return f"Zero {zero}{bar}, its mean {mean}{bar}, shuffling the others {shuffle}{bar}."


def test_unused_names_the_ablation_that_comes_nearest():
    verdict = judged(0.01, 0.0, 0.015)
    assert verdict.because == because(
        "does not matter (+0.01 nats", "does not matter (+0 nats", "does not matter (+0.015 nats"
    )
    assert verdict.overturned == (
        "It would not be unused if shuffling the others, which comes nearest to it, changed the "
        "loss by more than 0.02 nats (over the same prompts it changes by +0.015 nats) and the "
        "interval left out 0 (+0.005 to +0.025)."
    )


@pytest.mark.parametrize(
    ("compared", "bars", "nearest"),
    [
        ((-0.05, 0.03, 0.0), (0.1, 0.04, 0.5), "its mean"),
        ((-0.05, 0.03, 0.0), (0.055, 0.04, 0.5), "zero"),
        ((0.01, 0.01, -0.02), (0.1, 0.1, 0.1), "shuffling the others"),
    ],
)
def test_nearest_is_what_lacks_least_to_its_own_controls(compared, bars, nearest):
    trials = [
        Trial(Cost(one, -1.0, 1.0, ()), one, (bar, -bar / 2))
        for one, bar in zip(compared, bars, strict=True)
    ]
    overturned = judge(dict(zip(DECISIVE, trials, strict=True))).overturned
    assert overturned.startswith(f"It would not be unused if {nearest}, which comes nearest")


def test_a_constant_bias_names_the_harmless_ablation_that_costs_most():
    verdict = judged(3.0, 0.03, 0.25)
    assert verdict.because == because("hurts (+3 nats", "hurts (+0.03 nats", "hurts (+0.25 nats")
    assert verdict.overturned == (
        "It would be no mere constant if its mean or shuffling the others cost over +0.3 nats, 10% "
        "of what zero costs (shuffling the others comes nearest with +0.25 nats)."
    )
    assert "(its mean comes nearest with +0.03 nats)" in judged(3.0, 0.03, -0.25).overturned


@pytest.mark.parametrize(
    ("costs", "name"),
    [
        ((2.0, 0.2, 0.2), "constant bias"),  # just a tenth of it
        ((2.0, 0.201, 0.0), "mixed"),
        ((2.0, 0.0, 0.201), "mixed"),
        ((2.0, -0.2, 0.0), "constant bias"),
        ((2.0, -0.201, 0.0), "mixed"),  # to help by more is not harmless either
        ((0.1, 0.019, 0.019), "constant bias"),  # over a tenth, but no more than the controls
        ((-2.0, 0.0, 0.0), "mixed"),  # zero helps
        ((1.0, 0.5, 0.5), "signal"),  # just half of it
        ((1.0, 0.499, 0.5), "mixed"),
        ((1.0, 0.8, 0.1), "mixed"),  # shuffled is harmless
        ((1.0, 0.8, -0.5), "mixed"),  # shuffled helps
        ((1.0, 0.8, 0.101), "signal"),
        ((0.0, 0.3, 0.3), "signal"),
        ((-0.5, -0.3, 0.3), "mixed"),
        ((0.01, 0.3, 0.015), "mixed"),  # zero does not matter, the mean hurts
    ],
)
def test_each_share_of_the_rule_at_its_edge(costs, name):
    assert judged(*costs).name == name


def test_a_signal_names_both_numbers_that_would_overturn_it():
    verdict = judged(1.0, 0.8, 0.6)
    assert verdict.because == because("hurts (+1 nats", "hurts (+0.8 nats", "hurts (+0.6 nats")
    assert verdict.overturned == (
        "It would be no signal if shuffling the others cost no more than +0.1 nats (it costs +0.6 "
        "nats), and mixed if its mean cost under +0.5 nats (it costs +0.8 nats)."
    )


def test_mixed_where_zero_costs_nothing_or_helps():
    verdict = judged(0.0, -0.75, 0.25)
    assert verdict.name == "mixed"
    assert verdict.because == because(
        "does not matter (+0 nats", "helps (-0.75 nats", "hurts (+0.25 nats"
    )
    assert verdict.overturned == (
        "It would be a constant bias if zero hurt (it costs +0 nats), and a signal if shuffling "
        "the others cost over +0.02 nats (it costs +0.25 nats) with an interval above 0."
    )
    assert "if zero hurt (it costs -1 nats)" in judged(-1.0, 0.0, 0.0).overturned


@pytest.mark.parametrize(
    ("costs", "limit", "half", "over"),
    [((1.0, 0.2, 0.5), 0.1, 0.5, 0.1), ((0.1, 0.03, 0.04), 0.01, 0.05, 0.02)],
)
def test_mixed_names_what_it_would_take_either_way(costs, limit, half, over):
    assert judged(*costs).overturned == (
        f"It would be a constant bias if its mean and shuffling the others each cost at most "
        f"+{limit} nats (they cost +{costs[1]} nats and +{costs[2]} nats), and a signal if its "
        f"mean cost at least +{half} nats and shuffling the others over +{over} nats."
    )


@pytest.mark.parametrize(
    ("low", "high", "compared", "controls", "matters"),
    [
        (0.01, 0.05, 0.03, (0.02, -0.01), True),
        (0.0, 0.05, 0.03, (0.02, -0.01), False),  # the interval holds 0
        (0.01, 0.05, 0.02, (0.02, -0.01), False),  # no more than a control
        (0.01, 0.05, 0.03, (0.02, -0.04), False),  # a control changes it more, downwards
        (-0.05, -0.01, -0.03, (0.02, -0.01), True),
        (-0.05, 0.0, -0.03, (0.02, -0.01), False),
        (0.01, 0.05, 0.03, (), True),
        (0.01, 0.05, 0.0, (), False),  # nothing on the prompts that count
        (0.001, 0.002, 0.001, (), True),
    ],
)
def test_what_matters_and_what_hurts(low, high, compared, controls, matters):
    mean = (low + high) / 2
    one = Trial(Cost(mean, low, high, ()), compared, controls)
    assert one.matters == matters
    assert one.hurts == (matters and mean > 0)
    assert one.bar == max([abs(control) for control in controls] or [0.0])


def test_without_controls_the_reasons_say_so():
    trials = {pair: Trial(Cost(1.0, 0.5, 1.5, ()), 1.0, ()) for pair in DECISIVE}
    assert judge(trials).because == (
        "Zero hurts (+1 nats; no control), its mean hurts (+1 nats; no control), shuffling the "
        "others hurts (+1 nats; no control)."
    )


def test_the_rule_in_words_has_its_shares():
    assert "do not matter or cost at most 10% of it." in RULE
    assert "the mean costs at least 50% of what zero costs." in RULE


def test_an_interval_of_one_value_is_that_value():
    assert cost_of([4.0, 5.0, 6.0], [4.5, 5.5, 6.5]) == Cost(0.5, 0.5, 0.5, (0.5, 0.5, 0.5))
