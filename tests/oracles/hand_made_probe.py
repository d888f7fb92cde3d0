"""One probed dimension, every number of it chosen by hand."""

from dataclasses import replace

from zimage_layer_lab.core.dimension.controls import Controls
from zimage_layer_lab.core.dimension.knowledge import Known
from zimage_layer_lab.core.dimension.loss import Cost
from zimage_layer_lab.core.dimension.probe import DimensionProbe
from zimage_layer_lab.core.dimension.received import DitGain, Received
from zimage_layer_lab.core.dimension.verdict import DECISIVE, Trial, Verdict
from zimage_layer_lab.core.dimension.ways import PLACES, WAYS
from zimage_layer_lab.core.dimension.where import DrivingToken, Part, Where
from zimage_layer_lab.core.dimension.writing import Writing

VERDICT = Verdict("mixed", "Because of this.", "It would be another if that.")
WHERE = Where(
    positions=(Part("0", 4, 0.9, 1000.0, 0.5), Part("later", 0, 0.0, 0.0, 0.0)),
    classes=(Part("special", 4, 0.9, 1000.0, 0.5), Part("word start", 12, 0.1, 0.0, 3.0)),
    sides=(Part("sinks", 4, 0.9, 1000.0, 0.5), Part("others", 12, 0.1, -2.0, 3.0)),
    tokens=(
        DrivingToken(0.0, -7.25, 1, 3, "a red", " fox\n", " runs"),
        DrivingToken(0.99, 1234.5678, 0, 0, "", "<s>", " a"),
    ),
    fixed_spread=0.001,
)


def cost(mean, width=0.5):
    """A cost whose interval reaches ``width`` to either side."""
    return Cost(mean, mean - width, mean + width, (mean - width, mean + width))


def hand_made_probe(**changes):
    """Costs are 1, 2, ... 9 nats, ways first; three random controls and two matched ones."""
    pairs = [(way, place) for way in WAYS for place in PLACES]
    costs = {pair: cost(float(number)) for number, pair in enumerate(pairs, 1)}
    controls = (0.01, -0.03, 0.02, 0.5, -0.25)
    probe = DimensionProbe(
        dimension=7,
        index=3,
        layer=-2,
        std=5.5,
        std_without_sinks=3.0,
        where=WHERE,
        costs=costs,
        trials={pair: Trial(costs[pair], 0.75, controls) for pair in DECISIVE},
        controls=Controls((1, 2, 5), (9, 4)),
        control_std=(2.5, 3.5),
        writes=Writing(((" red", 0.5), ("x", 0.25)), (("y", -0.75),), 0.1, -0.256, 11),
        knows=(Known("digit", 9, 0.8765, 2, 32, 0.9), Known("CJK", 8, 0.5, 20, 32, 0.75)),
        received=(Received("sinks", 4, 0.98765, 0.0), Received("others", 12, 0.25, 0.125)),
        gain=DitGain(0.012345, 0.25, 30, 32),
        sinks=4,
        kept=4,
        verdict=VERDICT,
    )
    return replace(probe, **changes)
