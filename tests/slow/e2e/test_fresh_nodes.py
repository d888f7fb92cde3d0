"""Nodes as they are found, added and understood: search, fresh sizes, what shows when, errors."""

import json

import pytest
import torch
from zimage_layer_lab.core.record.embedding_file import Entry, save_embedding
from zimage_layer_lab.core.shipped import PUBLISHED_REFERENCE

from .page import WAIT, set_settings

WITH_PROMPT = {
    "LayerLabQwen3Encode": "text",
    "LayerLabVLEncode": "text",
    "LayerLabLayerSweep": "text",
    "LayerLabLayerMix": "text",
    "LayerLabWeightedEncode": "text",
    "LayerLabBuildReference": "prompts",
    "LayerLabLayerProfile": "prompts",
    "LayerLabDimensionProbe": "prompts",
}
SEARCHES = {
    "layer": "Qwen3 Encode at Layer",
    "mask": "Outlier Mask",
    "sampler": "Z-Image Sampler",
    "qwen": "VL Image Token Encode",
    "encode": "Qwen3 Encode at Layer",
    "artifact": "Outlier Mask",
    "ip adapter": "VL Image Token Encode",
    "alpha": "Embedding Blend",
    "prompt": "Qwen3 Encode at Layer",
}
NO_FILE = "no embedding file yet: run Save Embedding, then press R"

ADD = """(types) => {
  const last = app.graph.state.lastNodeId; // The frontend keeps values by a node's number.
  app.graph.clear();
  app.graph.state.lastNodeId = last;
  let x = 0;
  for (const type of types) {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = [x, 0];
    x += node.size[0] + 50;
  }
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [100, 150];
  app.canvas.setDirty(true, true);
}"""

# {input: [top, height]} of what a node shows, in units of the graph, below the node's title.
SHOWN = """(type) => {
  const node = app.graph.nodes.find((one) => one.type === type);
  if (!app.extensionManager.setting.get("Comfy.VueNodes.Enabled"))
    return Object.fromEntries(
      node.widgets
        .filter((widget) => node.isWidgetVisible(widget) && widget.computedHeight)
        .map((widget) => [widget.name, [widget.y, widget.computedHeight]]));
  const drawn = document.querySelector(`[data-node-id="${node.id}"]`);
  const top = drawn?.getBoundingClientRect().top;
  const rows = [...(drawn?.querySelectorAll(".lg-node-widget") ?? [])];
  const names = node.widgets.map((widget) => widget.name);
  return Object.fromEntries(rows.map((row) => {
    const box = row.getBoundingClientRect();
    const label = row.querySelector("label, button")?.innerText ?? row.innerText;
    const name = names.find((one) => [label, row.innerText.split("\\n")[0]].includes(one));
    return [name ?? label, [box.top - top, box.height]];
  }));
}"""


@pytest.fixture(scope="module", autouse=True)
def quiet_embedding(tiny_base):
    """A file of states with two quiet dimensions, which the mask's default leaves alone."""
    facts = json.loads(PUBLISHED_REFERENCE.read_text(encoding="utf-8"))
    std = torch.full((2560,), facts["median_std"])
    for dimension, published in facts["std"].items():
        std[int(dimension)] = published
    std[[396, 4]] /= 100.0
    hidden = torch.randn(1, 64, 2560, generator=torch.Generator().manual_seed(0)) * std
    (tiny_base / "input").mkdir(exist_ok=True)
    save_embedding(tiny_base / "input" / "quiet.safetensors", [Entry(hidden, None, {})])


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def add(page, *types: str) -> None:
    page.page.evaluate(ADD, list(types))
    for kind in types:
        page.page.wait_for_function(f"(type) => Object.keys(({SHOWN})(type)).length", arg=kind)


def wait_shown(page, kind: str, expected: set[str], hidden: set[str] = frozenset()) -> None:
    page.page.wait_for_function(
        f"""([type, all, none]) => {{
          const shown = ({SHOWN})(type);
          return all.every((name) => name in shown) && !none.some((name) => name in shown);
        }}""",
        arg=[kind, sorted(expected), sorted(hidden)],
        timeout=WAIT,
    )


