"""A layer's probe: which runs it needs, and what their losses come to, on random states."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dimension.ablation import replace_values
from zimage_layer_lab.core.dimension.probe import PLAIN, LayerProbe, Measures, Task
from zimage_layer_lab.core.dimension.prompt_tokens import arrange_prompts
from zimage_layer_lab.core.dimension.verdict import DECISIVE
from zimage_layer_lab.core.dimension.ways import PLACES, WAYS
from zimage_layer_lab.core.dit.gain import Gains

WIDTH, PROMPTS, BLOCKS, INDEX = 12, 6, 5, 3
MASSIVE, PROBED, STILL = 4, 7, 9
"""One that carries the sinks, an ordinary one, and one that is 0 everywhere."""


def text(token):
    return f" w{token}"


@pytest.fixture(scope="module")
def tokens():
    random = np.random.default_rng(0)
    lengths = [9, 7, 12, 8, 10, 11]
    prompts = [[1, 3, *random.integers(10, 40, length).tolist(), 2] for length in lengths]
    return arrange_prompts(prompts, [], text, {1, 2}.__contains__)


@pytest.fixture(scope="module")
def states(tokens):
    """The first token of each prompt is a sink, and one of the last prompt's own; what all prompts
    begin with has one state."""
    random = np.random.default_rng(1)
    states = torch.from_numpy(random.normal(size=(len(tokens.ids), WIDTH)))
    states[tokens.fixed] = states[:2].repeat(PROMPTS, 1)
    states[tokens.position == 0, MASSIVE] = 500.0
    states[tokens.rows(PROMPTS - 1).start + 5, MASSIVE] = 300.0
    states[:, STILL] = 0.0
    return states


@pytest.fixture(scope="module")
def probe(tokens, states):
    return LayerProbe(tokens, INDEX, BLOCKS, states, Measures(5, 3, 2))


@pytest.fixture(scope="module")
def losses(probe):
    """A number for each prompt of each run that is asked for."""
    random = np.random.default_rng(2)
    found = {PLAIN: random.normal(4, 1, 5).tolist()}
    for task in probe.tasks([MASSIVE, PROBED, STILL]):
        found[task.name] = random.normal(4, 1, task.prompts).tolist()
    return found


def replaced(probe, dimension, way, place, prompts):
    rows = slice(0, probe.tokens.rows(prompts - 1).stop)
    new = replace_values(probe.states[:, dimension], way, place, probe.groups)
    return new[rows], probe.states[rows, dimension]


def test_sinks_and_stds_are_those_of_all_tokens(probe, tokens, states):
    sinks = (tokens.position == 0).clone()
    sinks[tokens.rows(PROMPTS - 1).start + 5] = True
    assert torch.equal(probe.groups.sinks, sinks)
    assert probe.outliers == [MASSIVE]
    assert probe.stats.all.std.numpy() == pytest.approx(states.numpy().std(0, ddof=1))
    rest = states[~sinks].numpy().std(0, ddof=1)
    assert probe.stats.without_sinks.std.numpy() == pytest.approx(rest)


def test_no_more_prompts_are_run_than_there_are(tokens, states):
    few = LayerProbe(tokens, INDEX, BLOCKS, states, Measures(100, 3, 100))
    assert (few.losses, few.control_prompts) == (6, 6)
    fewer = LayerProbe(tokens, INDEX, BLOCKS, states, Measures(3, 3, 5))
    assert (fewer.losses, fewer.control_prompts) == (3, 3)


def test_every_replacement_is_run_once(probe):
    """Each that changes something is asked for, or another that puts the same values in place."""
    probed = [MASSIVE, PROBED, STILL]
    tasks = probe.tasks(probed)
    assert len({task.name for task in tasks}) == len(tasks)
    wanted = [(one, way, place, 5) for one in probed for way in WAYS for place in PLACES]
    for one in probed:
        wanted += [
            (control, *pair, 2)
            for control in probe.controls_of(one, probed).all
            for pair in DECISIVE
        ]
    runs = {}
    for task in tasks:
        new, old = replaced(probe, *task)
        assert not torch.equal(new, old)
        same = runs.setdefault((task.dimension, task.prompts), [])
        assert not any(torch.equal(new, other) for other in same)
        same.append(new)
    for dimension, way, place, prompts in wanted:
        new, old = replaced(probe, dimension, way, place, prompts)
        found = [torch.equal(new, other) for other in runs.get((dimension, prompts), [])]
        assert sum(found) == (0 if torch.equal(new, old) else 1)
    asked = {(dimension, prompts) for dimension, _, _, prompts in wanted}
    assert {(task.dimension, task.prompts) for task in tasks} <= asked
    assert not [task for task in tasks if task.dimension == STILL]


def test_the_probed_dimensions_are_run_first(probe):
    tasks = probe.tasks([PROBED, MASSIVE])
    prompts = [task.prompts for task in tasks]
    assert prompts == sorted(prompts, reverse=True)
    first = [task.dimension for task in tasks if task.prompts == 5]
    assert first == sorted(first, key=[PROBED, MASSIVE].index)


def test_one_way_alone(probe):
    tasks = probe.tasks([PROBED], ["mean"])
    assert {task.way for task in tasks} == {"mean"} and {task.prompts for task in tasks} == {5, 2}
    assert {task.place for task in tasks if task.prompts == 2} == {"all"}


def test_the_name_of_a_run_has_all_that_tells_it_from_another():
    assert Task(7, "zero", "sinks", 16).name == "7 zero sinks 16"


def test_controls_are_neither_probed_nor_out_of_line(probe):
    for dimension in (PROBED, STILL):
        controls = probe.controls_of(dimension, [PROBED, STILL])
        assert len(controls.drawn) == len(controls.matched) == 3
        assert not {MASSIVE, PROBED, STILL} & set(controls.all)


def test_a_variant_has_new_values_of_its_own_prompts(probe, tokens, states):
    variant = probe.variant(Task(PROBED, "zero", "others", 4))
    assert variant.dimension == PROBED and len(variant.values) == 4
    for number, values in enumerate(variant.values):
        rows = tokens.rows(number)
        sinks = probe.groups.sinks[rows]
        expected = np.where(sinks, states[rows, PROBED], 0)
        assert values.numpy() == pytest.approx(expected)


def expected_cost(probe, losses, dimension, way, place, prompts):
    """The change of each prompt's loss, from whichever run put these values in place."""
    new, old = replaced(probe, dimension, way, place, prompts)
    plain = np.array(losses[PLAIN][:prompts])
    if torch.equal(new, old):
        return 0 * plain
    for task in probe.tasks([MASSIVE, PROBED, STILL]):
        if (task.dimension, task.prompts) == (dimension, prompts):
            if torch.equal(replaced(probe, *task)[0], new):
                return np.array(losses[task.name]) - plain
    raise AssertionError("no run has these values")


