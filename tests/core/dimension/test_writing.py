"""What a dimension writes into the logits, against NumPy."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dimension.writing import read_writing


def text(token):
    return f"<{token}>"


def test_it_raises_and_lowers_the_twelve_tokens_at_either_end():
    values = np.random.default_rng(0).normal(size=40)
    found = read_writing(torch.from_numpy(values), [(0, 1)], text)
    order = np.argsort(-values)
    assert found.top == tuple((text(one), values[one]) for one in order[:12])
    assert found.bottom == tuple((text(one), values[one]) for one in order[::-1][:12])
    assert found.spread == pytest.approx(values.std(ddof=1))


def test_of_a_small_vocabulary_each_token_is_at_both_ends():
    found = read_writing(torch.tensor([0.5, -1.0, 2.0]), [(0, 1)], text)
    assert found.top == (("<2>", 2.0), ("<0>", 0.5), ("<1>", -1.0))
    assert found.bottom == found.top[::-1]


def test_the_correlation_with_log_frequency_is_numpys():
    random = np.random.default_rng(1)
    values = random.normal(size=30)
    prompts = [tuple(random.zipf(1.5, 50).clip(1, 25).tolist()) for _ in range(4)]
    found = read_writing(torch.from_numpy(values), prompts, text)
    tokens, counts = np.unique(np.concatenate(prompts), return_counts=True)
    assert found.frequency == pytest.approx(np.corrcoef(values[tokens], np.log(counts))[0, 1])
    assert found.frequency_tokens == len(tokens)


@pytest.mark.parametrize(
    ("prompts", "tokens"),
    [
        ([(0, 0), (1,)], 2),  # too few
        ([(0, 1), (2,)], 3),  # all equally frequent
    ],
)
def test_too_few_tokens_or_equal_frequencies_have_no_correlation(prompts, tokens):
    found = read_writing(torch.tensor([0.5, -1.0, 2.0]), prompts, text)
    assert found.frequency is None and found.frequency_tokens == tokens


def test_three_tokens_have_one_and_a_constant_column_none():
    prompts = [(0, 0, 1), (0, 1, 2, 0)]  # 4, 2 and 1 times: the logarithms are evenly spaced
    assert read_writing(torch.tensor([2.0, 1, 0]), prompts, text).frequency == pytest.approx(1)
    assert read_writing(torch.tensor([0.0, 1, 2]), prompts, text).frequency == pytest.approx(-1)
    assert read_writing(torch.ones(3), prompts, text).frequency is None
