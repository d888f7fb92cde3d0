import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { outputHooks } from "./outputs.js";
import { ReportBox } from "./report_box.js";
import { suggest } from "./suggestion.js";

/* The report on every node of the pack that makes one. The box is there from the start, so that a run
   does not change the layout. It goes into no prompt; a small report is saved with the workflow. */
const WITHOUT = new Set(["LayerLabZImageSampler"]);
const NAME = "shown_text";
const PROPERTY = "layer_lab_report";
const MOST_SAVED = 4096; // characters of JSON
const LEAST = 64;
const FRESH = 150; // pixels; a node that is loaded has a size of its own
const NARROWEST = 330;
const LABELS_AT_MOST = 90; // mostly they are connected, and the box is an empty room
const WITH_PICTURE = new Set([
  "LayerLabOutlierReport",
  "LayerLabLayerProfile",
  "LayerLabDitGain",
  "LayerLabDitResponse",
  "LayerLabDimensionProbe",
]);
const BESIDE_A_PROMPT = 100;
const BESIDE_A_PICTURE = 140;
const WITH_PICTURE_WIDTH = 720;
const PICTURE_HEIGHT = 600;

const boxes = new WeakMap();
const hasReport = (node) => node.comfyClass?.startsWith("LayerLab") && !WITHOUT.has(node.comfyClass);

export const PROMPTS = new Set(["text", "prompts"]);

/* The report stands below whatever else a node has: widgets are saved by their place. */
export function keepReportLast(node) {
  const at = node.widgets?.findIndex((widget) => widget.name === NAME) ?? -1;
  if (at >= 0) node.widgets.push(...node.widgets.splice(at, 1));
}

/* What a fresh node has for the picture of its report. */
export function roomForPicture(node) {
  return WITH_PICTURE.has(node.comfyClass) ? PICTURE_HEIGHT : 0;
}

/* The room that the report has at the most, where something else is what the node is for. */
function mostOf(node) {
  if (WITH_PICTURE.has(node.comfyClass)) return BESIDE_A_PICTURE;
  const prompt = node.widgets?.some((one) => one.element && PROMPTS.has(one.name));
  return prompt ? BESIDE_A_PROMPT : undefined;
}

function create(node) {
  const box = new ReportBox();
  boxes.set(node, box);
  const labels = node.widgets?.find((one) => one.name === "labels");
  if (labels?.options) labels.options.getMaxHeight = () => LABELS_AT_MOST;
  const most = mostOf(node);
  let least = Math.min(FRESH, most ?? FRESH);
  if (most) box.root.style.maxHeight = `${most}px`;
  const before = node.computeSize()[1];
  const height = node.size[1];
  const widget = node.addDOMWidget(NAME, "layer_lab_report", box.root, {
    serialize: false,
    getValue: () => box.text,
    setValue: () => {},
    getMinHeight: () => least,
    getMaxHeight: () => most,
  });
  widget.serialize = false;
  const [width, after] = node.computeSize();
  const room = roomForPicture(node);
  const narrowest = room ? WITH_PICTURE_WIDTH : NARROWEST;
  node.setSize([Math.max(node.size[0], width, narrowest), height + after - before + room]);
  const configured = node.onConfigure;
  node.onConfigure = function () {
    configured?.apply(this, arguments);
    least = LEAST;
    const saved = this.properties?.[PROPERTY];
    const parts = Array.isArray(saved) && saved.length === 4 && saved.every(isText);
    if (parts) box.show(saved[3], saved, true);
  };
}

const isText = (part) => typeof part === "string";

function show(node, output) {
  const parts = output?.[PROPERTY];
  if (!parts) return;
  const text = (output.text ?? []).join("\n\n");
  const box = boxes.get(node);
  box.show(text, parts);
  const [picture] = (WITH_PICTURE.has(node.comfyClass) && output.images) || [];
  box.linkTo(picture && api.apiURL(`/view?${new URLSearchParams(picture)}`));
  box.suggestion = output.suggested_value;
  suggest(node, box, box.suggestion);
  const saved = [...parts, text];
  if (JSON.stringify(saved).length <= MOST_SAVED) node.properties[PROPERTY] = saved;
  else delete node.properties[PROPERTY];
}

app.registerExtension({ name: "LayerLab.Reports", ...outputHooks(hasReport, create, show) });
