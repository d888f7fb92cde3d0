"""New values of a dimension, against plain Python over the tokens."""

import pytest
import torch
from zimage_layer_lab.core.dimension.ablation import TokenGroups, replace_values
from zimage_layer_lab.core.dimension.prompt_tokens import (
    ProbePromptsError,
    PromptTokens,
    arrange_prompts,
)
from zimage_layer_lab.core.dimension.ways import PLACES

WORDS = {1: "<s>", 2: "</s>", 5: ",", 6: " 7", 7: " 8", **{10 + n: f" w{n}" for n in range(20)}}
PROMPTS = [
    [1, 3, 10, 11, 5, 12, 6, 2, 4],
    [1, 3, 13, 14, 15, 5, 7, 16, 2, 4],
    [1, 3, 10, 17, 6, 18, 2, 4],
    [1, 3, 19, 5, 12, 2, 4],
]


@pytest.fixture(scope="module")
def groups():
    """Four prompts in a template of two tokens at both ends; sinks are token 0 and every comma."""
    tokens = arrange_prompts(PROMPTS, [], lambda one: WORDS.get(one, "x"), {1, 2}.__contains__)
    assert (tokens.start, tokens.end) == (2, 2)
    return TokenGroups(tokens, (tokens.position == 0) | (tokens.ids == 5))


@pytest.fixture(scope="module")
def values(groups):
    """One number for each token, the same at a place of the shared beginning."""
    tokens = groups.tokens
    own = torch.arange(len(tokens.ids), dtype=torch.float32) + 100
    return torch.where(tokens.fixed, 1000.0 * (1 + tokens.position), own)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["zero", "mean"])
def test_zero_and_mean(way, place, groups, values):
    tokens = groups.tokens
    sinks, fixed, ids = groups.sinks.tolist(), tokens.fixed.tolist(), tokens.ids.tolist()
    x = values.tolist()
    others = [one for one, sink in zip(x, sinks, strict=True) if not sink]
    commas = [one for one, token in zip(x, ids, strict=True) if token == 5]
    expected = []
    for row, one in enumerate(x):
        chosen = place == "all" or (place == "sinks") == sinks[row]
        if not chosen:
            expected.append(one)
        elif way == "zero":
            expected.append(0.0)
        elif sinks[row]:
            # The first token has one value in every prompt: its mean is what it is.
            expected.append(one if fixed[row] else sum(commas) / len(commas))
        else:
            expected.append(sum(others) / len(others))
    assert replace_values(values, way, place, groups).tolist() == pytest.approx(expected)


def test_a_shuffled_value_is_that_of_a_like_token_of_another_prompt(groups, values):
    tokens, sinks = groups.tokens, groups.sinks.tolist()
    new = replace_values(values, "shuffle", "all", groups).tolist()
    by_value = {one: row for row, one in enumerate(values.tolist())}
    moved = 0
    for row, one in enumerate(new):
        if tokens.fixed[row]:
            assert one == values[row]
            continue
        donor = by_value[one]
        assert tokens.prompt[donor] != tokens.prompt[row]
        assert not tokens.fixed[donor] and sinks[donor] == sinks[row]
        if sinks[row]:
            assert tokens.ids[donor] == tokens.ids[row]
        elif tokens.own[row]:
            assert tokens.classes[donor] == tokens.classes[row]
        else:
            assert tokens.from_end[donor] == tokens.from_end[row]
        moved += 1
    assert moved == len(new) - 2 * len(PROMPTS)
    others = replace_values(values, "shuffle", "others", groups)
    assert torch.equal(others[groups.sinks], values[groups.sinks])


def test_the_order_of_the_prompts_changes_nothing(groups):
    text, special = (lambda one: WORDS.get(one, "x")), {1, 2}.__contains__
    turned = arrange_prompts(PROMPTS[::-1], [], text, special)
    assert turned == groups.tokens
    assert torch.equal(TokenGroups(turned, groups.sinks).donors, groups.donors)