def choose(page, name: str, value) -> None:
    """As the frontend does when somebody sets a widget of the only node."""
    page.page.evaluate(
        """([name, value]) => {
          const node = app.graph.nodes[0];
          const widget = node.widgets.find((one) => one.name === name);
          widget.value = value;
          widget.callback?.(value, app.canvas, node);
          app.canvas.setDirty(true, true);
        }""",
        [name, value],
    )


def click_widget(page, name: str) -> None:
    """Press a button on the only node that has it, with the mouse."""
    row = page.page.locator(".lg-node-widget", has_text=name)
    if row.count():
        row.locator("button").first.click()
        return
    x, y = page.page.evaluate(
        """(label) => {
          const fits = (one) => [one.label, one.name].includes(label);
          const node = app.graph.nodes.find((one) => one.widgets?.some(fits));
          const widget = node.widgets.find(fits);
          const { scale, offset } = app.canvas.ds;
          const box = app.canvas.canvas.getBoundingClientRect();
          return [
            box.x + (node.pos[0] + node.size[0] / 2 + offset[0]) * scale,
            box.y + (node.pos[1] + widget.y + 10 + offset[1]) * scale,
          ];
        }""",
        name,
    )
    page.page.mouse.click(x, y)


def toggle_advanced(page, renderer: str, label: str) -> None:
    if renderer == "classic":
        click_widget(page, label)
    else:
        page.page.click('[data-testid="advanced-inputs-button"]')


def load(page, graph: dict) -> None:
    page.page.evaluate("async (graph) => { await app.loadApiJson(graph, 'fresh') }", graph)
    page.page.wait_for_function(f"() => app.graph.nodes.length === {len(graph)}", timeout=WAIT)


def exported(page) -> dict:
    return page.page.evaluate(
        "async () => Object.values((await app.graphToPrompt()).output)[0].inputs"
    )


@pytest.mark.parametrize("kinds", [list(WITH_PROMPT)[:3], list(WITH_PROMPT)[3:]])
def test_the_prompt_box_is_the_largest_thing_on_a_fresh_node(page, renderer, kinds):
    add(page, *kinds)
    for kind in kinds:
        rows = page.page.evaluate(SHOWN, kind)
        _, prompt = rows.pop(WITH_PROMPT[kind])
        report = max(rows.pop(name, (0, 0))[1] for name in ("shown_text", "Copy"))
        assert prompt > 2 * max(height for _, height in rows.values()), (kind, rows)
        # Nodes 2.0 stretches both rows alike; the report's box does not fill its own.
        assert prompt >= report or kind == "LayerLabLayerProfile", (kind, prompt, report)
        # A report on the node, if there is one, takes no more than the prompt.
        ours = [height for name, (_, height) in rows.items() if name != "report"]
        assert prompt > sum(ours), (kind, prompt, rows)
    page.screenshot(f"fresh_{kinds[0]}_{renderer}")


def test_advanced_inputs_show_when_asked_for_and_the_layers_with_two_layers(page, renderer):
    kind = "LayerLabVLEncode"
    behind = {"think_block", "system_prompt", "text_place", "two_layers", "preprocessing"}
    layers = {"image_layer", "text_layer"}
    add(page, kind)
    wait_shown(page, kind, {"text", "layer", "tokens", "max_image_tokens"}, behind | layers)
    toggle_advanced(page, renderer, "Show advanced inputs")
    wait_shown(page, kind, behind, layers)
    choose(page, "two_layers", True)
    wait_shown(page, kind, behind | layers)
    rows = sorted(page.page.evaluate(SHOWN, kind).values())
    ends = [top + height for top, height in rows]
    assert all(end <= top + 1 for end, (top, _) in zip(ends, rows[1:], strict=False)), rows
    page.screenshot(f"all_inputs_{renderer}")
    toggle_advanced(page, renderer, "Hide advanced inputs")
    wait_shown(page, kind, {"two_layers"} | layers, {"think_block", "system_prompt"})
    choose(page, "two_layers", False)
    wait_shown(page, kind, set(), layers)
    assert exported(page) == {
        "text": "",
        "layer": -6,
        "tokens": "all",
        "max_image_tokens": 1024,
        "think_block": "none",
        "system_prompt": "",
        "text_place": "after the images",
        "two_layers": False,
        "image_layer": -6,
        "text_layer": -2,
        "preprocessing": "exact",
        "several_images": "one prompt",
        "think_text": "",
        "assistant_text": "",
    }