@pytest.mark.parametrize("dimension", [MASSIVE, PROBED, STILL])
def test_costs_and_trials_come_from_the_runs_of_the_same_values(dimension, probe, losses):
    probed = [MASSIVE, PROBED, STILL]
    found = probe.result(dimension, probed, losses, torch.randn(40), text)
    assert list(found.costs) == [(way, place) for way in WAYS for place in PLACES]
    for (way, place), cost in found.costs.items():
        expected = expected_cost(probe, losses, dimension, way, place, 5)
        assert cost.per_prompt == pytest.approx(expected)
        assert cost.mean == pytest.approx(expected.mean())
    assert tuple(found.trials) == DECISIVE
    controls = probe.controls_of(dimension, probed)
    for (way, place), trial in found.trials.items():
        assert trial.cost == found.costs[way, place]
        assert trial.compared == pytest.approx(np.mean(trial.cost.per_prompt[:2]))
        assert trial.controls == pytest.approx(
            [
                expected_cost(probe, losses, control, way, place, 2).mean()
                for control in (*controls.drawn, *controls.matched)
            ]
        )


def test_the_other_figures_are_of_this_dimension(probe, losses, states, tokens):
    column = torch.linspace(-1, 1, 40)
    gains = Gains(torch.arange(1.0, WIDTH + 1, dtype=torch.float64))
    probed = [MASSIVE, PROBED, STILL]
    found = probe.result(PROBED, probed, losses, column, text, gains, torch.ones(WIDTH))
    assert (found.dimension, found.index, found.layer) == (PROBED, INDEX, -3)
    assert (found.sinks, found.kept) == (7, 6)
    x = states[:, PROBED].numpy()
    rest = ~probe.groups.sinks.numpy()
    assert found.std == pytest.approx(x.std(ddof=1))
    assert found.std_without_sinks == pytest.approx(x[rest].std(ddof=1))
    assert found.where.sides[1].mean == pytest.approx(x[rest].mean())
    assert found.writes.top[0] == (" w39", 1.0)
    assert found.gain.value == PROBED + 1
    assert {one.width for one in found.knows} <= {WIDTH}
    stds = states[probe.groups.sinks.logical_not()].numpy().std(0, ddof=1)
    matched = stds[list(found.controls.matched)]
    assert found.control_std == pytest.approx((matched.min(), matched.max()))
    assert found.controls == probe.controls_of(PROBED, probed)
    assert found.verdict is not None and found.received[0].name == "sinks"
    assert probe.result(PROBED, probed, losses, column, text).gain is None


def test_of_some_ways_there_is_no_verdict(probe, losses):
    found = probe.result(
        PROBED, [MASSIVE, PROBED, STILL], losses, torch.randn(40), text, ways=["zero"]
    )
    assert found.verdict is None
    assert list(found.costs) == [("zero", place) for place in PLACES]
    assert list(found.trials) == [("zero", "all")]


def test_without_controls_their_std_is_0(tokens, states):
    bare = LayerProbe(tokens, INDEX, BLOCKS, states, Measures(5, 0, 2))
    losses = {PLAIN: [1.0] * 5, **{task.name: [2.0] * 5 for task in bare.tasks([PROBED])}}
    found = bare.result(PROBED, [PROBED], losses, torch.randn(40), text)
    assert found.control_std == (0.0, 0.0) and found.trials["zero", "all"].controls == ()
    assert found.verdict.name == "signal"
