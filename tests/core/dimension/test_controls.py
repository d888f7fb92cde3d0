"""Which dimensions a probed one is compared with."""

import torch
from zimage_layer_lab.core.dimension.controls import Controls, choose_controls

STD = torch.tensor([1.0, 8.0, 2.1, 100.0, 4.0, 0.25, 0.5, 16.0, 0.0])


def test_matched_ones_are_nearest_by_ratio():
    """Of 2.1: 4 is 1.90 times as large, 1 is 2.1 times smaller, 8 3.8 times, 0.5 4.2 times."""
    assert choose_controls(STD, 2, [2], 4).matched == (4, 0, 1, 6)
    assert choose_controls(STD, 2, [2, 0, 3], 3).matched == (4, 1, 6)
    assert choose_controls(STD, 2, [2], 20).matched == (4, 0, 1, 6, 7, 5, 3, 8)


def test_drawn_ones_are_the_same_for_every_dimension_and_never_the_probed():
    wide = torch.rand(200, generator=torch.Generator().manual_seed(5)) + 0.5
    never = [3, 50, 120]
    first, second = (choose_controls(wide, dimension, never, 40) for dimension in (3, 120))
    assert first.drawn == second.drawn and first.matched != second.matched
    assert list(first.drawn) == sorted(set(first.drawn)) and len(first.drawn) == 40
    assert not set(never) & {*first.all, *second.all}
    assert min(first.drawn) < 40 and max(first.drawn) > 160
    assert set(choose_controls(wide, 3, never, 10).drawn) < set(first.drawn)


def test_fewer_where_there_are_not_so_many_and_none_where_none_is_wanted():
    found = choose_controls(STD, 2, [2, 3], 20)
    assert found.drawn == (0, 1, 4, 5, 6, 7, 8) and len(found.matched) == 7
    assert choose_controls(STD, 2, [2], 0) == Controls((), ())
    assert choose_controls(STD, 2, range(9), 5) == Controls((), ())


def test_all_of_them_once():
    assert Controls((1, 2, 5), (9, 2, 4)).all == (1, 2, 5, 9, 4)
