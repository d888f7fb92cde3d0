"""Columns of long sequences, cut by hand."""

import pytest
import torch
from zimage_layer_lab.core.draw.token_columns import Column, largest, token_columns


def pairs(columns):
    return [tuple(column) for column in columns]


def ends(starts):
    return [(a, b - 1) for a, b in zip(starts[:-1], starts[1:], strict=True)]


@pytest.mark.parametrize("tokens", [1, 39, 40])
def test_forty_tokens_are_shown_one_by_one(tokens):
    columns = token_columns(torch.zeros(tokens), [i for i in (20, 22) if i < tokens])
    assert pairs(columns) == [(i, i) for i in range(tokens)]
    assert not any(column.is_run for column in columns)
    assert Column(3, 4).is_run and not Column(4, 4).is_run


def test_of_forty_one_tokens_the_last_two_of_the_least_important_share_a_column():
    columns = token_columns(torch.zeros(41))
    assert pairs(columns) == [*((i, i) for i in range(39)), (39, 40)]


def test_runs_between_single_tokens_are_about_equally_long():
    """Of 40 columns 16 are single tokens, 2 the gaps of 35 and 49, which share 22 more:
    22 * 35 / 84 = 9.2 and 22 * 49 / 84 = 12.8.
    """
    columns = token_columns(torch.zeros(100), [50])
    first = [15, 18, 22, 25, 29, 32, 36, 39, 43, 46, 50]
    second = [51, 54, 58, 62, 66, 69, 73, 77, 81, 84, 88, 92, 96, 100]
    alone = [(i, i) for i in range(15)]
    assert pairs(columns) == [*alone, *ends(first), (50, 50), *ends(second)]


def test_sixteen_tokens_stand_alone_the_wanted_first_then_the_most_important():
    importance = torch.arange(1000.0)
    importance[[3, 500]] = 5000.0
    columns = token_columns(importance, [7, 700])
    alone = [c.first for c in columns if not c.is_run]
    assert alone == [3, 7, 500, 700, *range(988, 1000)]
    assert len(columns) <= 40
    wanted = list(range(0, 1000, 50))
    columns = token_columns(importance, wanted)
    alone = [c.first for c in columns if not c.is_run]
    assert alone == sorted([500, *range(250, 500, 50), *range(550, 1000, 50), 200])


def test_each_column_shows_its_largest_value():
    values = torch.tensor([[1.0, 5.0, 2.0, -3.0], [0.0, -1.0, -2.0, -0.5]])
    columns = [Column(0, 0), Column(1, 2), Column(3, 3)]
    assert largest(values, columns).tolist() == [[1.0, 5.0, -3.0], [0.0, -1.0, -0.5]]
