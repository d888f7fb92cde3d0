"""The order in which partial results are merged, shown by brackets."""

import pytest
from zimage_layer_lab.core.profile.merging import merge_groups


def bracket(one, other):
    return f"({one}{other})"


@pytest.mark.parametrize(
    ("results", "size", "expected"),
    [
        ("", 4, []),
        ("a", 4, [("a", 1)]),
        ("abc", 1, [("a", 1), ("b", 1), ("c", 1)]),
        ("abcdefg", 7, [("(((ab)(cd))((ef)g))", 7)]),
        ("abcdefgh", 3, [("((ab)c)", 3), ("((de)f)", 3), ("(gh)", 2)]),
    ],
)
def test_neighbours_are_merged_as_a_tree_and_in_order(results, size, expected):
    assert list(merge_groups(results, bracket, size)) == expected


def test_what_goes_on_behind_whole_groups_has_the_groups_of_the_unbroken():
    unbroken = list(merge_groups("abcdefghijk", bracket, 3))
    assert list(merge_groups("defghijk", bracket, 3)) == unbroken[1:]


def test_a_logarithm_of_the_results_is_held():
    held, most = 0, 0

    def results():
        nonlocal held, most
        for number in range(1000):
            held += 1
            most = max(most, held)
            yield number

    def merge(one, other):
        nonlocal held
        held -= 1
        return one + other

    assert list(merge_groups(results(), merge, 1000)) == [(499500, 1000)]
    assert most <= 11
