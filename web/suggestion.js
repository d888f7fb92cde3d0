import { app } from "../../scripts/app.js";
import { inChinese } from "./language.js";
import { optionLabel } from "./option_labels.js";

/* What a node's report asks for: the server sends an input and a value in `suggested_value`, and the
   report has a button that sets it, until it is so set. */

/* [widget, value] to set, undefined where there is nothing to set. */
function due(node, suggestion) {
  const [name, value] = suggestion ?? [];
  const widget = node.widgets?.find((one) => one.name === name);
  const slot = node.inputs?.findIndex((input) => input.widget?.name === name) ?? -1;
  const connected = slot >= 0 && node.isInputConnected(slot);
  const offered = widget?.options?.values?.includes?.(value);
  return offered && !connected && widget.value !== value ? [widget, value] : undefined;
}

/* Show the button in the `box` of a report, or hide it. */
export function suggest(node, box, suggestion) {
  const [widget, value] = due(node, suggestion) ?? [];
  if (!widget) return box.offer("");
  const shown = optionLabel(widget.name, value);
  const words = inChinese() ? `将${widget.label}设为${shown}` : `Set ${widget.name} to ${shown}`;
  box.offer(words, () => {
    widget.value = value;
    widget.callback?.(value, app.canvas, node);
  });
  if (box.follows?.has(widget)) return;
  (box.follows ??= new Set()).add(widget);
  const changed = widget.callback;
  widget.callback = function () {
    const given = changed?.apply(this, arguments);
    suggest(node, box, box.suggestion);
    return given;
  };
}
