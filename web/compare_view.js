import { differenceOf, drawDifference } from "./compare_difference.js";
import { STYLE } from "./compare_style.js";
import { addStyle } from "./style.js";

/* A viewer of two cells: a slider over them, flicker, their difference; and the whole grid. It is
   an element of the page, so it is the same in the classic renderer and in Nodes 2.0. */

const MODES = ["grid", "slider", "flicker", "difference"];
const GAINS = ["auto", "1", "2", "4", "8", "16", "32", "64"];
const KEYS = { g: "grid", s: "slider", f: "flicker", d: "difference" };
const STOPPED =
  "keydown keyup keypress pointerdown pointerup pointermove mousedown mouseup click dblclick";

function element(kind, className, attributes = {}) {
  const made = document.createElement(kind);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function fill(select, names) {
  select.replaceChildren(
    ...names.map(([value, text, disabled]) => {
      const option = element("option", "");
      Object.assign(option, { value, textContent: text, disabled: Boolean(disabled) });
      return option;
    }),
  );
}

export class CompareView {
  /* words: see compare_words.js. */
  constructor(words) {
    addStyle("layer-lab-compare-style", STYLE);
    this.words = words;
    this.run = null;
    this.mode = "grid";
    this.at = 50;
    this.build();
    this.listen();
    this.refresh();
  }

  build() {
    const words = this.words;
    this.root = element("div", "layer-lab-compare", { role: "group", "aria-label": words.viewer });
    const modes = element("div", "bar", { title: words.modes });
    this.buttons = MODES.map((mode) => {
      const button = element("button", "mode", { type: "button", "data-to": mode });
      button.textContent = words[mode];
      return button;
    });
    this.link = element("a", "open", { target: "_blank", rel: "noopener", title: words.open });
    this.link.textContent = "↗";
    modes.append(...this.buttons, this.link);

    this.choice = element("div", "bar");
    this.first = element("select", "first", { "aria-label": words.first, title: words.first });
    this.second = element("select", "second", { "aria-label": words.second, title: words.second });
    this.swap = element("button", "swap", { type: "button", title: words.swap });
    this.swap.setAttribute("aria-label", words.swap);
    this.swap.textContent = "⇄";
    this.gain = element("select", "gain", { "aria-label": words.gain, title: words.gain });
    fill(this.gain, GAINS.map((gain) => [gain, gain === "auto" ? words.auto : `x ${gain}`]));
    this.choice.append(this.first, this.swap, this.second, this.gain);

    this.stage = element("div", "stage");
    this.frame = element("div", "frame", { tabindex: "0" });
    this.grid = element("img", "picture grid", { alt: words.grid });
    this.a = element("img", "picture a", { alt: words.first, draggable: "false" });
    this.b = element("img", "picture b", { alt: words.second, draggable: "false" });
    this.canvas = element("canvas", "picture difference");
    this.labelA = element("span", "label a");
    this.labelB = element("span", "label b");
    this.divider = element("div", "divider");
    this.frame.append(
      this.grid, this.a, this.b, this.canvas, this.divider, this.labelA, this.labelB);
    this.message = element("div", "message");
    this.stage.append(this.frame, this.message);
    this.said = element("div", "words", { "aria-live": "polite" });
    this.root.append(modes, this.choice, this.stage, this.said);
  }

  listen() {
    // What happens in here is not the canvas's, but for the middle button, which moves the canvas,
    // and the page's own shortcuts.
    const stop = (event) => {
      const shortcut = event instanceof KeyboardEvent && (event.ctrlKey || event.metaKey);
      const middle = event.button === 1 || event.buttons & 4;
      if (!shortcut && !middle) event.stopPropagation();
    };
    for (const kind of STOPPED.split(" ")) this.root.addEventListener(kind, stop);
    for (const button of this.buttons)
      button.addEventListener("click", () => this.setMode(button.dataset.to));
    for (const select of [this.first, this.second])
      select.addEventListener("change", () => this.refresh());
    this.gain.addEventListener("change", () => this.refresh());
    this.swap.addEventListener("click", () => this.swapCells());
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.frame.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    this.frame.addEventListener("pointermove", (event) => {
      if (this.frame.hasPointerCapture(event.pointerId)) this.moveTo(event);
    });
    for (const picture of [this.grid, this.a, this.b])
      for (const state of ["load", "error"])
        picture.addEventListener(state, () => {
          picture.dataset.state = state;
          this.refresh();
        });
  }

  /* What a run gave: `grid` the address of the whole picture, `cells` a list of {url, label, width,
     height} (url "" where there is no picture) or null where the run kept none, `baseline`. */
  show(run) {
    this.run = run;
    const cells = run.cells ?? [];
    const shown = cells.flatMap((cell, index) => (cell.url ? [index] : []));
    const options = cells.map((cell, index) => [
      String(index), cell.url ? cell.label : this.words.noImage(cell.label), !cell.url]);
    const kept = [this.first, this.second].map((select) => Number(select.value || NaN));
    fill(this.first, options);
    fill(this.second, options);
    const base = shown.includes(run.baseline) ? run.baseline : shown[0];
    const usable = kept.every((index) => shown.includes(index)) && kept[0] !== kept[1];
    const [one, other] = usable ? kept : [base, shown.find((index) => index !== base)];
    this.first.value = String(one);
    this.second.value = String(other);
    this.refresh();
  }

  cell(select) {
    return this.run?.cells?.[Number(select.value)];
  }

  setMode(mode) {
    this.mode = mode;
    delete this.stage.dataset.still;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.stage.dataset.still = "a";
    this.refresh();
  }

  swapCells() {
    [this.a, this.b] = [this.b, this.a]; // loaded already
    this.a.className = "picture a";
    this.b.className = "picture b";
    [this.first.value, this.second.value] = [this.second.value, this.first.value];
    this.refresh();
  }

  /* The sentence in place of a picture; "" if there is one. */
  problem() {
    const { run, words } = this;
    if (!run) return words.notRun;
    if (this.mode === "grid") {
      if (this.failed(this.grid)) return words.gone;
      return this.grid.dataset.state ? "" : words.loading;
    }
    if (!run.cells) return words.noCells;
    if (run.cells.filter((cell) => cell.url).length < 2) return words.onlyOne;
    if (this.failed(this.a) || this.failed(this.b)) return words.gone;
    return this.ready() ? "" : words.loading;
  }

  failed(picture) {
    return picture.dataset.state === "error";
  }

  ready() {
    return [this.a, this.b].every((picture) => picture.dataset.state === "load");
  }

  refresh() {
    const { mode, words } = this;
    const [a, b] = [this.cell(this.first), this.cell(this.second)];
    const compares = mode !== "grid";
    setSource(this.grid, this.run?.grid);
    setSource(this.a, compares && a?.url);
    setSource(this.b, compares && b?.url);
    const problem = this.problem();
    const shown = !problem;
    this.stage.dataset.mode = mode;
    for (const button of this.buttons)
      button.setAttribute("aria-pressed", String(button.dataset.to === mode));
    this.link.hidden = !this.run?.grid || this.failed(this.grid);
    if (this.run?.grid) this.link.href = this.run.grid;
    this.choice.hidden = !compares;
    this.gain.hidden = mode !== "difference";
    this.message.hidden = shown;
    this.message.textContent = problem;
    this.frame.hidden = !shown;
    this.grid.hidden = compares;
    for (const part of [this.a, this.b]) part.hidden = !compares || mode === "difference";
    for (const part of [this.labelA, this.labelB]) part.hidden = !compares;
    this.canvas.hidden = mode !== "difference";
    this.divider.hidden = mode !== "slider";
    this.labelA.textContent = `A: ${a?.label}`;
    this.labelB.textContent = `B: ${b?.label}`;
    for (const [part, cell] of [[this.labelA, a], [this.labelB, b]]) part.title = cell?.label ?? "";
    this.said.hidden = !compares;
    this.said.textContent = "";
    if (!shown) return;
    const frame = compares ? this.commonFrame(a, b) : sizeOf(this.grid);
    this.frame.style.setProperty("--frame-ratio", frame.width / frame.height);
    if (compares) this.said.textContent = this.describe(a, b, frame);
    this.setRole();
    this.place(this.at);
  }

  /* The larger of two cells in the pixels that were loaded: the other is scaled into it. */
  commonFrame(a, b) {
    const first = a.width * a.height >= b.width * b.height;
    return sizeOf(first ? this.a : this.b);
  }

  describe(a, b, frame) {
    const { words } = this;
    const [one, other] = [`${a.width}x${a.height}`, `${b.width}x${b.height}`];
    const larger = a.width * a.height >= b.width * b.height ? a : b;
    const parts = [
      one === other
        ? words.size(one)
        : words.sizes(one, other, `${larger.width}x${larger.height}`),
    ];
    if (frame.width < larger.width)
      parts.push(words.reduced(Math.round((100 * frame.width) / larger.width)));
    if (this.mode === "difference") parts.unshift(this.drawDifference(frame));
    else parts.push(this.mode === "slider" ? words.sliderHint : words.flickerHint);
    if (a === b) parts.unshift(words.sameCell);
    return parts.join(words.stop);
  }

  drawDifference(frame) {
    const key = `${this.a.src} ${this.b.src}`;
    if (this.measured?.key !== key)
      this.measured = { key, ...differenceOf(this.a, this.b, frame) };
    const { most } = this.measured;
    const auto = this.gain.value === "auto";
    const gain = auto ? Math.max(1, Math.floor(255 / (most || 255))) : Number(this.gain.value);
    drawDifference(this.canvas, this.measured, gain);
    return most ? this.words.differs(gain, most) : this.words.equal;
  }

  setRole() {
    const slider = this.mode === "slider";
    this.frame.setAttribute("aria-label", slider ? this.words.divider : this.words[this.mode]);
    this.frame.setAttribute("role", { slider: "slider", flicker: "button" }[this.mode] ?? "img");
    for (const [name, value] of [["valuemin", 0], ["valuemax", 100], ["orientation", "horizontal"]])
      if (slider) this.frame.setAttribute(`aria-${name}`, value);
      else this.frame.removeAttribute(`aria-${name}`);
    if (!slider)
      for (const name of ["valuenow", "valuetext"]) this.frame.removeAttribute(`aria-${name}`);
  }

  /* The divider, in percent from the left. */
  place(percent) {
    this.at = Math.min(100, Math.max(0, percent));
    this.stage.style.setProperty("--at", `${this.at}%`);
    if (this.mode !== "slider") return;
    const rounded = Math.round(this.at);
    this.frame.setAttribute("aria-valuenow", rounded);
    this.frame.setAttribute("aria-valuetext", this.words.divided(rounded));
  }

  moveTo(event) {
    const box = this.frame.getBoundingClientRect();
    this.place((100 * (event.clientX - box.left)) / box.width);
  }

  onPointerDown(event) {
    if (event.button) return;
    this.frame.focus({ preventScroll: true });
    if (this.mode === "slider") {
      event.preventDefault();
      this.frame.setPointerCapture(event.pointerId);
      this.moveTo(event);
    } else if (this.mode === "flicker") this.toggleFlicker();
  }

  toggleFlicker() {
    if (this.stage.dataset.still) delete this.stage.dataset.still;
    else this.stage.dataset.still = getComputedStyle(this.b).visibility === "visible" ? "b" : "a";
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof HTMLSelectElement) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in KEYS) this.setMode(KEYS[key]);
    else if (key === "x") this.swapCells();
    else if ("+=-".includes(key) && this.mode === "difference") this.stepGain(key === "-" ? -1 : 1);
    else if (event.target !== this.frame || !this.onFrameKey(event)) return;
    event.preventDefault();
  }

  /* Whether a key does something to the picture itself. */
  onFrameKey(event) {
    if (this.mode === "slider") {
      const step = event.shiftKey ? 10 : 2;
      const to = {
        ArrowLeft: this.at - step, ArrowDown: this.at - step, ArrowRight: this.at + step,
        ArrowUp: this.at + step, PageDown: this.at - 10, PageUp: this.at + 10, Home: 0, End: 100,
      }[event.key];
      if (to !== undefined) this.place(to);
      return to !== undefined;
    }
    if (this.mode !== "flicker") return false;
    const still = { ArrowLeft: "a", ArrowRight: "b" }[event.key];
    if (still) this.stage.dataset.still = still;
    else if (event.key === " " || event.key === "Enter") this.toggleFlicker();
    else return false;
    return true;
  }

  stepGain(step) {
    const to = this.gain.selectedIndex + step;
    this.gain.selectedIndex = Math.min(GAINS.length - 1, Math.max(0, to));
    this.refresh();
  }
}

function sizeOf(picture) {
  return { width: picture.naturalWidth || 1, height: picture.naturalHeight || 1 };
}

/* A source is set once: setting it again loads again. Until its event comes the old picture may
   still be there, and be called complete. */
function setSource(picture, url) {
  if ((picture.getAttribute("src") ?? "") === (url || "")) return;
  picture.dataset.state = "";
  if (url) picture.src = url;
  else picture.removeAttribute("src");
}
