"""Profiles written down by hand, of which every number is known."""

from collections import Counter
from collections.abc import Sequence

import pytest
from zimage_layer_lab.core.measure.carriers import Carried
from zimage_layer_lab.core.measure.dimension_stats import Place
from zimage_layer_lab.core.outliers.detection import Outlier
from zimage_layer_lab.core.profile.profile import LayerProfile, Profile

NOWHERE = Carried((0.0,) * 8, 1.0, (None,) * 8, ())
"""No position and no token carries it."""


def hand_outlier(dimension: int, std: float = 500.0, direction: str = "loud", **changes) -> Outlier:
    """An outlier against a reference std of 10, of which sinks carry 75 %."""
    values = {
        "dimension": dimension,
        "std": std,
        "std_without_sinks": 20.0,
        "reference_std": 10.0,
        "ratio": std / 10.0,
        "ratio_without_sinks": 2.0,
        "judged_ratio": std / 10.0,
        "direction": direction,
        "sink_share": 0.75,
        "kind": "sink-borne",
        "top": Place(2, 5),
        "top_share": 0.5,
    }
    return Outlier(**{**values, **changes})


def hand_profile(
    peaks: Sequence[float],
    medians: Sequence[float] | None = None,
    rise: int | None = None,
    fall: int | None = None,
    *,
    model: str = "a model",
    blocks: int | None = None,
    first: int = 0,
    outliers: dict[int, Sequence[Outlier]] | None = None,
    massive: dict[int, Sequence[int]] | None = None,
    prompts: int = 3,
    tokens: int = 40,
    sinks: Sequence[Sequence[int]] = ((0,), (0,), ()),
    threshold: float = 10.0,
) -> Profile:
    """Hidden states ``first``, ``first`` + 1 ... with these largest and median magnitudes.

    Args:
        medians: 1 everywhere if not given.
        blocks: such that the last hidden state is the normed one, if not given.
        outliers, massive: hidden state -> what was found there.
    """
    medians = [1.0] * len(peaks) if medians is None else medians
    blocks = first + len(peaks) - 1 if blocks is None else blocks
    layers = tuple(
        LayerProfile(
            layer=index - blocks - 1,
            index=index,
            normed=index == blocks,
            median_abs=median,
            max_abs=peak,
            std=2.0 + index,
            std_without_sinks=1.0 + index,
            outliers=tuple((outliers or {}).get(index, ())),
            massive=tuple((massive or {}).get(index, ())),
            non_finite=0,
            carried=(NOWHERE,) * len((outliers or {}).get(index, ())),
        )
        for index, (peak, median) in enumerate(zip(peaks, medians, strict=True), first)
    )
    return Profile(
        model=model,
        blocks=blocks,
        width=8,
        prompts=prompts,
        tokens=tokens,
        threshold=threshold,
        emergence_layer=rise,
        fall_layer=fall,
        sink_positions=tuple(map(tuple, sinks)),
        layers=layers,
        sink_prompts=sum(map(bool, sinks)),
        sink_counts=tuple(sorted(Counter(place for prompt in sinks for place in prompt).items())),
    )


NAN = float("nan")
FOX = "狐 🦊 $x_1$ " + "a very long name of a model that somebody has fine-tuned " * 4
EVERY_DAY = ("usual", "two events side by side", "one layer", "zeros", "a long name")
PROFILES = {
    "usual": hand_profile(
        [1, 3, 20, 9000, 9100, 9000, 8000, 700, 40], None, 3, 7, massive={3: [4]}
    ),
    "two events side by side": hand_profile([1, 2, 900, 3, 3, 3, 2], None, 2, 3),
    "events at both ends": hand_profile([1, 900, 900, 900, 2, 1], None, 1, 4),
    "an event at each marked layer": hand_profile([1, 1, 1, 900, 900, 900, 900, 3, 1], None, 3, 7),
    "events at the first state": hand_profile([5, 4, 3, 2], None, 0, 1),
    "flat": hand_profile([5.0] * 9, [5.0] * 9, 1, 2),
    "one layer": hand_profile([7.0], None, blocks=12, first=11),
    "one normed layer": hand_profile([7.0], None, blocks=4, first=4),
    "two layers": hand_profile([7.0, 800.0], None, 1, None),
    "80 layers": hand_profile([1.0 + i for i in range(40)] + [9e4] * 41, None, 40, 79),
    "huge numbers": hand_profile([1e-30, 1e10, 3e38, 3e38, 2e38], [1e-38, 1, 1e30, 1e37, 1], 2, 3),
    "zeros": hand_profile([0.0] * 5, [0.0] * 5, 1, 2),
    "nothing finite": hand_profile([0.0, 5.0, 6.0], [NAN, NAN, 2.0], 1, 2),
    "layers -2 to -6 of many": hand_profile([9, 8, 7, 6, 5], None, blocks=36, first=31),
    "a long name": hand_profile([1, 3, 900, 2], None, 2, 3, model=FOX),
}
"""What a picture has to bear, by name."""
EACH_PROFILE = [
    pytest.param(profile, id=name, marks=() if name in EVERY_DAY else pytest.mark.slow)
    for name, profile in PROFILES.items()
]
"""The same for tests; to draw is slow, so most of them only in the slow tier."""