def test_an_input_shows_that_a_saved_workflow_sets_and_loads_as_it_was(page):
    kind = "LayerLabVLEncode"
    add(page, kind)
    for name, value in (("system_prompt", "You paint."), ("text_layer", -9)):
        choose(page, name, value)
    before = exported(page)
    saved = page.page.evaluate("() => app.graph.serialize()")
    assert len(saved["nodes"][0]["widgets_values"]) == len(before) == 14
    page.page.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    wait_shown(page, kind, {"system_prompt", "text_layer"}, {"think_block", "image_layer"})
    assert exported(page) == before and before["system_prompt"] == "You paint."
    loaded = page.page.evaluate("() => app.graph.serialize()")["nodes"][0]
    assert loaded["widgets_values"] == saved["nodes"][0]["widgets_values"]


def test_what_serves_one_method_shows_with_it(page):
    kind = "LayerLabBlend"
    add(page, kind)
    wait_shown(page, kind, {"alpha", "method"}, {"start_alpha", "curve", "max_tokens"})
    choose(page, "method", "graduated")
    wait_shown(page, kind, {"start_alpha", "curve"}, {"max_tokens"})
    choose(page, "method", "append")
    wait_shown(page, kind, {"max_tokens"}, {"start_alpha", "curve"})


def test_the_mask_that_found_only_the_other_direction_offers_it(page, renderer):
    load(
        page,
        {
            "1": node("LayerLabLoadEmbedding", name="quiet.safetensors [input]"),
            "2": node("LayerLabOutlierMask", conditioning=["1", 0]),
            "3": node("LayerLabDescribe", conditioning=["2", 0]),
        },
    )
    wait_shown(page, "LayerLabOutlierMask", {"mode", "direction"}, set())
    page.page.evaluate("() => { app.canvas.ds.scale = 1; app.canvas.ds.offset = [100, 150]; }")
    page.page.click('[data-testid="queue-button"]')
    button = page.page.locator(".layer-lab-report .offer", has_text="Set direction to quiet")
    button.wait_for(timeout=WAIT)
    page.screenshot(f"mask_offers_{renderer}")
    button.click()
    value = """() => app.graph.nodes.find((one) => one.type === "LayerLabOutlierMask")
      .widgets.find((widget) => widget.name === "direction").value === "quiet" """
    page.page.wait_for_function(value, timeout=WAIT)
    button.wait_for(state="hidden", timeout=WAIT)


# The width in which a node's picture is drawn, at a scale of 1; NaN until there is one.
DRAWN_WIDTH = """(type) => {
  const node = app.graph.nodes.find((one) => one.type === type);
  const image = document.querySelector(`[data-node-id="${node.id}"] img`);
  const { naturalWidth: wide, naturalHeight: high } = image ?? node.imgs?.[0] ?? {};
  const [width, height] = image
    ? [image.clientWidth, image.clientHeight]
    : [node.size[0], node.widgets.find((one) => one.name.includes("preview"))?.computedHeight ?? 0];
  return Math.min(width, (height * wide) / high);
}"""


