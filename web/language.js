import { app } from "../../scripts/app.js";

/* Whether the page speaks Simplified Chinese, the one language besides English that the pack has. */
export function inChinese() {
  return app.extensionManager?.setting?.get("Comfy.Locale") === "zh";
}
