"""Losses of batches of prompts and variants, on a model that is a table, against NumPy."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dimension.loss import LossRun, Variant, cost_of

WIDTH, VOCABULARY = 4, 50


class Table:
    """A model whose blocks add nothing: a state's logits are its product with a table."""

    def __init__(self, vocabulary=VOCABULARY):
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(vocabulary, WIDTH, generator=generator, dtype=torch.float64)
        self.batches = []

    def finish(self, prompts, index, states):
        assert index == 2
        assert [len(ids) for ids in prompts] == [len(own) for own in states]
        self.batches.append([len(ids) for ids in prompts])
        return list(states)

    def logits(self, normed):
        return normed @ self.table.T


def case(lengths, seed=0):
    random = np.random.default_rng(seed)
    prompts = [tuple(random.integers(0, VOCABULARY, length).tolist()) for length in lengths]
    states = [torch.from_numpy(random.normal(size=(length, WIDTH))) for length in lengths]
    return prompts, states


def by_numpy(model, ids, states, part):
    """The mean of -log p of the tokens at ``part``, each from the state before it."""
    logits = states.numpy() @ model.table.numpy().T
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -np.mean([logs[at - 1, ids[at]] for at in range(part.start, part.stop)])


@pytest.mark.parametrize("batch_tokens", [1, 30, 4096])
def test_losses_are_numpys_whatever_shares_a_pass(batch_tokens):
    model = Table()
    prompts, states = case([7, 3, 12, 5])
    parts = [slice(1, 7), slice(2, 3), slice(3, 10), slice(1, 2)]
    run = LossRun(model, 2, prompts, parts, states, batch_tokens)
    new = [torch.linspace(-1, 1, len(ids), dtype=torch.float64) for ids in prompts]
    kept = [own.clone() for own in states]
    told = []
    found = run.losses([Variant(0, None), Variant(3, tuple(new))], [2, 0, 1, 3], told.append)
    for row, changed in zip(found, (False, True), strict=True):
        expected = []
        for number in (2, 0, 1, 3):
            own = states[number].clone()
            if changed:
                own[:, 3] = new[number]
            expected.append(by_numpy(model, prompts[number], own, parts[number]))
        assert row == pytest.approx(expected, rel=1e-12)
    assert all(torch.equal(one, other) for one, other in zip(states, kept, strict=True))
    assert told == [len(batch) for batch in model.batches] and sum(told) == 8


@pytest.mark.parametrize(
    ("batch_tokens", "batches"),
    [
        # The longest first; each pass holds as many as fit beside its longest one.
        (24, [[12, 12], [7, 7, 5], [5, 3, 3]]),
        (23, [[12], [12], [7, 7, 5], [5, 3, 3]]),
        (36, [[12, 12, 7], [7, 5, 5, 3, 3]]),
        (5, [[12], [12], [7], [7], [5], [5], [3], [3]]),
    ],
)
def test_a_pass_holds_so_many_tokens_with_its_padding(batch_tokens, batches):
    model = Table()
    prompts, states = case([7, 3, 12, 5])
    parts = [slice(1, len(ids)) for ids in prompts]
    run = LossRun(model, 2, prompts, parts, states, batch_tokens)
    run.losses([Variant(0, None)] * 2, range(4))
    assert model.batches == batches


def test_a_long_prompt_in_low_precision():
    """More rows than the first logits, and states in bfloat16, whose logits are float32's."""
    model = Table()
    prompts, states = case([300])
    model.table = model.table.bfloat16()
    low = [states[0].bfloat16()]
    [[found]] = LossRun(model, 2, prompts, [slice(1, 300)], low).losses([Variant(0, None)], [0])
    logits = (low[0] @ model.table.T).double()
    logs = logits - logits.logsumexp(1, keepdim=True)
    expected = -float(logs[range(299), prompts[0][1:]].mean())
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_interval_lies_between_the_quantiles_of_resampled_means():
    """Of 1, 2, 4 and 8 with replacement, all 256 draws: 2.5 % and 97.5 % of their means."""
    each = np.array([1.0, 2.0, 4.0, 8.0])
    means = np.sort([each[list(draw)].mean() for draw in np.ndindex(4, 4, 4, 4)])
    cost = cost_of([10.0] * 4, (10 + each).tolist())
    assert cost.mean == 3.75 and cost.per_prompt == (1.0, 2.0, 4.0, 8.0)
    # Within what 2000 draws leave open of either share: 1.8 % to 3.2 %.
    assert means[int(0.018 * 256)] <= cost.low <= means[int(0.032 * 256) + 1]
    assert means[int(0.968 * 256) - 1] <= cost.high <= means[int(0.982 * 256)]
