"""AUC of one dimension, against SciPy's Mann-Whitney; a planted class is found by its rank."""

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from zimage_layer_lab.core.dimension.knowledge import class_auc, measure_knowledge
from zimage_layer_lab.core.dimension.prompt_tokens import arrange_prompts

TEXTS = {1: "<s>", **{n: f" {n}" for n in range(2, 12)}, **{n: f" w{n}" for n in range(12, 40)}}


def test_auc_is_scipys_with_ties():
    random = np.random.default_rng(0)
    states = random.integers(0, 6, (200, 5)).astype(np.float32)
    states[:, 4] = 1.0
    labels = random.random((2, 200)) < 0.3
    found = class_auc(torch.from_numpy(states), torch.from_numpy(labels)).numpy()
    for row, label in enumerate(labels):
        for column in range(5):
            column_values = states[:, column].astype(np.float64)
            inside, outside = column_values[label], column_values[~label]
            expected = mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
            assert found[row, column] == pytest.approx(expected, abs=1e-12)
    assert (found[:, 4] == 0.5).all()


def test_a_planted_class_is_told_by_its_dimension_alone():
    """Whichever way it points; the others stay near chance on the half that was held out."""
    random = np.random.default_rng(1)
    prompts = [[1, *random.integers(2, 40, 12).tolist()] for _ in range(24)]
    tokens = arrange_prompts(prompts, [], TEXTS.__getitem__, {1}.__contains__)
    states = torch.from_numpy(random.normal(size=(len(tokens.ids), 40)))
    digit = torch.tensor([name == "digit" for name in tokens.classes])
    states[:, 7] -= 3.0 * digit
    known = measure_knowledge(states, tokens)
    assert set(known.names) == {"digit", "word start"}
    best = known.of(7)[0]
    assert best.rank == 1 and best.auc == best.best > 0.95
    others = [known.of(dimension)[0].auc for dimension in range(40) if dimension != 7]
    assert np.median(others) < 0.6
