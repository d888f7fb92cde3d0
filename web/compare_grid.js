import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { CompareView } from "./compare_view.js";
import { wordsFor } from "./compare_words.js";
import { outputHooks } from "./outputs.js";
import { keepReportLast } from "./reports.js";

/* Compare Grid's viewer, saved neither in workflows nor in prompts. It shows the whole grid too, so
   the host's own preview of it is off in both renderers; the node's menu still has the picture. */
const NODE = "LayerLabCompareGrid";
const NAME = "compare_view";
const NARROWEST = 460;
const ROOM = 200; // what a fresh node has for the picture beyond the least

const views = new WeakMap();

function addressOf({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

function show(node, output) {
  const view = views.get(node);
  const [grid] = output?.images ?? [];
  if (!view || !grid) return;
  node.imgs = [view.grid];
  node.imageIndex = 0;
  view.show({
    grid: addressOf(grid),
    baseline: output.baseline?.[0],
    cells:
      output.cells?.map(([filename, subfolder, type, label, width, height]) => ({
        url: filename && addressOf({ filename, subfolder, type }),
        label,
        width,
        height,
      })) ?? null,
  });
}

function create(node) {
  const view = new CompareView(wordsFor(app.extensionManager?.setting?.get("Comfy.Locale")));
  views.set(node, view);
  const widget = node.addDOMWidget(NAME, "layer_lab_compare", view.root, {
    serialize: false,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: () => 260,
  });
  widget.serialize = false;
  keepReportLast(node);
  node.hideOutputImages = true; // Nodes 2.0
  node.onDrawBackground = () => {}; // classic: only makes the preview
  const [width, height] = node.computeSize();
  node.setSize([Math.max(NARROWEST, width, node.size[0]), height + ROOM]);
}

app.registerExtension({
  name: "LayerLab.CompareGrid",
  ...outputHooks((node) => node.comfyClass === NODE, create, show),
});
