"""What people do first: drop a workflow, press Run, look, open help, switch the language."""

import json

from .page import set_settings

TWO_LAYERS = "workflows/1 Two text layers side by side - Z-Image Layer Lab.json"


def test_a_dropped_workflow_runs_and_shows_its_picture_without_an_error(page, pack_root):
    page.problems.clear()
    page.drop(pack_root / TWO_LAYERS)
    [[[width, height]]] = page.run("LayerLabCompareGrid")
    assert width > 2 * 128 and height > 128
    assert page.toasts() == []
    assert page.problems == []
    page.screenshot("two_layers_after_run")


def test_the_outlier_report_shows_its_picture_and_describe_its_text_on_the_node(page, pack_root):
    graph = {
        "1": node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2"),
        "2": node("LayerLabQwen3Encode", clip=["1", 0], text="a red fox", layer=-2),
        "3": node("LayerLabOutlierReport", conditioning=["2", 0], threshold=10),
        "4": node("PreviewImage", images=["3", 0]),
        "5": node("LayerLabDescribe", conditioning=["2", 0]),
    }
    page.page.evaluate("async (graph) => { await app.loadApiJson(graph, 'report') }", graph)
    page.page.wait_for_timeout(1000)
    [[[width, height]]] = page.run("LayerLabOutlierReport")
    assert width > 600 and height > 300
    text = (
        "() => app.graph.nodes.find((node) => node.type === 'LayerLabDescribe')"
        ".widgets.find((widget) => widget.name === 'shown_text')?.value"
    )
    page.page.wait_for_function(text, timeout=60_000)
    shown = page.page.evaluate(text)
    assert "layer -2; 11 tokens x 2560 dimensions" in shown and "a red fox" in shown
    prompt = page.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")
    assert "tokens x 2560" not in prompt
    page.screenshot("outlier_report_on_its_node")


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def open_help(page, node_id: str, text: str) -> None:
    """Open the help of a node in the graph; wait for ``text`` and until its picture is loaded."""
    select = "(type) => app.canvas.selectNode(app.graph.nodes.find((one) => one.type === type))"
    page.page.evaluate(select, node_id)
    page.page.wait_for_timeout(500)
    page.page.click('[data-testid="info-button"]')
    page.page.wait_for_selector(f"text={text}", timeout=20_000)
    page.page.wait_for_function(
        "(end) => [...document.images].some((one) => one.src.endsWith(end) && one.naturalWidth)",
        arg=f"/docs/pictures/{node_id}.png",
        timeout=20_000,
    )


def test_a_help_page_opens_in_the_side_panel_with_its_picture(page):
    page.page.evaluate(
        "async (graph) => { await app.loadApiJson(graph, 'help') }",
        {"1": node("LayerLabOutlierReport", threshold=10)},
    )
    page.page.wait_for_timeout(1000)
    open_help(page, "LayerLabOutlierReport", "which token carries each")
    page.screenshot("help_page")


def test_the_subgraph_is_inserted_from_the_node_library_and_runs(page):
    graph = {
        "1": node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2"),
        "2": node("UNETLoader", unet_name="z_image_turbo_bf16.safetensors", weight_dtype="default"),
        "3": node("VAELoader", vae_name="ae.safetensors"),
        "4": node("PreviewImage"),
    }
    page.page.evaluate("async (graph) => { await app.loadApiJson(graph, 'subgraph') }", graph)
    page.page.wait_for_timeout(1000)
    page.page.click('button:has-text("Nodes")')
    page.page.locator('input[placeholder*="earch"]').first.fill("Compare two layers")
    page.page.get_by_text("Compare two layers", exact=True).first.click()
    page.page.mouse.click(1200, 800)
    page.page.wait_for_function("() => app.graph.nodes.length === 5", timeout=20_000)
    page.page.evaluate(
        """() => {
          const find = (id) => app.graph.getNodeById(id);
          const added = app.graph.nodes.find((one) => one.title === "Compare two layers");
          [1, 2, 3].forEach((id, slot) => find(id).connect(0, added, slot));
          added.connect(0, find(4), 0);
          const values = {text: "a red fox", layer_b: -5, seed: 7, width: 128, height: 128};
          for (const widget of added.widgets)
            if (widget.name in values) widget.value = values[widget.name];
          const first = added.subgraph.nodes.find((one) => one.title === "Sample layer A");
          first.widgets.find((one) => one.name === "control_after_generate").value = "increment";
        }"""
    )
    [[[width, height]]] = page.run("PreviewImage")
    assert width > 2 * 128 and height > 128
    assert page.toasts() == []
    prompt = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    samplers = [
        one["inputs"] for one in prompt.values() if one["class_type"] == "LayerLabZImageSampler"
    ]
    assert [one["width"] for one in samplers] == [128, 128]
    # The control inside moves the seed of the node, and with it that of both samplers.
    assert [one["seed"] for one in samplers] == [8, 8]
    page.screenshot("subgraph")


def test_the_language_can_be_switched_to_chinese(page, server, pack_root):
    locale = json.loads((pack_root / "locales/zh/nodeDefs.json").read_text(encoding="utf-8"))
    title = locale["LayerLabOutlierMask"]["display_name"]
    set_settings(server.address, Comfy_Locale="zh")
    try:
        page.open()
        page.page.evaluate(
            "async (graph) => { await app.loadApiJson(graph, 'mask') }",
            {"1": node("LayerLabOutlierMask", mode="zero")},
        )
        page.page.wait_for_timeout(1000)
        known = page.page.evaluate(
            "() => LiteGraph.registered_node_types['LayerLabOutlierMask'].title"
        )
        assert known == title
        open_help(page, "LayerLabOutlierMask", "汇聚点")
        page.screenshot("chinese")
    finally:
        set_settings(server.address, Comfy_Locale="en")
