/* How the compare viewer looks: in the theme's colours, as large as its node allows. */

export const STYLE = `
.layer-lab-compare {
  display: flex; flex-direction: column; gap: 4px; box-sizing: border-box;
  width: 100%; height: 100%; min-height: 240px; padding: 4px; overflow: hidden;
  font: 12px/1.3 Inter, system-ui, sans-serif; color: var(--input-text, #ddd);
  background: var(--comfy-input-bg, #222); border-radius: 6px;
}
.layer-lab-compare .bar { display: flex; flex: none; gap: 4px; align-items: center; }
.layer-lab-compare button, .layer-lab-compare select, .layer-lab-compare a {
  box-sizing: border-box; height: 24px; padding: 0 8px; font: inherit; cursor: pointer;
  color: var(--input-text, #ddd); background: var(--comfy-menu-bg, #353535);
  border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px;
}
.layer-lab-compare a { display: inline-flex; align-items: center; text-decoration: none; }
.layer-lab-compare select { flex: 1 1 0; min-width: 0; padding: 0 2px; text-overflow: ellipsis; }
.layer-lab-compare select.gain { flex: none; width: 64px; }
.layer-lab-compare .mode { flex: 1 1 auto; padding: 0 4px; }
.layer-lab-compare .mode[aria-pressed="true"] {
  color: var(--comfy-menu-bg, #222); background: var(--input-text, #ddd); font-weight: 600;
}
.layer-lab-compare :focus-visible {
  outline: 2px solid var(--p-primary-color, #60a5fa); outline-offset: -2px;
}
.layer-lab-compare .stage {
  position: relative; flex: 1 1 0; min-height: 0; overflow: hidden;
  display: flex; align-items: center; justify-content: center; container-type: size;
}
.layer-lab-compare .frame {
  position: relative; flex: none; overflow: hidden; touch-action: none;
  width: min(100cqw, calc(100cqh * var(--frame-ratio, 1)));
  aspect-ratio: var(--frame-ratio, 1);
}
.layer-lab-compare .picture {
  position: absolute; inset: 0; width: 100%; height: 100%; max-width: none;
  object-fit: contain; user-select: none;
}
.layer-lab-compare [data-mode="slider"] .frame { cursor: ew-resize; }
.layer-lab-compare [data-mode="slider"] .a { clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.layer-lab-compare [data-mode="slider"] .b { clip-path: inset(0 0 0 var(--at)); }
.layer-lab-compare [data-mode="flicker"] .frame { cursor: pointer; }
.layer-lab-compare [data-mode="flicker"] .b {
  animation: layer-lab-flicker 1.2s steps(1) infinite;
}
.layer-lab-compare [data-mode="flicker"] .a {
  animation: layer-lab-flicker 1.2s steps(1) -0.6s infinite;
}
.layer-lab-compare [data-still] .picture, .layer-lab-compare [data-still] .label {
  animation: none;
}
.layer-lab-compare [data-still="a"] .b, .layer-lab-compare [data-still="b"] .a {
  visibility: hidden;
}
@keyframes layer-lab-flicker { 0% { visibility: hidden; } 50% { visibility: visible; } }
.layer-lab-compare .divider {
  position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 0 1px #000; pointer-events: none;
}
.layer-lab-compare .label {
  position: absolute; top: 4px; max-width: calc(50% - 8px); padding: 1px 6px; overflow: hidden;
  white-space: nowrap; text-overflow: ellipsis; color: #fff; background: #000b;
  border-radius: 4px; pointer-events: none;
}
.layer-lab-compare .label.a { left: 4px; clip-path: none !important; }
.layer-lab-compare .label.b { right: 4px; clip-path: none !important; }
.layer-lab-compare .message { padding: 8px; text-align: center; }
.layer-lab-compare .words { flex: none; min-height: 1.3em; opacity: 0.85; }
.layer-lab-compare [hidden] { display: none !important; }
`;
