"""A report's parts, put together by hand."""

import pytest
from zimage_layer_lab.core.tables import align, enumerate_some, split_report, table


def test_tables_are_taken_out_of_a_report_and_nothing_is_lost():
    first = table(("dim", "std", "ratio"), [("396", "0.5", "3"), ("4", "0.25", "1.5")], 9)
    second = table(("index", "size", "label"), [("0", "8x8", "a fox")], 9)
    text = f"2 of 64 dimensions masked\nsink tokens: none\n{first}\nzero on 2\n\n{second}\nthe end"
    verdict, tables, rest = split_report(text)
    assert verdict == "2 of 64 dimensions masked"
    assert tables == f"{first}\n\n{second}"
    assert rest == "sink tokens: none\nzero on 2\n\nthe end"


def test_a_prompt_with_two_spaces_is_no_table():
    text = "9 tokens at layer -2\na fox  in  snow\nat dawn"
    assert split_report(text) == ("9 tokens at layer -2", "", "a fox  in  snow\nat dawn")


def test_one_line_is_a_verdict_alone():
    assert split_report("nothing changed") == ("nothing changed", "", "")


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([("a", "bb", "c"), ("dd", "e", "")], ["a   bb  c", "dd  e"]),
        ([("a",)], ["a"]),
        ([("狐", "x"), ("ab", "y")], ["狐   x", "ab  y"]),
    ],
)
def test_columns_stand_under_each_other_two_blanks_apart(rows, lines):
    assert align(rows) == lines


@pytest.mark.parametrize(
    ("most", "text"),
    [
        (3, "h  k\n1  a\n2  b\n3  c"),
        (4, "h  k\n1  a\n2  b\n3  c"),
        (2, "h  k\n1  a\n2  b\n... and 1 more"),
        (1, "h  k\n1  a\n... and 2 more"),
        (0, "h  k\n... and 3 more"),
    ],
)
def test_a_table_is_cut_and_says_how_many_rows_are_left(most, text):
    assert table(("h", "k"), [("1", "a"), ("2", "b"), ("3", "c")], most) == text


@pytest.mark.parametrize(
    ("words", "most", "count", "text"),
    [
        ("abc", 3, None, "a, b, c"),
        ("abc", 2, None, "a, b and 1 more"),
        ("ab", 2, 7, "a, b and 5 more"),
        ("ab", 2, 2, "a, b"),
        ("ab", 5, 5, "a, b"),
        ("", 2, None, ""),
    ],
)
def test_a_list_is_cut_and_says_how_many_are_left(words, most, count, text):
    assert enumerate_some(iter(words), most, count) == text


def test_lines_of_two_cells_or_alone_are_no_table():
    assert split_report("first\na  b\nc  d") == ("first", "", "a  b\nc  d")
    assert split_report("first\na  b  c\nthen\nd  e  f") == ("first", "", "a  b  c\nthen\nd  e  f")


def test_a_table_right_behind_the_first_line_or_at_the_end_is_whole():
    assert split_report("f\na  b  c\nd  e  f\ng  h  i") == ("f", "a  b  c\nd  e  f\ng  h  i", "")
    assert split_report("f\nx\na  b  c\nd  e  f") == ("f", "a  b  c\nd  e  f", "x")
    assert split_report("a  b  c\na  b  c\nx") == ("a  b  c", "", "a  b  c\nx")
    assert split_report("f\n\nx\n\ny\n") == ("f", "", "x\n\ny")
    assert split_report("f\na  b  c\nd  e  f\n\nx\n1  2  3\n4  5  6\nz") == (
        "f",
        "a  b  c\nd  e  f\n\n1  2  3\n4  5  6",
        "x\nz",
    )
