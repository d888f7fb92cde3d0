import { app } from "../../scripts/app.js";

/* Nodes that show the text they return. The box is there from the start, so that a run does not
   change the layout, and it is saved neither in workflows nor in prompts. */
const SHOWN_ON = new Set(["LayerLabDescribe"]);
const NAME = "shown_text";

function show(node, output) {
  if (!SHOWN_ON.has(node?.comfyClass)) return;
  const box = node.widgets?.find((widget) => widget.name === NAME);
  if (box) box.value = (output?.text ?? []).join("\n\n");
}

/* Outputs are kept by "ID", or "SUBGRAPH:ID" inside a subgraph. */
function nodeAt(place) {
  const root = app.rootGraph ?? app.graph;
  const [id, subgraph] = String(place).split(":").reverse();
  return (subgraph ? root?.subgraphs?.get(subgraph) : root)?.getNodeById(id);
}

app.registerExtension({
  name: "LayerLab.ShownText",
  nodeCreated(node) {
    if (!SHOWN_ON.has(node.comfyClass)) return;
    const box = document.createElement("textarea");
    box.className = "comfy-multiline-input";
    box.readOnly = true;
    box.placeholder = "Run to see it here";
    const widget = node.addDOMWidget(NAME, "layer_lab_text", box, {
      serialize: false,
      getValue: () => box.value,
      setValue: (value) => (box.value = value),
      getMinHeight: () => 120,
    });
    widget.serialize = false;
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
