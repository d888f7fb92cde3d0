"""The plan of forward passes: from the prompts alone, nothing lost, nothing over the limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.prompt_tokenizer import PromptTokenizer
from zimage_layer_lab.cli.profile.batches import TokenizedPrompts, TokenLimits, plan_batches
from zimage_layer_lab.cli.profile.prompt_file import PromptFile, PromptFileError

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=200)


@given(lengths, st.integers(1, 700))
def test_every_prompt_is_in_one_batch_and_batches_keep_the_limit(lengths, limit):
    plan = plan_batches(lengths, limit)
    batches = [batch for shard in range(plan.shards) for batch in plan.numbers(shard)]
    assert len(batches) == plan.batches
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[number] for number in batch)
        assert padded <= limit or len(batch) == 1
    flat = [lengths[number] for batch in batches for number in batch]
    assert flat == sorted(lengths, reverse=True)


@given(lengths, st.integers(1, 700))
def test_batches_are_as_full_as_they_can_be(lengths, limit):
    plan = plan_batches(lengths, limit)
    batches = [batch for shard in range(plan.shards) for batch in plan.numbers(shard)]
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > limit


def test_equal_prompts_stay_in_order_and_few_batches_make_small_shards():
    plan = plan_batches([5] * 40, 10)
    assert plan.order.tolist() == list(range(40))
    assert (plan.batches, plan.shards, plan.shard_batches) == (20, 20, 1)
    assert plan_batches([5] * 4000, 10).shard_batches == 4


@pytest.mark.parametrize(("prompts", "group"), [(1, 1), (256, 1), (257, 2), (100_000, 391)])
def test_a_cluster_sends_64_results_at_most(prompts, group):
    plan = plan_batches([5] * prompts, 5)
    assert plan.group_shards == group and -(-plan.shards // group) <= 64


def test_the_plan_of_a_million_prompts_is_small():
    plan = plan_batches(np.full(1_000_000, 40), 2048)
    assert plan.order.nbytes + plan.starts.nbytes < 9e6


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_below_one_token_is_refused(limit):
    with pytest.raises(ValueError, match=f"--batch-tokens is {limit}"):
        plan_batches([3], limit)


@pytest.fixture
def count(tiny_model, tmp_path):
    """A function: (text, limits) -> counted prompts."""
    tokenizer = ModelFiles.find(tiny_model()).tokenizer()

    def run(text, **limits):
        path = tmp_path / "prompts.txt"
        path.write_text(text)
        full = {"context": 64, "vocabulary": 64, **limits}
        return TokenizedPrompts.count(PromptFile(path), tokenizer, TokenLimits(**full))

    return run


def test_the_digest_knows_every_token_and_where_prompts_end(count):
    digests = {
        count(text).digest for text in ("w1 w2\nw3\n", "w1\nw2 w3\n", "w1 w2\nw4\n", "w1 w2\n\nw3")
    }
    assert len(digests) == 3
    assert list(count("w1 w2\nw3\n").lengths) == [6, 5]


def test_a_prompt_over_the_context_is_named_by_line_tokens_and_limit(count):
    text = "w1\n\n" + "w2 " * 7 + "\n"
    assert count(text, context=11).tokens == 5 + 11
    with pytest.raises(PromptFileError, match=r"line 3: the prompt has 11 tokens.*context is 10"):
        count(text, context=10)
    assert count(text, context=None).tokens == 16


def test_a_tokenizer_of_another_model_is_refused(count):
    with pytest.raises(PromptFileError, match="line 1: the tokenizer gives token 15.*knows 12"):
        count("w9\n", vocabulary=12)
    with pytest.raises(PromptFileError, match="gives token 15 and the model knows 15"):
        count("w9\n", vocabulary=15)  # 0 to 14
    assert len(count("w9\n", vocabulary=16)) == 1


class SaysNothing:
    """A tokenizer that finds no token in a prompt."""

    chat_template = None

    def __call__(self, prompt):
        return {"input_ids": []}


def test_a_prompt_without_tokens_is_refused(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n\u200b\n")
    with pytest.raises(PromptFileError, match="line 2: the tokenizer makes no token of it"):
        TokenizedPrompts.count(
            PromptFile(path), PromptTokenizer(SaysNothing()), TokenLimits(None, None)
        )


def test_a_template_that_fails_is_told_with_the_line(tiny_model, tmp_path):
    tokenizer = ModelFiles.find(tiny_model()).tokenizer()
    tokenizer.tokenizer.chat_template = "{{ raise_exception('only pairs of turns') }}"
    (tmp_path / "prompts.txt").write_text("w1\n")
    with pytest.raises(PromptFileError, match="line 1: .*chat template fails.*only pairs"):
        TokenizedPrompts.count(PromptFile(tmp_path / "prompts.txt"), tokenizer, TokenLimits(64, 64))


def test_a_file_that_changes_meanwhile_is_noticed(count, tmp_path):
    counted = count("w1 w2\nw3\n")
    (tmp_path / "prompts.txt").write_text("w1\nw3 w4\n")
    with pytest.raises(PromptFileError, match="was changed while it was being read"):
        counted.ids(0)
