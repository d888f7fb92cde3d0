"""Templates, opened as the page opens them: legible, nothing over another, and they run."""

import json
from itertools import combinations

import pytest
from playwright.sync_api import TimeoutError as StillWaiting
from zimage_layer_lab.cli.comfy.client import get_json

from .page import WAIT

LARGE, SMALL = (1920, 1080), (1440, 900)

# What a click on a template does in the page: it is fitted into the window, wherever it was saved.
OPEN = """async (name) => {
  const path = `/workflow_templates/zimage-layer-lab/${encodeURIComponent(name)}.json`;
  const graph = await (await fetch(`/api${path}`)).json();
  await app.loadGraphData(graph, true, true, name, {openSource: "template"});
}"""

# Every node with its title, in units of the canvas: as drawn, or as its element lies in the page.
BOXES = """(elements) => app.graph.nodes.map((node) => {
  if (!elements) return [node.title, ...node.boundingRect];
  const box = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
  const scale = app.canvas.ds.scale;
  return [node.title, ...(box ? [box.x, box.y, box.width, box.height] : [])].map((one) =>
    typeof one === "number" ? one / scale : one);
})"""

# Whether all nodes are drawn and lie as they did half a second ago.
SETTLED = """async (elements) => {
  const read = () => JSON.stringify((BOXES)(elements));
  const before = read();
  await new Promise((done) => setTimeout(done, 500));
  return before === read() && JSON.parse(before).every((box) => box.length === 5);
}""".replace("BOXES", BOXES)

RESULTS = """() => app.graph.nodes.map((node) => node.type)
  .filter((type) => ["LayerLabCompareGrid", "LayerLabDitResponse"].includes(type))"""

# The tiny encoder has 8 blocks, and every evaluation of the model takes its time.
SHORT = """() => {
  const short = {
    LayerLabDitResponse: {width: 128, height: 128, steps: 2, at: "1"},
    LayerLabAblations: {controls: 1, most: 1},
  };
  for (const node of app.graph.nodes)
    for (const widget of node.widgets ?? []) {
      if (widget.name === "layers" && widget.value.includes("-22")) widget.value = "-2, -3, -4";
      if (widget.name === "layers" && widget.value === "-1..-36") widget.value = "-1..-8";
      widget.value = short[node.type]?.[widget.name] ?? widget.value;
    }
}"""


@pytest.fixture(scope="module")
def names(pack_root) -> list[str]:
    return sorted(path.stem for path in (pack_root / "workflows").glob("*.json"))


OTHER_MODELS = ("10", "11")
"""Templates of image models of which the tiny host has no weights: they are opened, and not run."""
PLACEHOLDERS = (
    "diffusion_models/flux-2-klein-4b.safetensors",
    "diffusion_models/krea2_turbo_fp8_scaled.safetensors",
    "text_encoders/qwen3vl_4b_fp8_scaled.safetensors",
    "vae/flux2-vae.safetensors",
    "vae/qwen_image_vae.safetensors",
)
"""Their files, empty, so that the page finds what it offers a download of otherwise."""


@pytest.fixture(scope="module", autouse=True)
def placeholders(tiny_base):
    files = [tiny_base / "models" / name for name in PLACEHOLDERS]
    for file in files:
        file.touch()
    yield
    for file in files:
        file.unlink()


def open_template(page, name: str, renderer: str) -> None:
    page.page.evaluate(OPEN, name)
    page.page.wait_for_function(SETTLED, arg=renderer != "classic", timeout=WAIT)


@pytest.mark.parametrize("size", [LARGE, SMALL], ids=["1920x1080", "1440x900"])
def test_every_template_opens_legible_and_nothing_overlaps(page, renderer, names, size):
    page.page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    page.page.wait_for_function(f"() => app.canvas.canvas.clientWidth > {size[0]} - 100")
    for name in names:
        page.problems.clear()
        open_template(page, name, renderer)
        page.screenshot(f"template_{name.split()[0]}_{size[0]}_{renderer}")
        scale, unreadable = page.page.evaluate(
            "() => [app.canvas.ds.scale, app.canvas.low_quality]"
        )
        # The classic renderer draws no text below 8/14.
        assert scale > 0.575 and not unreadable, name
        boxes = page.page.evaluate(BOXES, renderer != "classic")
        assert len(boxes) >= 7
        for (one, *a), (other, *b) in combinations(boxes, 2):
            beside = a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0]
            above = a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
            assert beside or above, f"{name}: {one} and {other} overlap"
        assert page.toasts() == [], name
        assert page.problems == [], name


def test_the_prompt_of_each_template_is_its_api_twin(page, server, renderer, names, pack_root):
    described = get_json(server.address, "/object_info")
    for name in names:
        open_template(page, name, renderer)
        made = page.page.evaluate("async () => (await app.graphToPrompt()).output")
        for one in made.values():  # newer frontends tell more of a node than its title
            one["_meta"] = {"title": one["_meta"]["title"]}
        saved = json.loads((pack_root / f"workflows/{name}.json").read_text(encoding="utf-8"))
        twin = f"workflows/api/{saved['extra']['layerlab_api_twin']}.json"
        known = json.loads((pack_root / twin).read_text(encoding="utf-8"))
        for one in (*made.values(), *known.values()):
            one["inputs"].pop("theme", None)  # Of a picture: the page's own.
        for number, one in made.items():
            # What a node has got since the file was made: the page sends its default.
            for new in one["inputs"].keys() - known[number]["inputs"].keys():
                _, options = described[one["class_type"]]["input"]["optional"][new]
                assert one["inputs"].pop(new) == options["default"], (name, new)
        assert made == known, name


def test_every_template_runs_and_ends_in_a_picture(page, renderer, names):
    """Half of them in each renderer: the server does the same in both."""
    page.page.set_viewport_size({"width": SMALL[0], "height": SMALL[1]})
    runnable = [name for name in names if name.split()[0] not in OTHER_MODELS]
    for name in runnable[::2] if renderer == "classic" else runnable[1::2]:
        open_template(page, name, renderer)
        page.page.evaluate(SHORT)
        results = page.page.evaluate(RESULTS)
        assert results
        for result in results:
            [[[width, height]]] = page.run(result)
            assert width > 2 * 128 and height > 128, name
        assert page.toasts() == [], name
        page.screenshot(f"template_{name.split()[0]}_run_{renderer}")


def test_the_search_for_templates_finds_all_and_shows_their_pictures(page, names):
    page.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    search = page.page.locator("[role='dialog'] input[placeholder*='earch']").first
    search.fill("Layer Lab", timeout=WAIT)
    for name in names:
        card = page.page.locator(f'[data-testid="template-workflow-{name}"]').first
        card.scroll_into_view_if_needed(timeout=WAIT)  # before, it has no picture
        picture = card.locator("img").first.element_handle(timeout=WAIT)
        page.page.wait_for_function(
            "(image) => image.naturalWidth > 400", arg=picture, timeout=WAIT
        )
    page.screenshot("templates_found")
    card = page.page.locator(f'[data-testid="template-workflow-{names[0]}"]').first
    opened = "() => app.graph.nodes.some((node) => node.title === 'Encode at two layers')"
    for again in (True, True, False):  # a busy page may drop a click: one clicks again
        if card.is_visible():
            card.click()
        try:
            page.page.wait_for_function(opened, timeout=WAIT / 3)
            break
        except StillWaiting:
            page.screenshot("template_not_opened")
            if not again:
                raise
