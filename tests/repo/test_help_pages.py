"""Every node has a help page that shows it, names each of its inputs and ends in a tip.

That the Chinese pages say the same is tested in test_locales.py.
"""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "web" / "docs"
# Held against the real schemas in nodes/test_locales.py.
NODES = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
PICTURE = re.compile(r"^!\[([^\]]+)\]\(([^)\s]+)\)$", re.MULTILINE)
INPUT_TABLE = re.compile(r"^\| input \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)

LARGEST_PICTURE, LARGEST_SUM = 80_000, 1_500_000


def page(node_id: str) -> str:
    return (DOCS / f"{node_id}.md").read_text(encoding="utf-8")


def test_every_node_has_a_page_and_every_page_and_picture_a_node():
    assert sorted(path.stem for path in DOCS.glob("*.md")) == sorted(NODES)
    assert sorted(path.stem for path in DOCS.glob("pictures/*")) == sorted(NODES)


@pytest.mark.parametrize("node_id", NODES)
def test_the_page_shows_the_node_and_says_what_is_seen(node_id):
    """The frontend reads the path from the folder of the pages, whatever the language."""
    [(seen, path)] = PICTURE.findall(page(node_id))
    assert path == f"pictures/{node_id}.png"
    assert len(seen) > 25
    assert (DOCS / path).stat().st_size < LARGEST_PICTURE
    with Image.open(DOCS / path) as picture:
        assert 900 <= picture.width <= 1220 and picture.height < 900


def test_the_pictures_are_a_light_load():
    assert sum(path.stat().st_size for path in DOCS.glob("pictures/*")) < LARGEST_SUM


@pytest.mark.parametrize("node_id", NODES)
def test_the_page_names_inputs_of_the_node_only_and_every_one(node_id):
    [rows] = INPUT_TABLE.findall(page(node_id))
    named = [name for row in rows.splitlines() for name in row.split("|")[1].strip().split(", ")]
    assert sorted(named) == sorted(NODES[node_id]["inputs"])


@pytest.mark.parametrize("node_id", NODES)
def test_the_page_ends_in_one_tip(node_id):
    assert len(re.findall(r"^Tip: ", page(node_id), re.MULTILINE)) == 1
    assert page(node_id).rstrip().split("\n\n")[-1].startswith("Tip: ")
