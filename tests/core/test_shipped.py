"""The shipped list of prompts that references are built from."""

import re
from pathlib import Path

import pytest
from zimage_layer_lab.core import shipped

CORPUS = Path(__file__).resolve().parents[2] / "stats" / "corpus.txt"
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def prompts():
    text = CORPUS.read_text(encoding="utf-8")
    assert text.endswith("\n") and "\r" not in text
    return text.split("\n")[:-1]


def test_there_are_at_least_120_different_prompts_and_no_blank_line(prompts):
    assert len(prompts) >= 120
    assert all(prompt == prompt.strip() and prompt for prompt in prompts)
    assert len({prompt.casefold() for prompt in prompts}) == len(prompts)


def test_about_a_third_is_chinese(prompts):
    chinese = [prompt for prompt in prompts if CHINESE.search(prompt)]
    assert 0.25 < len(chinese) / len(prompts) < 0.45
    assert all(prompt.isascii() for prompt in prompts if prompt not in chinese)


def test_lengths_run_from_three_words_to_over_a_hundred(prompts):
    english = [len(prompt.split()) for prompt in prompts if prompt.isascii()]
    assert min(english) <= 3 and max(english) >= 120
    assert sum(length <= 6 for length in english) >= 8
    assert sum(length >= 60 for length in english) >= 6
    chinese = [len(prompt) for prompt in prompts if not prompt.isascii()]
    assert min(chinese) <= 6 and max(chinese) >= 200


def test_quoted_text_to_be_written_occurs_in_both_languages(prompts):
    assert sum('"' in prompt for prompt in prompts) >= 8
    assert sum("“" in prompt for prompt in prompts) >= 4


def test_no_prompt_repeats_the_demo(prompts):
    demo = CORPUS.with_name("demo_prompts.txt").read_text(encoding="utf-8").splitlines()
    assert not set(prompts) & set(demo)


def test_every_data_file_of_the_pack_is_where_it_is_looked_for():
    folder = Path(__file__).resolve().parents[2] / "stats"
    files = (shipped.CORPUS, shipped.DEMO_PROMPTS, shipped.PUBLISHED_REFERENCE, shipped.Z_IMAGE)
    assert shipped.STATS_DIRECTORY == folder and [file.parent for file in files] == [folder] * 4
    assert all(file.is_file() for file in files)
