"""A report's parts, put together by hand."""

from zimage_layer_lab.core.tables import split_report, table


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
