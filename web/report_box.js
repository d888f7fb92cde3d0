import { inChinese } from "./language.js";
import { addStyle } from "./style.js";

/* What a node says of its run: the verdict in one line, the table, the rest folded away. All of it
   goes in as text, never as HTML. */

const WORDS = {
  en: {
    empty: "Run to see the report here",
    copy: "Copy",
    copied: "Copied",
    failed: "Select it and press Ctrl+C",
    more: "More",
    earlier: "Of an earlier run, saved with the workflow",
    picture: "Picture",
    open: "Open the picture full size in a new tab",
  },
  zh: {
    empty: "运行后在此显示报告",
    copy: "复制",
    copied: "已复制",
    failed: "请选中文字后按 Ctrl+C",
    more: "更多",
    earlier: "来自较早的运行，随工作流保存",
    picture: "图片",
    open: "在新标签页中以原尺寸打开图片",
  },
};

const STYLE = `
.layer-lab-report {
  display: flex; flex-direction: column; gap: 3px; box-sizing: border-box;
  width: 100%; height: 100%; min-height: 64px; padding: 5px 7px; overflow: hidden; contain: size;
  font: 12px/1.35 Inter, system-ui, sans-serif; color: var(--input-text, #ddd);
  background: var(--comfy-input-bg, #222); border-radius: 6px; cursor: text; user-select: text;
}
.layer-lab-report .head { display: flex; flex: none; gap: 6px; align-items: flex-start; }
.layer-lab-report .verdict {
  flex: 1 1 0; min-width: 0; font-weight: 600; overflow: hidden; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2;
}
.layer-lab-report.empty .verdict { font-weight: 400; opacity: 0.7; }
.layer-lab-report button, .layer-lab-report .open {
  flex: none; padding: 0 6px; text-decoration: none; font: inherit; cursor: pointer; color: inherit;
  background: var(--comfy-menu-bg, #353535); border: 1px solid var(--border-color, #4e4e4e);
  border-radius: 4px;
}
.layer-lab-report .body { flex: 1 1 0; min-height: 0; overflow: auto; outline: none; }
.layer-lab-report pre {
  margin: 0; font: 11px/1.4 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre; color: inherit;
}
.layer-lab-report details pre, .layer-lab-report .note {
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.layer-lab-report summary { cursor: pointer; opacity: 0.85; }
.layer-lab-report .note { opacity: 0.7; }
/* Nodes 2.0 shares a node's height out evenly: there the picture gets what the inputs do not need. */
.lg-node-widgets:has(.layer-lab-report.beside-picture) { flex: none !important; }
.lg-node-widget .layer-lab-report.beside-picture { min-height: 140px; }
.lg-node-widgets:has(.layer-lab-report.beside-picture) textarea { min-height: 100px; }
.layer-lab-report :focus-visible { outline: 1px solid var(--p-primary-color, #60a5fa); }
.layer-lab-report [hidden] { display: none !important; }
`;

function element(tag, name, parent) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  parent?.append(made);
  return made;
}

/* Pages that are not served over HTTPS have no clipboard but this old command. */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = element("textarea", "", document.body);
  area.value = text;
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}

export class ReportBox {
  constructor() {
    addStyle("layer-lab-report-style", STYLE);
    this.words = WORDS[inChinese() ? "zh" : "en"];
    this.text = "";
    this.root = element("div", "layer-lab-report");
    const head = element("div", "head", this.root);
    this.verdict = element("div", "verdict", head);
    this.link = element("a", "open", head);
    this.link.textContent = this.words.picture;
    this.link.title = this.words.open;
    this.link.target = "_blank";
    this.link.hidden = true;
    this.button = element("button", "copy", head);
    this.button.type = "button";
    this.button.textContent = this.words.copy;
    this.button.addEventListener("click", () => this.copy());
    this.offered = element("button", "offer", this.root);
    this.offered.type = "button";
    this.offered.addEventListener("click", () => this.press?.());
    this.body = element("div", "body", this.root);
    this.body.tabIndex = 0;
    this.note = element("div", "note", this.body);
    this.note.textContent = this.words.earlier;
    this.table = element("pre", "table", this.body);
    this.more = element("details", "", this.body);
    element("summary", "", this.more).textContent = this.words.more;
    this.rest = element("pre", "rest", this.more);
    // A drag selects text, and keys and the wheel are the box's own where it can use them.
    for (const name of ["pointerdown", "mousedown", "dblclick", "keydown", "copy"])
      this.root.addEventListener(name, (event) => event.stopPropagation());
    this.body.addEventListener("wheel", (event) => {
      const { scrollHeight, clientHeight, scrollWidth, clientWidth } = this.body;
      if (scrollHeight > clientHeight || scrollWidth > clientWidth) event.stopPropagation();
    });
    this.offer("");
    this.show("", ["", "", ""]);
  }

  /* The whole text, and its three parts; `earlier`: they were saved with the workflow. */
  show(text, [verdict, table, rest], earlier = false) {
    this.text = text;
    const empty = !verdict && !table && !rest;
    this.root.classList.toggle("empty", empty);
    this.verdict.textContent = this.verdict.title = empty ? this.words.empty : verdict;
    this.button.hidden = empty;
    this.note.hidden = empty || !earlier;
    this.table.textContent = table;
    this.table.hidden = !table;
    this.rest.textContent = rest;
    this.more.hidden = !rest;
    this.more.open = !table;
  }

  /* A link to the node's picture at its own size; none where `address` is empty. */
  linkTo(address) {
    this.link.hidden = !address;
    this.root.classList.toggle("beside-picture", Boolean(address));
    if (address) this.link.href = address;
  }

  /* A button under the verdict that does what the report asks for; none where `words` is empty. */
  offer(words, press) {
    this.offered.textContent = words;
    this.offered.hidden = !words;
    this.press = press;
  }

  async copy() {
    let said = this.words.copied;
    try {
      await copy(this.text);
    } catch {
      said = this.words.failed;
    }
    this.button.textContent = said;
    setTimeout(() => (this.button.textContent = this.words.copy), 2000);
  }
}
