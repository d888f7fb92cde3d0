"""Prompts as tokens: what they share, whose loss counts, and where each stands."""

import hashlib
import struct

import pytest
from zimage_layer_lab.core.dimension.prompt_tokens import (
    ProbePromptsError,
    PromptTokens,
    arrange_prompts,
)

TOKENS = PromptTokens(
    ((1, 3, 10, 11, 2), (1, 3, 12, 2), (1, 3, 13, 14, 15, 16, 2)), 2, 1, ("other",) * 16
)


def arranged(*prompts, probes=()):
    return arrange_prompts(prompts, probes, lambda one: f" w{one}", {1, 2}.__contains__)


def test_every_token_has_its_prompt_and_its_place_from_either_end():
    assert len(TOKENS) == 3
    assert TOKENS.ids.tolist() == [1, 3, 10, 11, 2, 1, 3, 12, 2, 1, 3, 13, 14, 15, 16, 2]
    assert TOKENS.prompt.tolist() == [0] * 5 + [1] * 4 + [2] * 7
    assert TOKENS.position.tolist() == [*range(5), *range(4), *range(7)]
    assert TOKENS.from_end.tolist() == [4, 3, 2, 1, 0, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1, 0]


def test_fixed_and_own_tokens_are_told_apart():
    assert TOKENS.ids[TOKENS.fixed].tolist() == [1, 3] * 3
    assert TOKENS.ids[TOKENS.own].tolist() == [10, 11, 12, 13, 14, 15, 16]
    bare = PromptTokens(((5, 6), (7, 8)), 0, 0, ("other",) * 4)
    assert not bare.fixed.any() and bare.own.all()


def test_the_rows_of_a_prompt_and_the_positions_whose_loss_counts():
    assert [TOKENS.rows(number) for number in range(3)] == [slice(0, 5), slice(5, 9), slice(9, 16)]
    assert [TOKENS.predicted(number) for number in range(3)] == [
        slice(2, 4),
        slice(2, 3),
        slice(2, 6),
    ]
    # Nothing predicts the first token of all.
    assert PromptTokens(((5, 6, 7), (7, 8)), 0, 0, ("other",) * 5).predicted(0) == slice(1, 3)
    assert PromptTokens(((5, 6, 7), (5, 8)), 1, 0, ("other",) * 5).predicted(0) == slice(1, 3)


def test_prompts_stand_in_the_order_of_the_hashes_of_their_tokens():
    prompts = [(1, 10 + n, 20 + n * n, 2) for n in range(9)]
    order = sorted(prompts, key=lambda ids: hashlib.sha256(struct.pack("=4q", *ids)).digest())
    assert arranged(*prompts).prompts == tuple(order) != tuple(prompts)


@pytest.mark.parametrize(
    ("prompts", "start", "end"),
    [
        ([(1, 3, 10, 2), (1, 3, 11, 12, 2)], 2, 1),
        ([(10, 11), (12, 13)], 0, 0),
        ([(1, 10, 11), (1, 12, 11)], 1, 1),
        ([(1, 5, 5, 5, 6), (1, 5, 6, 7)], 2, 0),
    ],
)
def test_what_all_prompts_share_at_either_end(prompts, start, end):
    tokens = arranged(*prompts)
    assert (tokens.start, tokens.end) == (start, end)


def test_probes_keep_a_common_word_from_counting_as_the_template():
    prompts = [(1, 10, 11, 12, 2), (1, 10, 13, 12, 2)]
    tokens = arranged(*prompts)
    assert (tokens.start, tokens.end) == (2, 2)
    tokens = arranged(*prompts, probes=[(1, 30, 2), (1, 31, 2)])
    assert (tokens.start, tokens.end) == (1, 1)
    assert set(tokens.prompts) == set(prompts)


def test_each_prompt_is_classified_by_itself():
    """A letter at the beginning of a prompt goes on with no word of the one before."""
    tokens = arrange_prompts(
        [(10, 11, 2), (10, 12, 2)],
        [(2,)],
        {10: "a", 11: "b", 12: " c", 2: "</s>"}.get,
        {2}.__contains__,
    )
    by_prompt = {ids: tokens.classes[3 * n : 3 * n + 3] for n, ids in enumerate(tokens.prompts)}
    assert by_prompt == {
        (10, 11, 2): ("word start", "word part", "special"),
        (10, 12, 2): ("word start", "word start", "special"),
    }


def test_prompts_without_a_token_to_predict_are_left_out():
    """Without a beginning of their own the first token is predicted by nothing."""
    tokens = arranged((10, 11), (12,), (13, 14, 15))
    assert set(tokens.prompts) == {(10, 11), (13, 14, 15)} and len(tokens.classes) == 5
    tokens = arranged((1, 10, 2), (1, 2), (1, 11, 12, 2))
    assert set(tokens.prompts) == {(1, 10, 2), (1, 11, 12, 2)}


ADVICE = (
    "at least two prompts are needed, since shuffling takes a value from another prompt: give more "
    "prompts, of two words or more"
)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([(10,), (11,), (12, 13)], f"2 of 3 prompts have no token to predict; {ADVICE}"),
        ([(10,), (11, 12)], f"1 of 2 prompts have no token to predict; {ADVICE}"),
    ],
)
def test_too_few_prompts_say_how_many_and_what_to_do(prompts, says):
    with pytest.raises(ProbePromptsError) as error:
        arranged(*prompts)
    assert str(error.value) == says


def test_one_prompt_is_too_few_with_nothing_left_out():
    with pytest.raises(ProbePromptsError) as error:
        arranged((1, 10, 11, 2), probes=[(1, 30, 2), (1, 31, 2)])
    assert str(error.value) == ADVICE
