"""A report page as a browser shows and prints it: nothing is cut, and only tables scroll."""

import re

import numpy as np
import pytest
import torch
from zimage_layer_lab.cli.profile.report import write_profile
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

from ...chromium import FLAGS

pytestmark = pytest.mark.slow

BLOCKS, WIDTH = 30, 96
TOKEN = "a very long token 狐 " * 4

CUT = """() => {
  // What sticks out of the page to the right, unless it can be scrolled to inside its own box.
  const inside = (one) => one.closest(".scroll") && !one.classList.contains("scroll");
  return [...document.body.querySelectorAll("*")]
    .filter((one) => !inside(one) && one.getBoundingClientRect().right > window.innerWidth + 0.5)
    .map((one) => one.tagName + " " + one.textContent.slice(0, 40));
}"""
PAGE_SCROLLS = "() => document.documentElement.scrollWidth > window.innerWidth"
SCROLLING = """() => [...document.querySelectorAll(".scroll")]
  .map((one) => [one.scrollWidth > one.clientWidth, getComputedStyle(one).overflowX])"""
OVERLAP = """(where) => {
  const boxes = [...document.querySelectorAll(where)].map((one) => one.getBoundingClientRect());
  const meet = (a, b) =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return boxes.some((a, i) => boxes.slice(i + 1).some((b) => meet(a, b)));
}"""


PIXELS = """() => {
  const canvas = document.querySelector("canvas");
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """report.html of 31 hidden states with a dozen outliers and long token texts."""
    stats = ProfileStats(BLOCKS, WIDTH)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        states = {i: torch.randn(20, WIDTH, generator=generator) for i in range(BLOCKS + 1)}
        for index in range(8, BLOCKS):
            states[index][0, 40] = -5000.0
            states[index][:, :12] *= 100.0
        stats.update(states, list(range(20)))
    out = tmp_path_factory.mktemp("report")
    command = "layerlab profile " + "/a/long/path" * 30
    write_profile(out, stats, summarise(stats, "m"), lambda place: TOKEN, {"command": command})
    return out / "report.html"


@pytest.fixture(scope="module")
def chromium(browser):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def show(chromium, report):
    """A function: (width, medium) -> the page as it is laid out there."""
    opened = []

    def open_page(width, medium="screen"):
        page = chromium.new_page(viewport={"width": width, "height": 900})
        opened.append(page)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.emulate_media(media=medium)
        page.goto(report.as_uri())
        assert problems == []
        return page

    yield open_page
    for page in opened:
        page.close()


@pytest.mark.parametrize("width", [1920, 1200, 800, 400])
def test_nothing_is_cut_on_a_screen_and_the_page_itself_does_not_scroll(show, width):
    page = show(width)
    assert page.evaluate(CUT) == []
    assert not page.evaluate(PAGE_SCROLLS)
    tables = page.evaluate(SCROLLING)
    assert len(tables) == 4 and {overflow for _, overflow in tables} == {"auto"}
    scrolling = [scrolls for scrolls, _ in tables]
    assert not any(scrolling) if width >= 1200 else width > 400 or any(scrolling)


def test_nothing_is_cut_on_paper(show):
    """A4 less its margins is 703 pixels wide; paper cannot be scrolled."""
    page = show(703, "print")
    assert page.evaluate(CUT.replace("!inside(one) && ", "")) == []
    assert not any(scrolls for scrolls, _ in page.evaluate(SCROLLING))
    assert not page.is_visible(".heat-map output")


def test_the_heat_map_names_its_rows_and_columns_and_the_cell_under_the_pointer(show):
    page = show(1200)
    page.locator(".map").scroll_into_view_if_needed()
    rows = [int(text) for text in page.locator(".rows span").all_inner_texts()]
    assert rows == list(range(0, BLOCKS + 1, rows[1])) and len(rows) > 10
    columns = [int(text) for text in page.locator(".columns span").all_inner_texts()]
    assert columns == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert not page.evaluate(OVERLAP, ".rows span, .columns span, .map canvas")
    caption = page.locator("figcaption").inner_text()
    assert re.search(r"logarithmic, [\d.]+x to \d+x\. ", caption), "no 6.47e+3x"
    box = page.locator(".map canvas").bounding_box()
    x = box["x"] + box["width"] * 40.5 / WIDTH
    y = box["y"] + box["height"] * 29.5 / (BLOCKS + 1)
    page.mouse.move(x, y)
    said = page.locator(".heat-map output").inner_text()
    assert said.startswith("Layer -2 (hidden state 29), dimension 40: largest |x| 5000.0, ")
    assert said.endswith(" at 0 of prompt 1") and "狐" in said
    row = page.locator(".rows span", has_text=str(rows[5])).first.bounding_box()
    middle = box["y"] + box["height"] * (rows[5] + 0.5) / (BLOCKS + 1)
    assert row["y"] + row["height"] / 2 == pytest.approx(middle, abs=1.5)


def test_the_loud_dimension_is_the_bright_cell_of_the_heat_map(show):
    page = show(1200)
    pixels = page.evaluate(PIXELS)
    light = np.array(pixels).reshape(BLOCKS + 1, WIDTH, 4)[..., :3].sum(-1)
    assert (light[8:BLOCKS].argmax(1) == 40).all()
    assert light[:8].max() < light[8:BLOCKS, 40].min()
