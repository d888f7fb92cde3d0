"""What the image model receives, against NumPy in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dimension.ablation import TokenGroups
from zimage_layer_lab.core.dimension.prompt_tokens import arrange_prompts
from zimage_layer_lab.core.dimension.received import received_changes


def test_the_change_after_rmsnorm_by_kind_of_token():
    random = np.random.default_rng(0)
    prompts = [[1, *random.integers(5, 30, 8).tolist()] for _ in range(6)]
    tokens = arrange_prompts(prompts, [], lambda one: f" w{one}", {1}.__contains__)
    sinks = tokens.position == 0
    states = random.normal(size=(len(tokens.ids), 12))
    states[sinks.numpy(), 3] = 500.0
    weight = random.uniform(0.5, 2, 12)

    def normed(rows):
        return rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5) * weight

    zeroed, at_mean = states.copy(), states.copy()
    zeroed[:, 3] = 0
    others = ~sinks.numpy()
    at_mean[others, 3] = states[others, 3].mean()
    groups = TokenGroups(tokens, sinks)
    found = {
        one.name: one
        for one in received_changes(
            torch.from_numpy(states), 3, groups, torch.from_numpy(weight).float()
        )
    }
    before = normed(states)
    for name, rows in (("sinks", ~others), ("others", others), ("word start", others)):
        for field, after in (("zero", zeroed), ("mean", at_mean)):
            change = np.linalg.norm(normed(after) - before, axis=1)
            expected = (change / np.linalg.norm(before, axis=1))[rows].mean()
            assert getattr(found[name], field) == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert found[name].tokens == rows.sum()
    assert found["sinks"].mean == 0.0
