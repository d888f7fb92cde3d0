import { app } from "../../scripts/app.js";
import { inChinese } from "./language.js";
import { optionLabel } from "./option_labels.js";

/* A button that sets the value that a node's report asks for. The node sends the input and the value
   in `suggested_value`; the button stands behind the inputs, above the report, until it is so set. */
const SUGGESTS = new Set(["LayerLabOutlierMask"]);
const NAME = "suggestion";

/* node -> what its last run suggested */
const suggestions = new WeakMap();

const find = (node, name) => node.widgets?.find((widget) => widget.name === name);

/* What the button would set: [widget, value], undefined where there is nothing to set. */
function toSet(node, suggestion) {
  const [name, value] = suggestion ?? [];
  const widget = find(node, name);
  const slot = node.inputs?.findIndex((input) => input.widget?.name === name) ?? -1;
  const connected = slot >= 0 && node.isInputConnected(slot);
  const offered = widget?.options?.values?.includes?.(value);
  return offered && !connected && widget.value !== value ? [widget, value] : undefined;
}

function label([widget, value]) {
  const shown = optionLabel(widget.name, value);
  return inChinese() ? `将${widget.label}设为${shown}` : `Set ${widget.name} to ${shown}`;
}

/* The button is there only while it is of use: both renderers follow the list of widgets at once. */
function show(node, suggestion) {
  suggestions.set(node, suggestion);
  const old = find(node, NAME);
  if (old) node.removeWidget(old);
  const due = toSet(node, suggestion);
  if (due) {
    const options = { serialize: false };
    const button = node.addWidget("button", NAME, null, () => press(node), options);
    button.serialize = false;
    button.label = label(due);
    const report = node.widgets.findIndex((widget) => widget.element && widget.serialize === false);
    if (report >= 0) node.widgets = node.widgets.toSpliced(-1).toSpliced(report, 0, button);
  }
  node.setDirtyCanvas?.(true, true);
}

function press(node) {
  const due = toSet(node, suggestions.get(node));
  if (!due) return;
  const [widget, value] = due;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
}

/* Outputs are kept by "ID", or "SUBGRAPH:ID" inside a subgraph. */
function nodeAt(place) {
  const root = app.rootGraph ?? app.graph;
  const [id, subgraph] = String(place).split(":").reverse();
  return (subgraph ? root?.subgraphs?.get(subgraph) : root)?.getNodeById(id);
}

app.registerExtension({
  name: "LayerLab.Suggestion",
  nodeCreated(node) {
    if (!SUGGESTS.has(node.comfyClass)) return;
    for (const widget of node.widgets) {
      if (widget.serialize === false) continue;
      const changed = widget.callback;
      widget.callback = function () {
        const given = changed?.apply(this, arguments);
        if (suggestions.get(node)) show(node, suggestions.get(node));
        return given;
      };
    }
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      show(this, output?.suggested_value);
    };
  },
  /* A tab that is opened again, or a job of the history: the nodes are new, what they gave is not. */
  onNodeOutputsUpdated(outputs) {
    for (const [place, output] of Object.entries(outputs)) {
      const node = nodeAt(place);
      if (SUGGESTS.has(node?.comfyClass)) show(node, output?.suggested_value);
    }
  },
});
