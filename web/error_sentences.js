import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

/* The frontend's own message says that a node "threw an error" or "rejected the value", and hides
   the node's sentence behind a button and a traceback. This shows the sentence of the pack's nodes
   beside it; errors of other nodes, and what the frontend does with ours, stay as they are. */
const ofThePack = (type) => type?.startsWith("LayerLab");
const READING_TIME = 15_000; // ms

function show(type, sentence) {
  const summary = globalThis.LiteGraph?.registered_node_types?.[type]?.title ?? type;
  app.extensionManager?.toast?.add?.({
    severity: "error",
    summary,
    detail: sentence,
    life: READING_TIME,
  });
}

/* What a node's validate_inputs said; the frontend says the host's own reasons itself. */
function showRefusals(nodes) {
  for (const node of Object.values(nodes ?? {})) {
    if (!ofThePack(node.class_type)) continue;
    const refusals = node.errors?.filter((error) => error.type === "custom_validation_failed");
    const sentences = (refusals ?? []).map((error) => {
      const name = `${error.extra_info?.input_name} - `;
      const details = String(error.details);
      return details.startsWith(name) ? details.slice(name.length) : details;
    });
    for (const sentence of new Set(sentences)) show(node.class_type, sentence);
  }
}

app.registerExtension({
  name: "LayerLab.ErrorSentences",
  setup() {
    api.addEventListener("execution_error", ({ detail }) => {
      if (!ofThePack(detail?.node_type)) return;
      const kind = `${detail.exception_type}: `;
      const message = String(detail.exception_message).trim();
      show(detail.node_type, message.startsWith(kind) ? message.slice(kind.length) : message);
    });
    const queue = api.queuePrompt;
    api.queuePrompt = async function () {
      try {
        return await queue.apply(this, arguments);
      } catch (error) {
        showRefusals(error?.response?.node_errors);
        throw error;
      }
    };
  },
});
