"""ComfyUI's real frontend in a real browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from ...chromium import FLAGS

WAIT = 120_000
"""Milliseconds."""

DROP = """([name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name, {type: "application/json"}));
  const canvas = document.querySelector("#graph-canvas");
  const box = canvas.getBoundingClientRect();
  const at = {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
  for (const kind of ["dragenter", "dragover", "drop"])
    canvas.dispatchEvent(
      new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true, ...at}));
}"""

SMALL = """() => {
  const small = {width: 128, height: 128, steps: 2};
  for (const node of app.graph.nodes)
    if (node.type === "LayerLabZImageSampler")
      for (const widget of node.widgets)
        if (widget.name in small) widget.value = small[widget.name];
}"""

SHOWN = """(type) => app.graph.nodes.filter((node) => node.type === type)
  .map((node) => (node.imgs ?? []).map((image) => [image.naturalWidth, image.naturalHeight]))"""


def set_settings(address: str, **settings: Any) -> None:
    """Write the frontend's settings on the server; names have _ for a dot."""
    body = json.dumps({name.replace("_", "."): value for name, value in settings.items()})
    request = Request(f"http://{address}/api/settings", body.encode(), method="POST")
    urlopen(request, timeout=30).close()


class Frontend:
    """One page; ``problems`` are the console's errors and warnings and uncaught exceptions.

    Not among them: what the frontend asks of its makers' servers, which need not be reached.
    """

    def __init__(self, page: Any, address: str):
        self.page, self.address = page, address
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        page.on("console", self._note)

    def _note(self, message: Any) -> None:
        about = message.location.get("url") or ""
        elsewhere = about.startswith("http") and not about.startswith(f"http://{self.address}/")
        if message.type in ("error", "warning") and not elsewhere:
            self.problems.append(f"{message.type}: {message.text}")

    def open(self) -> None:
        self.page.goto(f"http://{self.address}/")
        self.page.wait_for_function(
            "() => window.app?.loadApiJson && window.app?.graph && app.extensionManager",
            timeout=WAIT,
        )
        self.page.wait_for_timeout(2000)
        self.problems.clear()

    def drop(self, path: Path) -> None:
        """Drag a workflow file into the canvas and wait until its nodes are there."""
        text = path.read_text(encoding="utf-8")
        self.page.evaluate(DROP, [path.name, text])
        nodes = len(json.loads(text)["nodes"])
        self.page.wait_for_function(f"() => app.graph.nodes.length === {nodes}", timeout=WAIT)
        self.page.wait_for_timeout(1000)

    def run(self, awaited: str) -> list[list[list[int]]]:
        """Press Run; the sizes of the images on every node of type ``awaited`` once all have."""
        self.page.evaluate(SMALL)
        self.page.click('[data-testid="queue-button"]')
        self.page.wait_for_function(
            f"(type) => ({SHOWN})(type).length && "
            f"({SHOWN})(type).every((images) => images.length && images[0][0])",
            arg=awaited,
            timeout=2 * WAIT,
        )
        return self.page.evaluate(SHOWN, awaited)

    def toasts(self) -> list[str]:
        return self.page.eval_on_selector_all(
            ".p-toast-message", "(all) => all.map((one) => one.innerText)"
        )

    def screenshot(self, name: str) -> None:
        """Kept where LAYERLAB_ARTIFACTS says, if it does."""
        folder = os.environ.get("LAYERLAB_ARTIFACTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))


@contextmanager
def frontend(
    address: str,
    browser: str,
    renderer: str = "classic",
    width: int = 1800,
    height: int = 1100,
) -> Iterator[Frontend]:
    """``renderer`` is "classic" or "Nodes 2.0"; sizes are pixels of the window's inside."""
    from playwright.sync_api import sync_playwright

    set_settings(
        address,
        Comfy_TutorialCompleted=True,
        Comfy_Locale="en",
        Comfy_VueNodes_Enabled=renderer == "Nodes 2.0",
    )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=list(FLAGS))
        try:
            page = Frontend(chromium.new_page(viewport={"width": width, "height": height}), address)
            page.open()
            yield page
        finally:
            chromium.close()
