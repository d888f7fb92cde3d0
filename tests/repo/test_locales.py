"""The Simplified Chinese help says what the English one says, in the words on the Chinese nodes.

Nobody here notices in daily work that a page was changed in one language only. What can be compared
without reading either language is compared: inputs, names, code, figures and pictures.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "web" / "docs"
NODES = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
IDS = sorted(path.stem for path in DOCS.glob("*.md"))

CHINESE = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
CODE = re.compile(r"`[^`\n]+`")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def english(node_id: str) -> str:
    return (DOCS / f"{node_id}.md").read_text(encoding="utf-8")


def chinese(node_id: str) -> str:
    """Where the frontend looks for it: its name of the language is zh."""
    return (DOCS / node_id / "zh.md").read_text(encoding="utf-8")


def first_column(page: str, heading: str) -> list[str]:
    """The first cell of each row of the table of inputs."""
    [table] = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    return [row.split("|")[1].strip() for row in table.splitlines()]


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    return [value]


def test_every_page_is_there_in_both_languages():
    assert sorted(path.parent.name for path in DOCS.glob("*/zh.md")) == IDS


def test_the_nodes_that_are_named_in_chinese_are_those_with_a_page():
    assert sorted(NODES) == IDS


@pytest.mark.parametrize("node_id", IDS)
def test_the_title_gives_the_nodes_name_in_both_languages(node_id):
    name = english(node_id).splitlines()[0].removeprefix("# ")
    title = f"# {NODES[node_id]['display_name']}（{name}）"
    assert chinese(node_id).splitlines()[0] == title


@pytest.mark.parametrize("node_id", IDS)
def test_the_chinese_page_lists_the_same_inputs_under_the_names_on_the_node(node_id):
    rows = [
        [(NODES[node_id]["inputs"][name]["name"], name) for name in cell.split(", ")]
        for cell in first_column(english(node_id), "input")
    ]
    assert rows == [
        re.findall(r"([^`、]+) `(\w+)`", cell) for cell in first_column(chinese(node_id), "输入")
    ]


@pytest.mark.parametrize("node_id", IDS)
def test_no_option_or_file_name_of_the_english_page_is_missing_in_the_chinese_one(node_id):
    """Options are stored in workflows, so they stay English and are explained."""
    assert set(CODE.findall(english(node_id))) - set(CODE.findall(chinese(node_id))) == set()


@pytest.mark.parametrize("node_id", IDS)
def test_both_pages_say_the_same_figures(node_id):
    assert sorted(set(NUMBER.findall(english(node_id)))) == sorted(
        set(NUMBER.findall(chinese(node_id)))
    )


@pytest.mark.parametrize("node_id", IDS)
def test_both_pages_show_the_same_pictures_and_programs(node_id):
    for pattern in (PICTURE, FENCED):
        assert pattern.findall(chinese(node_id)) == pattern.findall(english(node_id))


@pytest.mark.parametrize("node_id", IDS)
def test_both_pages_end_in_a_tip_or_neither_does(node_id):
    assert ("\nTip: " in english(node_id)) == ("\n提示：" in chinese(node_id))


@pytest.mark.parametrize("node_id", IDS)
def test_no_line_breaks_between_chinese_characters(node_id):
    """Markdown shows a line break as a space, and Chinese has none between words."""
    assert re.findall(f"{CHINESE}\n *{CHINESE}", chinese(node_id)) == []


@pytest.mark.parametrize("node_id", IDS)
def test_names_and_tooltips_are_plain_text_to_the_frontend(node_id):
    """These characters are syntax in its message format: plurals, variables and links."""
    assert [text for text in strings(NODES[node_id]) if set(text) & set("{}|@")] == []


@pytest.mark.parametrize("node_id", IDS)
def test_no_name_or_tooltip_is_empty(node_id):
    assert [text for text in strings(NODES[node_id]) if not text or text != text.strip()] == []
