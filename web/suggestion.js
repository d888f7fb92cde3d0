import { app } from "../../scripts/app.js";
import { inChinese } from "./language.js";
import { optionLabel } from "./option_labels.js";

/* A button that sets the value that a node's report asks for. The node sends the input and the value
   in `suggested_value`; the button stands behind the inputs, above the report, until it is so set. */
const SUGGESTS = new Set(["LayerLabOutlierMask"]);
const NAME = "suggestion";

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

/* Nodes 2.0 looks at `hidden` when the label changes. */
function show(node, suggestion) {
  const button = find(node, NAME);
  if (!button) return;
  button.suggestion = suggestion;
  const due = toSet(node, suggestion);
  button.options.hidden = button.hidden = !due;
  button.label = due ? label(due) : "";
  node.setDirtyCanvas?.(true, true);
}

function press(node, button) {
  const due = toSet(node, button.suggestion);
  if (!due) return;
  const [widget, value] = due;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
  show(node, button.suggestion);
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
    const size = [...node.size];
    const button = node.addWidget("button", NAME, null, () => press(node, button), {
      serialize: false,
    });
    button.serialize = false;
    const report = node.widgets.findIndex((widget) => widget.element && widget.serialize === false);
    if (report >= 0) node.widgets.splice(report, 0, node.widgets.pop());
    for (const widget of node.widgets) {
      const changed = widget.callback;
      if (widget === button || widget.serialize === false) continue;
      widget.callback = function () {
        const given = changed?.apply(this, arguments);
        show(node, button.suggestion);
        return given;
      };
    }
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      show(this, output?.suggested_value);
    };
    show(node);
    node.setSize(size);
  },
  /* A tab that is opened again, or a job of the history: the nodes are new, what they gave is not. */
  onNodeOutputsUpdated(outputs) {
    for (const [place, output] of Object.entries(outputs)) {
      const node = nodeAt(place);
      if (SUGGESTS.has(node?.comfyClass)) show(node, output?.suggested_value);
    }
  },
});
