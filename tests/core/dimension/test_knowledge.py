"""AUC of one dimension, against SciPy's Mann-Whitney; a planted class is found by its rank."""

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from zimage_layer_lab.core.dimension.knowledge import (
    ClassKnowledge,
    class_auc,
    measure_knowledge,
)
from zimage_layer_lab.core.dimension.prompt_tokens import PromptTokens, arrange_prompts

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


def test_a_direction_is_learned_on_one_half_and_judged_on_the_other():
    """Dimension 0 points up in both halves, 1 down, 2 is tied in the first half and up in the
    other, 3 up in the first and down in the other."""
    tokens = PromptTokens(
        ((2,) * 8 + (30,) * 8,) * 2, 0, 0, (("digit",) * 8 + ("word start",) * 8) * 2
    )
    digit = torch.tensor([1.0] * 8 + [0.0] * 8)
    first = torch.stack([digit, -digit, 0 * digit, digit], dim=1)
    other = torch.stack([digit, -digit, digit, -digit], dim=1)
    known = measure_knowledge(torch.cat([first, other]), tokens)
    assert known.names == ("digit", "word start") and known.tokens == (8, 8)
    # What is tied in the first half counts as up: the digits are up, the words then down.
    assert known.auc.tolist() == [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]


def test_the_prompts_are_halved_by_turns():
    """The first, the third ... teach; the second, the fourth ... are what is told and counted."""
    sizes = (8, 9, 10, 11, 12, 13)
    prompts = tuple((2,) * size + (30,) * size for size in sizes)
    classes = tuple(name for n in sizes for name in ("digit",) * n + ("word start",) * n)
    tokens = PromptTokens(prompts, 0, 0, classes)
    digit = torch.tensor([float(name == "digit") for name in classes])
    odd = tokens.prompt % 2 == 1
    states = torch.stack([digit, torch.where(odd, -digit, digit)], dim=1)
    known = measure_knowledge(states, tokens)
    assert known.tokens == (33, 33)
    assert known.auc.tolist() == [[1.0, 0.0]] * 2


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        (((8, 8), (8, 8)), {"digit", "word start"}),
        (((7, 20), (20, 20)), set()),
        (((20, 20), (7, 20)), set()),
        (((20, 7), (20, 20)), set()),
        (((20, 20), (20, 7)), set()),
        (((9, 9), (30, 9)), {"digit", "word start"}),
    ],
)
def test_a_class_needs_eight_tokens_and_eight_others_in_either_half(sizes, names):
    prompts = tuple((2,) * digits + (30,) * words for digits, words in sizes)
    classes = tuple(
        name for digits, words in sizes for name in ("digit",) * digits + ("word start",) * words
    )
    tokens = PromptTokens(prompts, 0, 0, classes)
    known = measure_knowledge(torch.zeros(len(classes), 3), tokens)
    assert set(known.names) == names
    assert known.auc.shape == (len(names), 3) and known.auc.dtype == torch.float64
    held_out = dict(zip(("digit", "word start"), sizes[1], strict=True))
    assert known.tokens == tuple(held_out[name] for name in known.names)
    assert len(known.of(1)) == len(names)


def test_the_template_is_no_knowledge():
    """Eight digits in either half, but the first of each is every prompt's."""
    ids = (2,) * 8 + (30,) * 8
    tokens = PromptTokens((ids, ids), 1, 0, (("digit",) * 8 + ("word start",) * 8) * 2)
    assert measure_knowledge(torch.zeros(32, 3), tokens).names == ()
    whole = PromptTokens((ids, ids), 0, 0, tokens.classes)
    assert len(measure_knowledge(torch.zeros(32, 3), whole).names) == 2


def test_a_dimensions_rank_counts_those_that_tell_the_class_better():
    auc = torch.tensor([[0.5, 0.9, 0.9, 0.7], [0.6, 0.25, 0.2, 0.1], [0.5, 0.8, 0.9, 0.7]])
    known = ClassKnowledge(("b", "c", "a"), (8, 9, 10), auc.double())
    assert [(one.name, one.tokens, one.rank, one.width) for one in known.of(3)] == [
        ("a", 10, 3, 4),
        ("b", 8, 3, 4),
        ("c", 9, 4, 4),
    ]
    assert [one.auc for one in known.of(3)] == pytest.approx([0.7, 0.7, 0.1])
    assert [one.best for one in known.of(3)] == pytest.approx([0.9, 0.9, 0.6])
    assert [(one.name, one.rank) for one in known.of(1)] == [("b", 1), ("a", 2), ("c", 2)]
    assert [(one.name, one.rank) for one in known.of(0)] == [("c", 1), ("a", 4), ("b", 4)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_auc_of_many_dimensions_in_another_precision(dtype):
    """More dimensions than are ranked at a time."""
    random = np.random.default_rng(2)
    states = torch.from_numpy(random.integers(0, 9, (40, 300))).to(dtype)
    labels = torch.from_numpy(random.random((1, 40)) < 0.5)
    found = class_auc(states, labels)
    assert found.shape == (1, 300)
    inside, outside = states[labels[0]].double(), states[~labels[0]].double()
    above = (inside[:, None] > outside[None]).double() + (inside[:, None] == outside[None]) / 2
    assert torch.allclose(found[0], above.mean((0, 1)))
