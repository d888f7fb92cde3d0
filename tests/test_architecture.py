"""The architecture page and its picture say what the code does."""

import pytest

from .test_house import PACKAGE, ROOT, imported, sources


@pytest.fixture(scope="module")
def architecture():
    """The scripts of docs/architecture, which are no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "architecture")
        import draw_picture
        import read_imports
        import write_page

        yield read_imports, draw_picture, write_page


def test_every_module_is_in_exactly_one_topic(architecture):
    placed = [module for members in architecture[0].topics().values() for module in members]
    empty = {"core/__init__", "nodes/__init__"}
    modules = {path.with_suffix("").as_posix() for path in sources("core", "nodes", "cli")}
    assert sorted(placed) == sorted(modules - empty), "see TOPICS in read_imports.py"


def test_the_page_and_the_picture_are_those_of_this_code(architecture):
    """Otherwise: python docs/architecture"""
    _, drawing, page = architecture
    assert (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8") == page.page()
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") == drawing.picture()


def test_the_imports_are_those_that_the_rules_of_the_house_are_held_to(architecture):
    reading = architecture[0]
    known = set(reading.modules())
    edges = reading.module_edges()
    for module in known - {"cli/__init__"}:  # The command imports by name.
        names = imported((ROOT / f"{module}.py").relative_to(ROOT))
        within = {name.removeprefix(f"{PACKAGE}.").replace(".", "/") for name in names}
        assert within & known == edges[module] & known, module
    assert {"cli/demo", "cli/profile", "cli/queue"} <= edges["cli/__init__"]


def test_no_topic_imports_itself_by_a_detour(architecture):
    reading = architecture[0]
    edges = reading.topic_edges()
    assert not [topic for topic in edges if topic in reading.reach(edges, topic)]


def test_the_arrows_that_are_left_out_follow_from_those_that_are_drawn(architecture):
    reading = architecture[0]
    edges = reading.topic_edges()
    fewer = reading.reduced(edges)
    assert sum(map(len, fewer.values())) < sum(map(len, edges.values()))
    assert all(fewer[topic] <= edges[topic] for topic in edges)
    assert all(reading.reach(fewer, topic) == reading.reach(edges, topic) for topic in edges)


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("core", {"core"}), ("nodes", {"nodes", "core"}), ("cli", {"cli", "core"})],
)
def test_the_packages_import_in_one_direction(architecture, package, allowed):
    edges = architecture[0].module_edges()
    found = {
        target.split("/")[0]
        for module, targets in edges.items()
        if module.startswith(f"{package}/")
        for target in targets
    }
    assert found == allowed
