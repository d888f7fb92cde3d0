"""Compare Grid's viewer, by mouse and by keyboard: what is on the screen, against the images."""

import base64
import io
import itertools
import shutil

import numpy as np
import pytest
from PIL import Image
from zimage_layer_lab.cli.comfy.client import get_json

from .page import WAIT, Frontend

VIEW = ".layer-lab-compare"
NODE = "app.graph.nodes.find((one) => one.type === 'LayerLabCompareGrid')"
RUN = '[data-testid="queue-button"]'
NUMBERS = itertools.count()
LEFT, MIDDLE, RIGHT = 0.125, 0.375, 0.875
DOWN = (0.4, 0.8)
"""Where the screen is looked at, in parts of the picture: clear of its edges, middle and labels."""


def blocks(seed: int, height: int = 128, width: int = 192) -> np.ndarray:
    """(height, width, 3) uint8: 4 x 2 blocks of one colour, the same at any scale."""
    colours = np.random.default_rng(seed).integers(0, 256, (2, 4, 3)).astype(np.uint8)
    return colours.repeat(height // 2, 0).repeat(width // 4, 1)


A, B, SMALL = blocks(1), blocks(2), blocks(3, 64, 96)
NEAR = np.clip(A.astype(int) + [[[5, -9, 0]]], 0, 255).astype(np.uint8)
IMAGES = {"a": A, "b": B, "small": SMALL, "near": NEAR}


@pytest.fixture(scope="module", autouse=True)
def inputs(server):
    for name, pixels in IMAGES.items():
        Image.fromarray(pixels).save(server.base_directory / "input" / f"{name}.png")


def node(kind: str, **values) -> dict:
    return {"class_type": kind, "inputs": values, "_meta": {"title": kind}}


def graph(*names: str, labels: str = "", number: int = 10) -> dict:
    """The first image at ``images``, the others at the sockets; the grid is node ``number``."""
    loaders = {
        str(number + place): node("LoadImage", image=f"{name}.png")
        for place, name in enumerate(names, 1)
    }
    first, *others = loaders
    more = {f"more_images.image{place}": [one, 0] for place, one in enumerate(others, 2)}
    grid = node("LayerLabCompareGrid", images=[first, 0], labels=labels, **more)
    return {**loaders, str(number): grid}


class Viewer:
    """The only Compare Grid of the open graph."""

    def __init__(self, front):
        self.front, self.page = front, front.page

    def load(self, prompt: dict) -> None:
        """As a workflow of a new name: the page keeps what the last one of a name has given."""
        self.page.evaluate(
            "async ([graph, name]) => { await app.loadApiJson(graph, name) }",
            [prompt, f"compare {next(NUMBERS)}"],
        )
        self.page.wait_for_function(
            f"""() => {{
              const [view, ...others] = document.querySelectorAll("{VIEW}");
              const own = {NODE}.widgets.find((one) => one.name === "compare_view").element;
              return view && view === own && !others.length;
            }}""",
            timeout=WAIT,
        )
        self.page.evaluate(
            f"""() => {{
              const node = {NODE};
              app.canvas.ds.scale = 1;
              app.canvas.ds.offset = [300 - node.pos[0], 150 - node.pos[1]];
              app.canvas.setDirty(true, true);
            }}"""
        )

    def run(self) -> None:
        self.page.click(RUN)
        self.page.wait_for_function(
            f"() => document.querySelector('{VIEW} .grid')?.naturalWidth", timeout=WAIT
        )

    def mode(self, name: str) -> None:
        self.page.click(f'{VIEW} [data-to="{name}"]')
        self.page.wait_for_selector(f"{VIEW} .frame", timeout=WAIT)  # visible: both are loaded

    def choose(self, select: str, index: int) -> None:
        self.page.select_option(f"{VIEW} select{select}", index=index)
        self.page.wait_for_selector(f"{VIEW} .frame", timeout=WAIT)

    def words(self) -> str:
        return self.page.inner_text(f"{VIEW} .words")

    def message(self) -> str:
        return self.page.inner_text(f"{VIEW} .message")

    def frame(self) -> dict:
        return self.page.locator(f"{VIEW} .frame").bounding_box()

    def shows(self, *expected: np.ndarray) -> None:
        """At LEFT, MIDDLE and RIGHT the screen has the pixels of these images, within 2 levels."""
        box = self.frame()
        screen = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))
        for x, image in zip((LEFT, MIDDLE, RIGHT), expected, strict=True):
            for y in DOWN:
                at = screen[int(box["y"] + y * box["height"]), int(box["x"] + x * box["width"])]
                height, width, _ = image.shape
                wanted = image[int(y * height), int(x * width)]
                assert np.abs(at.astype(int) - wanted).max() <= 2, (x, y, at, wanted)

    def still(self) -> list[float]:
        """Where the node and the canvas are, and how many nodes there are."""
        return self.page.evaluate(
            f"() => [...{NODE}.pos, ...app.canvas.ds.offset, app.canvas.ds.scale,"
            " app.graph.nodes.length]"
        )


