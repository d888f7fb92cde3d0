"""Constant bias, signal, unused or mixed: the rule, and the number that would overturn it.

The shares are design choices; the costs they are applied to are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .loss import Cost
from .ways import ALL, MEAN, OTHERS, SHUFFLE, ZERO

UNUSED, CONSTANT, SIGNAL, MIXED = "unused", "constant bias", "signal", "mixed"
HARMLESS_SHARE = 0.1
"""An ablation that costs at most this share of what zero costs is harmless beside it."""
SIGNAL_SHARE = 0.5
"""In a signal the mean costs at least this share of what zero costs: little of it is constant."""
DECISIVE = ((ZERO, ALL), (MEAN, ALL), (SHUFFLE, OTHERS))
"""The ablations that decide, which the controls undergo too."""
RULE = (
    "An ablation matters if its interval leaves out 0 and, over the prompts that the controls were "
    "run on, the loss changes more, up or down, than in every control; it hurts if the loss rises. "
    "Unused: none of zero (all tokens), mean (all tokens) and shuffled (the tokens that are no "
    "sinks) matters. Constant bias: zero hurts, and mean and shuffled each do not matter or cost "
    f"at most {HARMLESS_SHARE:.0%} of it. Signal: shuffled hurts and costs more than that, and the "
    f"mean costs at least {SIGNAL_SHARE:.0%} of what zero costs. Mixed: anything else."
)
"""The rule in words, as reports print it."""
NAMES = {ZERO: "zero", MEAN: "its mean", SHUFFLE: "shuffling the others"}


@dataclass(frozen=True)
class Trial:
    """One decisive ablation of a dimension, and what the same costs in the controls.

    Attributes:
        cost: over all prompts whose losses were measured.
        compared: the mean cost over the prompts that the controls were run on.
        controls: the mean cost of each control over these.
    """

    cost: Cost
    compared: float
    controls: tuple[float, ...]

    @property
    def bar(self) -> float:
        """The largest change of the loss in a control, up or down; 0 without any."""
        return max(map(abs, self.controls), default=0.0)

    @property
    def matters(self) -> bool:
        """Whether the loss changes more than by chance and than in every control."""
        away = self.cost.low > 0 or self.cost.high < 0
        return away and abs(self.compared) > self.bar

    @property
    def hurts(self) -> bool:
        """Whether it matters, and the loss rises."""
        return self.matters and self.cost.mean > 0


@dataclass(frozen=True)
class Verdict:
    """The verdict in a word, why, and what would overturn it, in sentences."""

    name: str
    because: str
    overturned: str


def judge(trials: Mapping[tuple[str, str], Trial]) -> Verdict:
    """The verdict by :data:`RULE`; ``trials``: of each of :data:`DECISIVE`."""
    zero, mean, shuffle = (trials[one] for one in DECISIVE)
    costs = {way: trials[way, place].cost.mean for way, place in DECISIVE}
    because = ", ".join(_in_words(way, trials[way, place]) for way, place in DECISIVE)
    because = f"{because[0].upper()}{because[1:]}."
    limit = HARMLESS_SHARE * costs[ZERO]
    if not any(trial.matters for trial in (zero, mean, shuffle)):
        way, place = max(DECISIVE, key=lambda one: abs(trials[one].compared) - trials[one].bar)
        nearest = trials[way, place]
        return Verdict(
            UNUSED,
            because,
            f"It would not be unused if {NAMES[way]}, which comes nearest to it, changed the loss "
            f"by more than {nearest.bar:.3g} nats (over the same prompts it changes by "
            f"{_nats(nearest.compared)}) and the interval left out 0 ({nearest.cost.low:+.3g} to "
            f"{nearest.cost.high:+.3g}).",
        )
    harmless = {
        way: not trial.matters or abs(costs[way]) <= limit
        for way, trial in ((MEAN, mean), (SHUFFLE, shuffle))
    }
    if zero.hurts and all(harmless.values()):
        nearest = max(harmless, key=lambda way: costs[way])
        return Verdict(
            CONSTANT,
            because,
            f"It would be no mere constant if its mean or shuffling the others cost over "
            f"{_nats(limit)}, {HARMLESS_SHARE:.0%} of what zero costs ({NAMES[nearest]} comes "
            f"nearest with {_nats(costs[nearest])}).",
        )
    half = SIGNAL_SHARE * costs[ZERO]
    if shuffle.hurts and not harmless[SHUFFLE] and costs[MEAN] >= half:
        return Verdict(
            SIGNAL,
            because,
            f"It would be no signal if shuffling the others cost no more than "
            f"{_nats(max(shuffle.bar, limit))} (it costs {_nats(costs[SHUFFLE])}), and mixed if "
            f"its mean cost under {_nats(half)} (it costs {_nats(costs[MEAN])}).",
        )
    if costs[ZERO] <= 0:
        return Verdict(
            MIXED,
            because,
            f"It would be a constant bias if zero hurt (it costs {_nats(costs[ZERO])}), and a "
            f"signal if shuffling the others cost over {_nats(shuffle.bar)} (it costs "
            f"{_nats(costs[SHUFFLE])}) with an interval above 0.",
        )
    return Verdict(
        MIXED,
        because,
        f"It would be a constant bias if its mean and shuffling the others each cost at most "
        f"{_nats(limit)} (they cost {_nats(costs[MEAN])} and {_nats(costs[SHUFFLE])}), and a "
        f"signal if its mean cost at least {_nats(half)} and shuffling the others over "
        f"{_nats(max(shuffle.bar, limit))}.",
    )


def _in_words(way: str, trial: Trial) -> str:
    verb = "hurts" if trial.hurts else "helps" if trial.matters else "does not matter"
    controls = (
        f"the controls at most {trial.bar:.3g} either way" if trial.controls else "no control"
    )
    return f"{NAMES[way]} {verb} ({_nats(trial.cost.mean)}; {controls})"


def _nats(value: float) -> str:
    return f"{value:+.3g} nats"
