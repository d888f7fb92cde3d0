import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { CompareView } from "./compare_view.js";
import { wordsFor } from "./compare_words.js";

/* Compare Grid's viewer, saved neither in workflows nor in prompts. It shows the whole grid too, so
   the host's own preview of it is off in both renderers; the node's menu still has the picture. */
const NODE = "LayerLabCompareGrid";
const NAME = "compare_view";
const SMALLEST = [460, 640];
const LABELS_AT_MOST = 90;

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

/* Outputs are kept by "ID", or "SUBGRAPH:ID" inside a subgraph. */
function nodeAt(place) {
  const root = app.rootGraph ?? app.graph;
  const [id, subgraph] = String(place).split(":").reverse();
  return (subgraph ? root?.subgraphs?.get(subgraph) : root)?.getNodeById(id);
}

app.registerExtension({
  name: "LayerLab.CompareGrid",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const view = new CompareView(wordsFor(app.extensionManager?.setting?.get("Comfy.Locale")));
    views.set(node, view);
    const widget = node.addDOMWidget(NAME, "layer_lab_compare", view.root, {
      serialize: false,
      getValue: () => "",
      setValue: () => {},
      getMinHeight: () => 260,
    });
    widget.serialize = false;
    node.hideOutputImages = true; // Nodes 2.0
    node.onDrawBackground = () => {}; // classic: only makes the preview
    const labels = node.widgets.find((one) => one.name === "labels");
    if (labels?.options) labels.options.getMaxHeight = () => LABELS_AT_MOST;
    node.setSize(SMALLEST.map((least, axis) => Math.max(least, node.size[axis])));
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      show(this, output);
    };
  },
  /* A tab that is opened again, or a job of the history: the nodes are new, what they gave is not. */
  onNodeOutputsUpdated(outputs) {
    for (const [place, output] of Object.entries(outputs)) show(nodeAt(place), output);
  },
});
