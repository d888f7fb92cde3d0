import { app } from "../../scripts/app.js";
import { inChinese } from "./language.js";
import { keepReportLast, PROMPTS, roomForPicture } from "./reports.js";

/* Which inputs a node shows. What is hidden keeps its value, is saved, and is sent as ever.

   Nodes 2.0 puts an input that its schema calls advanced behind a button; the classic renderer shows
   it like any other, so there this file hides it and adds such a button. In both, an input shows
   that is connected or has another value than a fresh node's. */

/* Inputs that serve one choice of another input alone, and show with that choice. */
const SERVES = {
  LayerLabVLEncode: { image_layer: ["two_layers", true], text_layer: ["two_layers", true] },
  LayerLabBlend: {
    start_alpha: ["method", "graduated"],
    curve: ["method", "graduated"],
    max_tokens: ["method", "append"],
  },
};
const PROMPT_HEIGHT = 150;
const ROOM_OF_ROWS = 50; // by how much Nodes 2.0 draws the rows of such a node higher
const BUTTON = "advanced_inputs";
const THEME = "theme"; // Of a picture; a new node has the page's, a saved one its own.

/* node -> {defaults: widget -> a fresh node's value, button, loading} */
const known = new WeakMap();

const isVue = () => Boolean(app.extensionManager?.setting?.get("Comfy.VueNodes.Enabled"));
const showsAll = () =>
  Boolean(app.extensionManager?.setting?.get("Comfy.Node.AlwaysShowAdvancedWidgets"));
// Newer pages (seen in frontend 1.58) have the colour scheme alone, older ones the class.
const isDark = () =>
  getComputedStyle(document.documentElement).colorScheme === "dark" ||
  document.querySelector("html.dark-theme, body.dark-theme") !== null;
const find = (node, name) => node.widgets.find((widget) => widget.name === name);
const servedBy = (node, widget) => SERVES[node.comfyClass]?.[widget.name];

function isConnected(node, name) {
  const slot = node.inputs?.findIndex((input) => input.widget?.name === name) ?? -1;
  return slot >= 0 && node.isInputConnected(slot);
}

/* Whether an input shows without being asked for. The one in which somebody types, `edited`, stays
   once it shows, whatever is in it. */
function isWanted(node, widget, edited) {
  if (widget === edited && !widget.options.advanced && !servedBy(node, widget)) return true;
  if (isConnected(node, widget.name)) return true;
  if (widget.name !== THEME && widget.value !== known.get(node).defaults.get(widget)) return true;
  const [name, choice] = servedBy(node, widget) ?? [];
  return name ? isConnected(node, name) || find(node, name).value === choice : false;
}

function refresh(node, edited) {
  const { defaults, button } = known.get(node);
  const open = node.showAdvanced || showsAll();
  let more = false;
  for (const widget of defaults.keys()) {
    const wanted = isWanted(node, widget, edited);
    if (servedBy(node, widget)) {
      widget.options.advanced = false;
      widget.options.hidden = widget.hidden = !wanted;
    } else {
      widget.options.advanced = widget.advanced = !wanted;
      widget.hidden = !wanted && !open && !isVue();
      more ||= !wanted;
    }
  }
  button.hidden = isVue() || showsAll() || !more;
  const [show, hide] = inChinese()
    ? ["显示高级输入", "隐藏高级输入"]
    : ["Show advanced inputs", "Hide advanced inputs"];
  button.label = node.showAdvanced ? hide : show;
}

/* Refresh, and let the node grow or shrink by what came or went; Nodes 2.0 does so itself, and a
   node that is being loaded has a size. */
function refit(node, edited, change) {
  if (known.get(node).loading) return;
  const before = node.computeSize()[1];
  change?.();
  refresh(node, edited);
  const grown = node.computeSize()[1] - before;
  if (grown && !isVue()) node.setSize([node.size[0], node.size[1] + grown]);
  node.setDirtyCanvas?.(true, true);
}

function wrap(owner, name, after) {
  const own = owner[name];
  owner[name] = function () {
    const given = own?.apply(this, arguments);
    after();
    return given;
  };
}

function follow(node) {
  const hideable = node.widgets.filter(
    (widget) => widget.options?.advanced || servedBy(node, widget),
  );
  if (!hideable.length) return;
  const toggle = () => refit(node, null, () => (node.showAdvanced = !node.showAdvanced));
  const button = node.addWidget("button", BUTTON, null, toggle, {
    canvasOnly: true,
    serialize: false,
  });
  button.serialize = false;
  keepReportLast(node);
  const defaults = new Map(hideable.map((widget) => [widget, widget.value]));
  const state = { defaults, button, loading: false };
  known.set(node, state);
  for (const widget of node.widgets)
    if (widget !== button) wrap(widget, "callback", () => refit(node, widget));
  wrap(node, "onConnectionsChange", () => refit(node));
  const configure = node.configure;
  node.configure = function () {
    state.loading = true;
    try {
      return configure.apply(this, arguments);
    } finally {
      state.loading = false;
      refresh(node);
    }
  };
  refresh(node);
}

/* The prompt is what a node with a prompt is for: its box gets the room. */
function makeRoom(node) {
  const prompt = node.widgets.find((widget) => widget.element && PROMPTS.has(widget.name));
  if (!prompt && !known.has(node)) return;
  const [width, height] = node.computeSize();
  const least = prompt?.computeLayoutSize?.(node).minHeight ?? PROMPT_HEIGHT;
  const rows = isVue() ? ROOM_OF_ROWS : 0;
  node.setSize([
    Math.max(width, node.size[0]),
    height + roomForPicture(node) + (prompt ? Math.max(0, PROMPT_HEIGHT - least) + rows : 0),
  ]);
}

function ofThePack() {
  const graph = app.rootGraph ?? app.graph;
  const graphs = graph ? [graph, ...(graph.subgraphs?.values() ?? [])] : [];
  return graphs.flatMap((one) => one.nodes).filter((node) => known.has(node));
}

app.registerExtension({
  name: "LayerLab.ShownInputs",
  setup() {
    const again = () => ofThePack().forEach((node) => refresh(node));
    for (const id of ["Comfy.VueNodes.Enabled", "Comfy.Node.AlwaysShowAdvancedWidgets"])
      app.ui?.settings?.addEventListener?.(`${id}.change`, again);
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("LayerLab") || !node.widgets) return;
    const theme = find(node, THEME);
    if (theme) theme.value = isDark() ? "dark" : "light";
    follow(node);
    makeRoom(node);
  },
});