def test_the_picture_of_outlier_report_can_be_read_on_a_fresh_node(page, renderer):
    kind = "LayerLabOutlierReport"
    load(
        page,
        {
            "1": node("LayerLabLoadEmbedding", name="quiet.safetensors [input]"),
            "2": node(kind, conditioning=["1", 0]),
        },
    )
    page.page.evaluate("() => { app.canvas.ds.scale = 1; app.canvas.ds.offset = [100, 100]; }")
    page.page.click('[data-testid="queue-button"]')
    page.page.locator(".layer-lab-report a.open:visible").wait_for(timeout=WAIT)
    # Its smallest letters are 8 pixels high where it is drawn 634 wide (tests/core/draw).
    page.page.wait_for_function(f"(type) => ({DRAWN_WIDTH})(type) >= 634", arg=kind, timeout=WAIT)
    page.screenshot(f"fresh_outlier_report_{renderer}")


def shown_message(page, graph: dict, selector: str, text: str) -> None:
    load(page, graph)
    page.page.click('[data-testid="queue-button"]')
    page.page.locator(selector, has_text=text).first.wait_for(timeout=WAIT)


TOAST = '.p-toast-message, [data-testid="toast"]'
OVERLAY = '[data-testid="error-overlay"]'


def test_errors_show_the_nodes_own_sentence_first(page, renderer):
    describe = node("LayerLabDescribe", conditioning=["2", 0])
    clip = node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2")
    encode = {"text": "a red fox", "layer": -30}
    shown_message(
        page,
        {"2": node("LayerLabLoadEmbedding", name=NO_FILE), "3": describe},
        TOAST,
        "there is no embedding file to load: run Save Embedding, press R, and choose its file",
    )
    shown_message(
        page,
        {"1": clip, "2": node("LayerLabQwen3Encode", clip=["1", 0], **encode), "3": describe},
        TOAST,
        "layer -30 does not exist: this encoder has 8 blocks",
    )
    page.screenshot(f"error_{renderer}")
    shown = page.page.locator(TOAST).all_inner_texts()
    assert not any("Traceback" in one or "LayerRangeError" in one for one in shown), shown
    count = len(shown)
    shown_message(
        page,
        {"2": node("LayerLabQwen3Encode", text="a red fox", layer=-2), "3": describe},
        OVERLAY,
        "missing a required input: clip",
    )
    assert page.page.locator(TOAST).count() <= count  # The frontend has said it all.


def test_the_search_box_finds_the_nodes_by_what_people_type(page):
    page.page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    box = page.page.locator('[role="dialog"] input:visible').first
    for word, title in SEARCHES.items():
        box.fill(word)
        results = page.page.locator('[data-testid="result-item"]')
        results.filter(has_text=title).first.wait_for(timeout=WAIT, state="attached")
    page.page.keyboard.press("Escape")


def test_options_are_chinese_on_a_chinese_page_and_english_in_the_prompt(page, server, renderer):
    set_settings(server.address, Comfy_Locale="zh")
    try:
        page.open()
        add(page, "LayerLabOutlierMask")
        if renderer == "classic":
            click_widget(page, "mode")
            options = page.page.locator(".litecontextmenu .litemenu-entry")
        else:
            page.page.locator('[data-testid="widget-select-default-trigger"]').first.click()
            options = page.page.locator('[role="option"]')
        options.first.wait_for(timeout=WAIT)
        page.screenshot(f"chinese_options_{renderer}")
        assert options.all_inner_texts()[:2] == ["置零 (zero)", "限幅 (clamp)"]
        options.nth(1).click()
        page.page.wait_for_function("() => app.graph.nodes[0].widgets[0].value === 'clamp'")
        assert exported(page)["mode"] == "clamp"
        add(page, "LayerLabQwen3Encode")
        if renderer == "classic":
            placeholder = "() => app.graph.nodes[0].widgets[0].element.placeholder"
            assert page.page.evaluate(placeholder) == "文本"
    finally:
        set_settings(server.address, Comfy_Locale="en")


def test_a_new_nodes_picture_has_the_colours_of_the_page(page, server, renderer):
    kind = "LayerLabDitGain"
    for palette, theme in (("light", "light"), ("dark", "dark")):
        set_settings(server.address, Comfy_ColorPalette=palette)
        page.open()
        add(page, kind)
        assert exported(page)["theme"] == theme
        wait_shown(page, kind, {"threshold"}, {"theme"})
