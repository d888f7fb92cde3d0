"""Where a dimension's variance is: shares against NumPy, tokens by hand."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dimension.ablation import TokenGroups
from zimage_layer_lab.core.dimension.prompt_tokens import PromptTokens
from zimage_layer_lab.core.dimension.where import Part, locate

LONG = (1, 10, 11, 12, 5, 13, 14, 15, 16, 17)
SHORT = (1, 5, 18, 19)
VALUES = [100.0, 1, 4, 2, 50, 3, 6, -8, 7, 20, 100.0, 40, -3, 9]


def groups_of(*prompts, start=0, sinks=()):
    classes = tuple("digit" if token == 5 else "word" for ids in prompts for token in ids)
    tokens = PromptTokens(prompts, start, 0, classes)
    return TokenGroups(tokens, torch.tensor([one in sinks for one in tokens.ids.tolist()]))


def parts_by_numpy(values, names):
    """name -> (tokens, share, mean, std), as in the definition."""
    x, names = np.array(values, dtype=np.float64), np.array(names)
    squares = (x - x.mean()) ** 2
    return {
        name: (
            int((names == name).sum()),
            squares[names == name].sum() / squares.sum(),
            x[names == name].mean(),
            x[names == name].std(ddof=1) if (names == name).sum() > 1 else 0.0,
        )
        for name in names.tolist()
    }


def as_dict(parts):
    return {part.name: pytest.approx(part[1:]) for part in parts}


def test_shares_means_and_stds_are_numpys():
    groups = groups_of(LONG, SHORT, start=1, sinks=(1, 5))
    where = locate(torch.tensor(VALUES), groups, str)
    positions = [*"01234567", "later", "later", *"0123"]
    assert as_dict(where.positions) == parts_by_numpy(VALUES, positions)
    assert [part.name for part in where.positions] == [*"01234567", "later"]
    ids = [*LONG, *SHORT]
    classes = ["digit" if one == 5 else "word" for one in ids]
    assert as_dict(where.classes) == parts_by_numpy(VALUES, classes)
    sides = ["sinks" if one in (1, 5) else "others" for one in ids]
    assert as_dict(where.sides) == parts_by_numpy(VALUES, sides)
    assert [part.name for part in where.sides] == ["sinks", "others"]


def test_of_short_prompts_the_positions_end_with_the_longest():
    """Of the last position the squared deviation is (5 - 33/7)**2, of all of them 430/7."""
    where = locate(torch.tensor([9.0, 1, 2, 3, 9, 4, 5]), groups_of((1, 5, 18), SHORT), str)
    assert [part.name for part in where.positions] == ["0", "1", "2", "3", "later"]
    assert where.positions[-1] == Part("later", 0, 0.0, 0.0, 0.0)
    assert where.positions[3] == Part("3", 1, pytest.approx(4 / 3010), 5.0, 0.0)


@pytest.mark.parametrize("far", [0, 1])
def test_the_class_of_the_largest_share_comes_first(far):
    values = torch.tensor([1.0, 1, 1, -1, -1, -1])
    values[far] = 9
    where = locate(values, groups_of((1, 5, 18), (19, 20, 21)), str)
    assert [part.name for part in where.classes] == [["word", "digit"], ["digit", "word"]][far]


def test_a_constant_dimension_has_no_share_anywhere():
    where = locate(torch.full((7,), 2.0), groups_of((1, 5, 18), SHORT), str)
    assert {part.share for part in (*where.positions, *where.classes, *where.sides)} == {0.0}
    assert where.sides == (Part("sinks", 0, 0.0, 0.0, 0.0), Part("others", 7, 0.0, 2.0, 0.0))


def test_the_coefficient_of_variation_is_the_std_over_the_mean():
    assert Part("a", 3, 0.5, -4.0, 2.0).variation == 0.5
    assert Part("a", 3, 0.5, 1.0, 2.0).variation == 2.0
    assert Part("a", 3, 0.5, 0.0, 2.0).variation == float("inf")


def test_a_token_is_shown_at_each_quantile_with_six_around_it():
    """101 tokens whose values are 0 to 100, so that a quantile is a value."""
    values = torch.arange(101.0)[torch.randperm(101, generator=torch.Generator().manual_seed(3))]
    prompts = tuple(range(60)), tuple(range(100, 141))
    where = locate(values, groups_of(*prompts), lambda one: f"{one} ")
    found = [(token.quantile, token.value) for token in where.tokens]
    quantiles = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
    assert found == [(one, round(100 * one)) for one in quantiles]
    for token in where.tokens:
        ids = prompts[token.prompt]
        at = token.position
        assert values[60 * token.prompt + at] == token.value
        assert token.token == f"{ids[at]} "
        near = [(n, f"{one} ") for n, one in enumerate(ids)]
        assert token.before == "".join(text for n, text in near if at - 6 <= n < at)
        assert token.after == "".join(text for n, text in near if at < n <= at + 6)
    assert {token.prompt for token in where.tokens} == {0, 1}


def test_context_ends_with_the_prompt():
    """Of seven tokens the largest is already that at 0.99, and is shown there."""
    where = locate(torch.tensor([9.0, 1, 2, 3, 8, 4, -5]), groups_of((1, 5, 18), SHORT), str)
    first, last = where.tokens[0], where.tokens[-1]
    assert first == (0.0, -5.0, 1, 3, "1518", "19", "")
    assert last == (0.99, 9.0, 0, 0, "", "1", "518")


def test_a_token_of_the_shared_beginning_is_shown_once_and_one_of_a_prompt_in_each():
    """Both first tokens are largest, and what follows each of them smallest."""
    rest = torch.arange(10.0, 60)
    own = torch.tensor([1000.0, 0]), rest[:25], torch.tensor([999.0, 1]), rest[25:]
    groups = groups_of((1, *range(10, 36)), (1, *range(40, 66)), start=1)
    tokens = locate(torch.cat(own), groups, str).tokens
    assert [(one.prompt, one.position) for one in tokens[:2]] == [(0, 1), (1, 1)]
    assert [one.quantile for one in tokens] == [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]
    assert tokens[-1][:4] == (0.99, 999.0, 1, 0)


def test_the_spread_of_the_shared_beginning_is_the_widest_over_the_largest_value():
    values = torch.tensor([10.0, 5, -40, 3, 10.5, 7, 20, 1])
    prompts = (1, 2, 10, 11), (1, 2, 12, 13)
    assert locate(values, groups_of(*prompts, start=2), str).fixed_spread == 2 / 40
    assert locate(values, groups_of(*prompts, start=1), str).fixed_spread == 0.5 / 40
    assert locate(values, groups_of(*prompts), str).fixed_spread == 0.0
    nothing = torch.zeros(8)
    assert locate(nothing, groups_of(*prompts, start=2), str).fixed_spread == 0.0
    halves = locate(values / 80, groups_of(*prompts, start=2), str)
    assert halves.fixed_spread == pytest.approx(2 / 40)
