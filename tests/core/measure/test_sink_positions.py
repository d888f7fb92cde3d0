"""Where sink tokens stand, against a plain list of them all."""

import json
from collections import Counter

import pytest
import torch
from zimage_layer_lab.core.measure import sink_positions
from zimage_layer_lab.core.measure.sink_positions import SinkPositions
from zimage_layer_lab.core.profile.profile_file import load_profile, sink_counts

from ...oracles.profiles import hand_profile

SINKS = [[0], [], [0, 3], [5], [0], [2, 3, 6]]


def seen(numbers) -> SinkPositions:
    """These prompts of SINKS, in batches of two as long as their longest prompt."""
    found = SinkPositions()
    for first in range(0, len(numbers), 2):
        batch = numbers[first : first + 2]
        marks = torch.zeros(len(batch), 7, dtype=torch.bool)
        for row, number in enumerate(batch):
            marks[row, SINKS[number]] = True
        found.update(marks[:, : 2 + max(max(SINKS[number], default=0) for number in batch)], batch)
    return found


@pytest.mark.parametrize("listed", [10, 4])
def test_any_split_counts_every_sink_token(monkeypatch, listed):
    monkeypatch.setattr(sink_positions, "MOST_LISTED", listed)
    whole = seen([5, 0, 3, 1, 2, 4])
    parts = seen([2]).merge(seen([4, 3])).merge(seen([]).merge(seen([0, 1, 5])))
    expected = tuple(sorted(Counter(place for one in SINKS for place in one).items()))
    for found in (whole, parts):
        assert found.prompts == 5
        assert found.by_position() == expected
        assert found.by_prompt(6) == (() if listed == 4 else tuple(map(tuple, SINKS)))
    assert set(whole.listed[::2]) == {n for n, places in enumerate(SINKS) if places and n < listed}


@pytest.mark.parametrize("prompts", [10_000, 10_001])
def test_a_file_has_the_list_of_up_to_10000_prompts_and_the_counts_of_all(tmp_path, prompts):
    profile = hand_profile([1, 50, 50, 2], sinks=[[0, 4]] * prompts, prompts=prompts)
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile.to_json(lambda place: "")), encoding="utf-8")
    document = load_profile(path)
    assert len(document.get("sink_positions", [])) == (prompts if prompts == 10_000 else 0)
    assert sink_counts(document) == (prompts, {0: prompts, 4: prompts})
    if "sink_positions" in document:
        del document["sink_prompts"], document["sink_counts"]
        assert sink_counts(document) == (prompts, {0: prompts, 4: prompts})
