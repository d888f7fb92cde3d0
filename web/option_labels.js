import { app } from "../../scripts/app.js";
import { inChinese } from "./language.js";
import { OPTIONS_ZH } from "./options_zh.js";

/* The frontend takes names and tooltips from locales/, but neither the options of a combo nor, in
   the classic renderer, what an empty text box says. Values stay English; so does the word behind
   the Chinese one, by which tooltips and reports call the option. */
export function optionLabel(input, value) {
  const chinese = inChinese() ? OPTIONS_ZH[input]?.[value] : undefined;
  if (!chinese) return value ?? "";
  return input === "name" ? chinese : `${chinese} (${value})`;
}

app.registerExtension({
  name: "LayerLab.OptionLabels",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("LayerLab") || !inChinese()) return;
    for (const widget of node.widgets ?? []) {
      if (widget.type === "combo" && OPTIONS_ZH[widget.name])
        widget.options.getOptionLabel = (value) => optionLabel(widget.name, value);
      if (widget.element?.placeholder && widget.label) widget.element.placeholder = widget.label;
    }
  },
});
