"""Each report as the page shows it: after Run, in a fresh tab after a cached run, reloaded."""

import io

import pytest
from PIL import Image

from .page import Frontend

SHOWN = """() => Object.fromEntries(app.graph.nodes.map((node) => {
  const widget = node.widgets?.find((one) => one.name === "shown_text");
  const box = widget?.element;
  return [node.id, box && {
    type: node.type,
    verdict: box.querySelector(".verdict").innerText,
    table: box.querySelector(".table").textContent,
    rest: box.querySelector(".rest").textContent,
    height: box.getBoundingClientRect().height / (app.canvas.ds.scale || 1),
  }];
}))"""
SHIPPED = "Qwen3-4B at layer -2, published figures [shipped]"
EVIL = '<img src=x onerror="window.evil = 1"> a red fox'


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def graph() -> dict:
    """Every node that makes a report, but for those that need an image or a picture's text."""
    conditioning = ["2", 0]
    return {
        "1": node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2"),
        "2": node("LayerLabQwen3Encode", clip=["1", 0], text=EVIL, layer=-2),
        "3": node("LayerLabLayerMix", clip=["1", 0], text="a fox", weights="-2: 1, -6: 1"),
        "4": node("LayerLabOutlierMask", conditioning=conditioning, direction="loud"),
        "5": node("LayerLabOutlierReport", conditioning=conditioning, threshold=3),
        "6": node("LayerLabNormalize", conditioning=["4", 0], method="rms per token"),
        "7": node("LayerLabBlend", text=["6", 0], vision=["3", 0], method="interpolate"),
        "8": node("LayerLabFitTokens", conditioning=["7", 0], max_tokens=8, method="truncate"),
        "9": node("LayerLabDescribe", conditioning=["8", 0]),
        "10": node("LayerLabSaveEmbedding", conditioning=["8", 0], filename_prefix="lab/report"),
        "11": node(
            "LayerLabLoadReference", name="Qwen3-4B at layer -2, published figures [shipped]"
        ),
        "12": node("LayerLabSaveReference", reference=["11", 0], filename_prefix="lab/reference"),
    }


def reports(page) -> dict[str, dict]:
    shown = page.page.evaluate(SHOWN)
    return {one["type"].removeprefix("LayerLab"): one for one in shown.values() if one}


def wait_for_all(page) -> dict[str, dict]:
    """The boxes, once none of them is empty."""
    page.page.wait_for_function(
        "() => app.graph.nodes.flatMap((node) => node.widgets ?? [])"
        ".filter((one) => one.name === 'shown_text').every((one) => one.value)",
        timeout=240_000,
    )
    return reports(page)


def load(page) -> None:
    page.page.evaluate("async (graph) => { await app.loadApiJson(graph, 'reports') }", graph())
    page.page.wait_for_function("() => app.graph.nodes.length === 12", timeout=60_000)


@pytest.fixture(scope="module")
def after_run(page):
    """The reports of the first run."""
    load(page)
    page.problems.clear()
    page.page.click('[data-testid="queue-button"]')
    return wait_for_all(page)


def test_every_report_is_on_its_node(page, after_run, renderer):
    assert len(after_run) == 11
    assert after_run["Qwen3Encode"]["verdict"] == "24 tokens at layer -2"
    assert after_run["OutlierMask"]["verdict"].startswith("nothing was masked")
    assert after_run["SaveEmbedding"]["verdict"].startswith("saved: lab/report")
    report = after_run["OutlierReport"]
    assert report["table"].startswith("dim ") and "out of line" in report["verdict"]
    assert all(one["verdict"] for one in after_run.values())
    # Classic takes the boxes outside the view away.
    heights = [one["height"] for one in after_run.values() if one["height"]]
    assert len(heights) >= 5 and min(heights) >= 60
    page.screenshot(f"reports_{renderer}")
    assert page.problems == []


def test_the_picture_of_a_report_opens_at_its_own_size(page, after_run):
    link = page.page.locator(".layer-lab-report .open:not([hidden])")
    assert link.count() == 1
    answer = page.page.request.get(f"http://{page.address}{link.get_attribute('href')}")
    width, height = Image.open(io.BytesIO(answer.body())).size
    assert answer.ok and width > 1000 and height > 800


def test_what_a_prompt_says_is_text_and_nothing_else(page, after_run):
    assert EVIL in after_run["Qwen3Encode"]["rest"]
    assert page.page.evaluate("() => window.evil") is None
    assert page.page.locator(".layer-lab-report img").count() == 0


def test_the_report_goes_into_no_prompt(page, after_run):
    prompt = page.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")
    assert "tokens at layer" not in prompt and "layer_lab_report" not in prompt


def test_a_cached_run_in_a_fresh_tab_shows_them_all(page, after_run):
    tab = Frontend(page.page.context.browser.new_page(), page.address)
    tab.open()
    load(tab)
    assert not any(one["rest"] or one["table"] for one in reports(tab).values())
    tab.page.click('[data-testid="queue-button"]')
    again = wait_for_all(tab)
    saved = {"SaveEmbedding", "SaveReference"}  # these ran again, and numbered another file
    assert {n: o["verdict"] for n, o in again.items() if n not in saved} == {
        n: o["verdict"] for n, o in after_run.items() if n not in saved
    }
    assert again["OutlierReport"]["table"] == after_run["OutlierReport"]["table"]
    assert tab.problems == []
    tab.page.close()


def test_a_reload_keeps_the_small_ones(page, after_run):
    saved = page.page.evaluate("() => app.graph.serialize()")
    page.open()
    page.page.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    page.page.wait_for_function("() => app.graph.nodes.length === 12", timeout=60_000)
    page.page.wait_for_timeout(500)
    again = reports(page)
    for name in ("Qwen3Encode", "OutlierMask", "SaveEmbedding"):
        assert again[name]["verdict"] == after_run[name]["verdict"], name
    assert page.page.locator(".layer-lab-report .note:visible").count() > 0
    assert page.problems == []
