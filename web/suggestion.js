import { app } from "../../scripts/app.js";
import { inChinese } from "./language.js";
import { optionLabel } from "./option_labels.js";
import { outputHooks } from "./outputs.js";
import { keepReportLast } from "./reports.js";

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

function create(node) {
  const size = [...node.size];
  const button = node.addWidget("button", NAME, null, () => press(node, button), {
    serialize: false,
  });
  button.serialize = false;
  keepReportLast(node);
  for (const widget of node.widgets) {
    const changed = widget.callback;
    if (widget === button || widget.serialize === false) continue;
    widget.callback = function () {
      const given = changed?.apply(this, arguments);
      show(node, button.suggestion);
      return given;
    };
  }
  show(node);
  node.setSize(size);
}

app.registerExtension({
  name: "LayerLab.Suggestion",
  ...outputHooks(
    (node) => SUGGESTS.has(node.comfyClass),
    create,
    (node, output) => show(node, output?.suggested_value),
  ),
});