@pytest.fixture(scope="module")
def ran(page):
    """A viewer of three cells after a run."""
    viewer = Viewer(page)
    viewer.load(graph("a", "b", "small", labels="layer -2\nlayer -6\na <b>crop</b>"))
    assert viewer.message() == "Run to compare images here"
    viewer.run()
    page.screenshot("compare_grid")
    return viewer


@pytest.fixture
def viewer(ran):
    """The same with the first two cells chosen and the console's list empty."""
    ran.front.problems.clear()
    ran.mode("difference")
    for select, index in ((".first", 0), (".second", 1), (".gain", 0)):
        ran.choose(select, index)
    yield ran
    assert ran.front.problems == []


def test_the_whole_grid_is_shown_once(viewer):
    viewer.mode("grid")
    widths = viewer.page.evaluate(
        f"() => [{NODE}.widgets.map((one) => one.name), {NODE}.imgs.length,"
        f" document.querySelectorAll('[data-testid=\"image-preview\"]').length]"
    )
    assert not any("preview" in name for name in widths[0]) and widths[1] == 1
    frame, box = viewer.frame(), viewer.page.locator(VIEW).bounding_box()
    assert box["width"] > 400 and box["height"] >= 220 and frame["height"] > 150


def test_the_cells_to_choose_have_their_labels_as_plain_text(viewer):
    for select in (".first", ".second"):
        labels = viewer.page.locator(f"{VIEW} select{select} option").all_inner_texts()
        assert labels == ["layer -2", "layer -6", "a <b>crop</b>"]
    assert viewer.page.inner_text(f"{VIEW} .label.a") == "A: layer -2"
    assert viewer.page.inner_text(f"{VIEW} .label.b") == "B: layer -6"


def test_the_slider_follows_the_mouse_and_nothing_else_does(viewer):
    viewer.mode("slider")
    viewer.shows(A, A, B)
    before, box, mouse = viewer.still(), viewer.frame(), viewer.page.mouse
    mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=3)
    mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.6 * box["height"], steps=3)
    mouse.up()
    viewer.shows(A, B, B)
    mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
    viewer.shows(A, B, B)
    assert viewer.still() == before
    viewer.front.screenshot("compare_slider")


def test_the_slider_follows_the_keyboard_and_no_key_reaches_the_canvas(viewer):
    viewer.mode("slider")
    before, frame = viewer.still(), viewer.page.locator(f"{VIEW} .frame")
    frame.focus()
    assert frame.get_attribute("role") == "slider"
    for key, value, expected in (
        ("Home", "0", (B, B, B)),
        ("End", "100", (A, A, A)),
        ("PageDown", "90", (A, A, A)),
        ("Shift+ArrowLeft", "80", (A, A, B)),
        ("ArrowRight", "82", (A, A, B)),
    ):
        viewer.page.keyboard.press(key)
        assert frame.get_attribute("aria-valuenow") == value
        viewer.shows(*expected)
    for key in ("Delete", "Backspace", ".", "q", "c", "ArrowUp"):
        viewer.page.keyboard.press(key)
    assert viewer.still() == before
    viewer.page.keyboard.press("x")
    viewer.page.wait_for_selector(f"{VIEW} .label.a:has-text('layer -6')", timeout=WAIT)
    viewer.shows(B, B, A)
    assert viewer.page.inner_text(f"{VIEW} .label.a") == "A: layer -6"


def test_flicker_shows_both_in_turn_and_stops_where_one_wants(viewer):
    viewer.page.locator(f"{VIEW} .frame").focus()
    viewer.page.keyboard.press("f")
    for visible, hidden in ("ab", "ba"):
        viewer.page.wait_for_function(
            """([view, shown, gone]) => {
              const of = (name) =>
                getComputedStyle(document.querySelector(`${view} .picture.${name}`)).visibility;
              return of(shown) === "visible" && of(gone) === "hidden";
            }""",
            arg=[VIEW, visible, hidden],
            timeout=WAIT,
        )
    viewer.page.keyboard.press("ArrowRight")
    viewer.shows(B, B, B)
    viewer.page.keyboard.press("ArrowLeft")
    viewer.shows(A, A, A)
    viewer.page.keyboard.press(" ")
    assert viewer.page.get_attribute(f"{VIEW} .stage", "data-still") is None


def away(a: np.ndarray, b: np.ndarray, gain: int = 1) -> np.ndarray:
    return np.minimum(255, np.abs(a.astype(int) - b) * gain).astype(np.uint8)


def drawn(viewer) -> np.ndarray:
    """The canvas of the difference, (height, width, 3)."""
    data = viewer.page.evaluate(f"""() => document.querySelector("{VIEW} canvas").toDataURL()""")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))))
    assert (pixels[..., 3] == 255).all()
    return pixels[..., :3]


