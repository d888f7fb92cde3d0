"""The picture of a dimension shows every cost, and its words can be read."""

from types import SimpleNamespace

import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from zimage_layer_lab.core.dimension.ablation import PLACES, WAYS  # noqa: E402
from zimage_layer_lab.core.dimension.loss import Cost  # noqa: E402
from zimage_layer_lab.core.dimension.verdict import DECISIVE, Trial, judge  # noqa: E402
from zimage_layer_lab.core.dimension.where import Part  # noqa: E402
from zimage_layer_lab.core.draw.dimension_picture import NODE_POINTS, POINTS, draw_probes  # noqa: E402

from ...oracles.figures import words  # noqa: E402

COSTS = {"zero": 3.31, "mean": 0.02, "shuffle": -0.004}


def probe(layer, ways=WAYS):
    """What the picture needs of one hidden state."""
    costs = {
        (way, place): Cost(COSTS[way], COSTS[way] - 0.01, COSTS[way] + 0.01, (COSTS[way],))
        for way in ways
        for place in PLACES
    }
    trials = {
        pair: Trial(costs[pair], costs[pair].mean, (-0.02, 0.011))
        for pair in DECISIVE
        if pair in costs
    }
    parts = (
        Part("special", 9, 0.98, 2000.0, 4000.0),
        Part("word start", 300, 0.02, -40.0, 17.0),
    )
    sides = Part("sinks", 6, 0.98, 10000.0, 0.0), Part("others", 303, 0.02, 38.0, 18.0)
    return SimpleNamespace(
        layer=layer,
        costs=costs,
        trials=trials,
        verdict=judge(trials) if len(trials) == 3 else None,
        where=SimpleNamespace(classes=parts, sides=sides),
    )


@pytest.mark.parametrize("points", [POINTS, NODE_POINTS])
def test_it_names_every_replacement_cost_and_class(points):
    figure = draw_probes([probe(-6), probe(-2)], "SmolLM2: dimension 507", points)
    seen = words(figure)
    for text in (
        *("zero, sinks", "its mean, all", "shuffled, others"),
        *("+3.31", "+0.02", "-0.004", "SmolLM2: dimension 507"),
        *("special (9): 98%", "sinks (6): 98%"),
        *("Layer -6: constant bias. Cost in nats; grey: controls",),
    ):
        assert text in seen, text


def test_of_one_replacement_it_shows_that_alone():
    seen = words(draw_probes([probe(-2, ("zero",))], "a model"))
    assert "Layer -2. Cost in nats; grey: controls" in seen
    assert not [text for text in seen if text.startswith(("its mean", "shuffled"))]
