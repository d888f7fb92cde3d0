"""Every test that may be skipped is listed in docs/tests.md, with its reason."""

import ast
from pathlib import Path

import pytest

from .test_house import ROOT

PAGE = ROOT / "docs" / "tests.md"
SKIPS = ("skip", "skipif", "importorskip", "xfail", "skipIf", "skipTest", "skip_or_fail")


def called(node):
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def written(node, tree):
    """A text in the source, with ... for what is filled in; a name has what it is set to last."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
        return "".join(parts)
    if isinstance(node, ast.Name):
        for line in ast.walk(tree):
            if isinstance(line, ast.Assign) and node.id in map(called, line.targets):
                return written(line.value, tree)
    return None


def skips_of(source):
    """{(reason, whether it is a failure where ComfyUI is required)} of one file's text."""
    tree = ast.parse(source)
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or called(node.func) not in SKIPS:
            continue
        named = [one.value for one in node.keywords if one.arg == "reason"]
        place = 1 if called(node.func) in ("importorskip", "skipif") else 0
        given = named or node.args[place : place + 1]
        reason = written(given[0], tree) if given else None
        found.add((reason, called(node.func) == "skip_or_fail"))
    return found


def listed():
    """The page's table: a row for each reason, with the files in order."""
    rows = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        name = path.relative_to(ROOT / "tests").as_posix()
        if name == Path(__file__).name:
            continue
        for reason, required in skips_of(path.read_text(encoding="utf-8")):
            if name == "conftest.py" and reason is None:
                continue  # The function behind skip_or_fail, which has its callers' reasons.
            assert reason, f"tests/{name} skips without a reason"
            rows.setdefault((reason, required), []).append(f"`{name}`")
    return [
        f"| {reason} | {', '.join(files)} | {'yes' if required else ''} |"
        for (reason, required), files in sorted(rows.items())
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pytest.skip('a')", {("a", False)}),
        ("@pytest.mark.skipif(x, reason=f'b {1}')\ndef f(): pass", {("b ...", False)}),
        ("pytest.importorskip('x', reason='c')", {("c", False)}),
        ("pytest.importorskip('x')", {(None, False)}),
        ("skip_or_fail('d')", {("d", True)}),
        ("r = 'e'\npytest.skip(r)", {("e", False)}),
        ("@pytest.mark.xfail\ndef f(): pass\nx()", set()),
    ],
)
def test_the_reader_of_skips_sees_every_kind(line, found):
    assert skips_of(line) == found


def test_no_test_is_expected_to_fail_or_marked_without_a_reason():
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in getattr(node, "decorator_list", ()):
                assert called(mark) not in SKIPS, f"{path.name}: {ast.unparse(mark)}"


def test_the_page_lists_all_skips_and_no_other():
    _, _, part = PAGE.read_text(encoding="utf-8").partition("## Tests that may be skipped")
    rows = [line for line in part.splitlines() if line[:2] == "| "]
    expected = listed()
    assert rows[1:] == expected, "the table of docs/tests.md should be:\n" + "\n".join(expected)
