import { app } from "../../scripts/app.js";

/* Outputs are kept by "ID", or "SUBGRAPH:ID" inside a subgraph. */
function nodeAt(place) {
  const root = app.rootGraph ?? app.graph;
  const [id, subgraph] = String(place).split(":").reverse();
  return (subgraph ? root?.subgraphs?.get(subgraph) : root)?.getNodeById(id);
}

/* The extension's hooks that hand what a node's run gave to `show(node, output)`: after the run, and
   where the nodes are new and what they gave is not, as in a tab that is opened again or for a job of
   the history. `has(node)` says whether it is such a node; `create` prepares a new one. */
export function outputHooks(has, create, show) {
  return {
    nodeCreated(node) {
      if (!has(node)) return;
      create(node);
      const executed = node.onExecuted;
      node.onExecuted = function (output) {
        executed?.apply(this, arguments);
        show(this, output);
      };
    },
    onNodeOutputsUpdated(outputs) {
      for (const [place, output] of Object.entries(outputs)) {
        const node = nodeAt(place);
        if (node && has(node)) show(node, output);
      }
    },
  };
}
