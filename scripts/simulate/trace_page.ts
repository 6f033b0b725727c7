/**
 * A run as one page: lanes for nodes, time downwards, messages as arrows, what was reported, done to it and violated.
 *
 * @module
 */
import type { RunResult } from "../../actors/simulation/mod.ts";

/** Lines that are drawn; of a longer trace the last ones, which lead to a violation. */
const drawnMax = 4_000;

/** One self-contained page: it loads nothing. */
export function tracePage({ seed, traceHash, violations, lines, events }: RunResult): string {
  const drawn = lines.slice(-drawnMax);
  const nodes = [...new Set(drawn.map(({ node }) => node))].toSorted();
  const data = JSON.stringify({ nodes, lines: drawn }).replaceAll("<", "\\u003c");
  const verdict = violations.length === 0
    ? "no invariant was violated"
    : violations.map(({ invariant, node, detail }) => `${invariant} at ${node}: ${detail}`).join("; ");
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>seed ${seed}</title>
<style>
body{font:13px/1.4 system-ui,sans-serif;margin:0;color:#1c2430;background:#fff}
header{position:sticky;top:0;background:#fff;border-bottom:1px solid #c9d1dc;padding:8px 16px;z-index:1}
h1{font-size:15px;margin:0}p{margin:2px 0}label{margin-right:12px}
svg text{font:11px system-ui,sans-serif}.lane{stroke:#dde3ea}.frame{stroke:#5b8def;stroke-width:1}
.report{fill:#2f6f4f}.warn{fill:#b26a00}.error{fill:#b00020}.fault{fill:#7b1fa2;font-weight:600}
.violation{fill:#b00020;font-weight:700}.mark{fill:#ffe3e6}.time{fill:#7a8694}
</style>
<header><h1>seed ${seed}, trace ${traceHash}, ${events} events</h1><p id="verdict"></p>
<label><input type="checkbox" id="frames" checked> messages</label><label><input type="checkbox" id="debug"> debug reports</label></header>
<svg id="lanes" xmlns="http://www.w3.org/2000/svg"></svg>
<script>
const page = globalThis["document"];
const data = ${data};
page.getElementById("verdict").textContent = ${JSON.stringify(verdict).replaceAll("<", "\\u003c")};
const svg = page.getElementById("lanes"), laneWidth = 190, left = 90, rowHeight = 16;
function add(name, attributes, text) {
  const element = page.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  svg.append(element);
}
function draw() {
  svg.replaceChildren();
  const frames = page.getElementById("frames").checked, debug = page.getElementById("debug").checked;
  const x = (node) => left + data.nodes.indexOf(node) * laneWidth + 20;
  const lines = data.lines.filter((line) => (line.kind !== "frame" || frames) && (debug || !line.text.startsWith("debug")));
  svg.setAttribute("width", left + data.nodes.length * laneWidth + 300);
  svg.setAttribute("height", 60 + lines.length * rowHeight);
  for (const node of data.nodes) {
    add("line", { class: "lane", x1: x(node), x2: x(node), y1: 30, y2: 60 + lines.length * rowHeight });
    add("text", { x: x(node) - 10, y: 20, "font-weight": 600 }, node);
  }
  lines.forEach((line, index) => {
    const y = 46 + index * rowHeight;
    if (line.kind === "violation") add("rect", { class: "mark", x: 0, y: y - 12, width: "100%", height: rowHeight });
    add("text", { class: "time", x: 8, y }, (line.at / 1000).toFixed(3) + " s");
    if (line.kind === "frame" && line.from !== undefined && data.nodes.includes(line.from)) {
      add("line", { class: "frame", x1: x(line.from), x2: x(line.node), y1: y - 4, y2: y - 4 });
      add("circle", { cx: x(line.node), cy: y - 4, r: 3, fill: "#5b8def" });
      add("text", { x: Math.min(x(line.from), x(line.node)) + 8, y: y - 6, fill: "#3c62a8" }, line.text);
      return;
    }
    const level = line.text.split(" ")[0];
    const kind = line.kind === "report" ? (level === "warn" || level === "error" ? level : "report") : line.kind;
    add("circle", { cx: x(line.node), cy: y - 4, r: 3, class: kind });
    add("text", { class: kind, x: x(line.node) + 8, y }, line.text.slice(0, 110));
  });
}
for (const box of page.querySelectorAll("input")) box.addEventListener("change", draw);
draw();
</script></html>
`;
}