def test_bad_words_and_too_few_prompts(groups, values):
    with pytest.raises(ValueError, match="way 'median' is not one of zero, mean, shuffle"):
        replace_values(values, "median", "all", groups)
    with pytest.raises(ValueError, match="place 'last' is not one of all, sinks, others"):
        replace_values(values, "zero", "last", groups)
    for prompts, why in (
        ([[1, 3]], "at least two prompts"),
        ([[1], [2], [3]], "3 of 3 prompts have no token to predict"),
        ([[1, 4], [1, 4]], "2 of 2 prompts have no token"),
    ):
        with pytest.raises(ProbePromptsError, match=why):
            arrange_prompts(prompts, [], str, {1}.__contains__)


def test_shuffled_values_come_from_all_over_the_other_prompts():
    """Of 20 prompts of 10 like tokens each, as a random draw of 200 from 190 does."""
    ids = [tuple(range(100 * n, 100 * n + 10)) for n in range(20)]
    tokens = PromptTokens(tuple(ids), 0, 0, ("word start",) * 200)
    donors = TokenGroups(tokens, torch.zeros(200, dtype=torch.bool)).donors
    rows = torch.arange(200)
    assert (donors // 10 != rows // 10).all()
    assert set((donors // 10).tolist()) == set(range(20))
    assert 110 < len(donors.unique()) < 142  # 200 * (1 - 1/e) = 126, give or take four sigma
    assert 85 < donors.double().mean() < 115
    assert 0.35 < (donors > rows).double().mean() < 0.65


def test_where_no_other_prompt_has_its_like_an_ordinary_token_stands_in():
    """A digit that only one prompt has gets any own token of another that is no sink; a sink whose
    token no other prompt has stays; the ends are each other's."""
    prompts = (1, 20, 30, 6, 21, 9), (1, 22, 5, 5, 5, 23, 9), (1, 24, 5, 5, 25, 9)
    words = {20, 21, 22, 23, 24, 25}
    names = {1: "special", 9: "special", 30: "digit", 5: "punctuation", 6: "punctuation"}
    classes = tuple("word start" if one in words else names[one] for ids in prompts for one in ids)
    tokens = PromptTokens(prompts, 1, 1, classes)
    sinks = torch.tensor([one in (5, 6) for one in tokens.ids.tolist()])
    donors = TokenGroups(tokens, sinks).donors.tolist()
    ids, prompt = tokens.ids.tolist(), tokens.prompt.tolist()
    for row, donor in enumerate(donors):
        if ids[row] in (1, 6):
            assert donor == row
            continue
        assert prompt[donor] != prompt[row]
        like = {30: {22, 23, 24, 25}, 5: {5}, 9: {9}}
        assert ids[donor] in like.get(ids[row], words)


def test_a_prompt_alone_keeps_its_values():
    tokens = PromptTokens(((1, 20, 21, 9),), 1, 1, ("other",) * 4)
    groups = TokenGroups(tokens, torch.zeros(4, dtype=torch.bool))
    assert groups.donors.tolist() == [0, 1, 2, 3]


def test_means_where_all_are_sinks_and_in_the_dtype_of_the_values():
    tokens = PromptTokens(((5, 6), (5, 7)), 0, 0, ("other",) * 4)
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.bfloat16)
    new = replace_values(
        values, "mean", "all", TokenGroups(tokens, torch.ones(4, dtype=torch.bool))
    )
    assert new.dtype == torch.bfloat16 and new.tolist() == [2.5, 2.0, 2.5, 8.0]


def test_a_way_that_was_read_from_a_file_is_the_same_way(groups, values):
    for way in ("zero", "mean", "shuffle"):
        read = replace_values(values, "".join(list(way)), "all", groups)
        assert torch.equal(read, replace_values(values, way, "all", groups))