def test_the_difference_is_that_of_every_pixel_times_the_gain(viewer):
    viewer.choose(".gain", 2)
    assert np.array_equal(drawn(viewer), away(A, B, 2))
    viewer.shows(*[away(A, B, 2)] * 3)
    viewer.page.locator(f"{VIEW} .frame").focus()
    viewer.page.keyboard.press("-")
    assert np.array_equal(drawn(viewer), away(A, B))
    most = int(away(A, B).max())
    assert f"|A - B| x 1; the largest difference is {most} of 255" in viewer.words()
    viewer.front.screenshot("compare_difference")


def test_two_sizes_are_scaled_into_one_frame_and_it_is_said(viewer):
    viewer.choose(".second", 2)
    viewer.mode("slider")
    viewer.page.locator(f"{VIEW} .frame").press("Home")
    viewer.shows(SMALL, SMALL, SMALL)
    viewer.front.screenshot("compare_two_sizes")
    assert "A is 192x128, B is 96x64: scaled into 192x128" in viewer.words()


def test_a_cached_run_in_a_fresh_tab_shows_the_cells_and_small_differences(viewer):
    """The gain is chosen so that the largest difference is just not cut off: 28 x 9 = 252."""
    viewer.load(graph("a", "near", "a"))
    viewer.run()
    tab = viewer.page.context.browser.new_page(viewport=viewer.page.viewport_size)
    fresh = Viewer(Frontend(tab, viewer.front.address))
    fresh.front.open()
    fresh.load(graph("a", "near", "a"))
    fresh.run()
    fresh.mode("difference")
    assert np.array_equal(drawn(fresh), away(A, NEAR, 28))
    assert "|A - B| x 28; the largest difference is 9 of 255" in fresh.words()
    fresh.choose(".second", 2)
    assert "A and B are equal" in fresh.words() and drawn(fresh).max() == 0
    assert fresh.front.problems == []
    tab.context.close()


def test_one_image_is_shown_and_two_are_asked_for(page):
    viewer = Viewer(page)
    viewer.load(graph("a"))
    viewer.run()
    page.page.click(f'{VIEW} [data-to="slider"]')
    assert viewer.message() == "This run made one image: two are needed to compare"
    assert page.problems == []


def test_two_grids_of_which_one_is_in_a_subgraph_show_their_own_cells(page):
    """The one inside has a batch: frontend 1.58 throws where growing sockets go into a subgraph."""
    batch = {
        "51": node("LoadImage", image="near.png"),
        "52": node("LoadImage", image="a.png"),
        "53": node("ImageBatch", image1=["51", 0], image2=["52", 0]),
        "50": node("LayerLabCompareGrid", images=["53", 0], labels=""),
    }
    both = {**graph("a", "b"), **batch}
    page.page.evaluate("async (graph) => { await app.loadApiJson(graph, 'two') }", both)
    page.page.wait_for_function("() => app.graph.nodes.length === 7", timeout=WAIT)
    page.page.evaluate(
        "() => { app.graph.convertToSubgraph(new Set([app.graph.getNodeById(50)])) }"
    )
    page.page.click(RUN)
    urls = page.page.wait_for_function(
        """() => {
          const inside = [...app.rootGraph.subgraphs.values()].flatMap((one) => one.nodes);
          const all = [...app.rootGraph.nodes, ...inside]
            .filter((one) => one.type === "LayerLabCompareGrid")
            .map((one) => one.widgets.find((widget) => widget.name === "compare_view").element);
          const urls = all.map((one) => {
            one.querySelector('[data-to="slider"]').click();
            return [".a", ".b"].map((name) => one.querySelector(name).getAttribute("src"));
          });
          return all.length === 2 && urls.flat().every(Boolean) && urls;
        }""",
        timeout=WAIT,
    ).json_value()
    shown = [page.page.request.get(f"http://{page.address}{url}").body() for url in sum(urls, [])]
    for body, expected in zip(shown, (A, B, NEAR, A), strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(body))), expected)
    assert page.problems == []


def test_a_job_of_the_history_shows_its_cells_or_says_to_run_again(page, server):
    viewer = Viewer(page)
    prompt = graph("b", "near")
    viewer.load(prompt)
    before = set(get_json(server.address, "/history"))
    viewer.run()
    while not (new := set(history := get_json(server.address, "/history")) - before):
        page.page.wait_for_timeout(100)
    outputs = history[new.pop()]["outputs"]
    page.open()
    viewer.load(prompt)
    assert viewer.message() == "Run to compare images here" and page.problems == []
    page.page.evaluate("(outputs) => { app.nodeOutputs = outputs }", outputs)
    viewer.mode("slider")
    viewer.shows(B, B, NEAR)
    assert page.problems == []
    page.open()
    viewer.load(prompt)
    shutil.rmtree(server.base_directory / "temp")
    page.page.evaluate("(outputs) => { app.nodeOutputs = outputs }", outputs)
    for mode in ("grid", "slider", "difference"):
        page.page.click(f'{VIEW} [data-to="{mode}"]')
        page.page.wait_for_selector(f"{VIEW} .message:has-text('run again')", timeout=WAIT)
        assert page.page.locator(f"{VIEW} img:visible").count() == 0
    assert all("404" in problem for problem in page.problems)  # the browser's own line
    page.problems.clear()
