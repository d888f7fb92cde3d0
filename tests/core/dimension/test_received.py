"""What the image model receives, against NumPy in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dimension.ablation import TokenGroups
from zimage_layer_lab.core.dimension.prompt_tokens import PromptTokens, arrange_prompts
from zimage_layer_lab.core.dimension.received import DitGain, dit_gain, received_changes
from zimage_layer_lab.core.dit.gain import Gains


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


def test_a_class_of_sinks_alone_is_none_and_the_kinds_have_an_order():
    prompts = ((1, 10, 5), (1, 11, 12, 5))
    classes = ("special", "word start", "digit", "special", "word part", "word start", "digit")
    tokens = PromptTokens(prompts, 1, 0, classes)
    states = torch.arange(28.0).reshape(7, 4)
    found = received_changes(states, 2, TokenGroups(tokens, tokens.position == 0))
    assert [(one.name, one.tokens) for one in found] == [
        ("sinks", 2),
        ("others", 5),
        ("digit", 2),
        ("word part", 1),
        ("word start", 2),
    ]
    none = received_changes(states, 2, TokenGroups(tokens, torch.zeros(7, dtype=torch.bool)))
    assert [one.name for one in none] == ["others", "digit", "special", "word part", "word start"]


def test_more_tokens_than_are_normed_at_a_time_and_a_state_of_zeros():
    random = np.random.default_rng(1)
    prompts = tuple(tuple(random.integers(5, 30, 700).tolist()) for _ in range(3))
    tokens = PromptTokens(prompts, 0, 0, ("other",) * 2100)
    states = random.normal(size=(2100, 4))
    states[1500] = 0
    [found, _] = received_changes(
        torch.from_numpy(states), 1, TokenGroups(tokens, torch.zeros(2100, dtype=torch.bool))
    )
    zeroed = states.copy()
    zeroed[:, 1] = 0
    before, after = (
        rows / np.sqrt((rows**2).mean(1, keepdims=True) + 1e-5) for rows in (states, zeroed)
    )
    length = np.linalg.norm(before, axis=1)
    changes = np.linalg.norm(after - before, axis=1) / np.where(length == 0, 1, length)
    assert found.tokens == 2100 and found.zero == pytest.approx(changes.mean(), rel=1e-5)


def test_a_gain_has_its_rank_and_its_ratio_to_the_median():
    gains = Gains(torch.tensor([4.0, 0.5, 1.0, 2.0, 8.0], dtype=torch.float64))
    assert dit_gain(gains, 0) == DitGain(4.0, 2.0, 2, 5)
    assert dit_gain(gains, 1) == DitGain(0.5, 0.25, 5, 5)
