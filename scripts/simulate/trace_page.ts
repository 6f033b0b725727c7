/**
 * A run as one page: a lane for each node, time downwards, messages as arrows, and reports, faults and violations.
 *
 * @module
 */
import type { RunResult } from "../../actors/simulation/mod.ts";

/** Lines that are drawn: the last ones of a longer trace, which lead to a violation. */
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
${style}</style>
<header><h1>seed ${seed}, trace ${traceHash}, ${events} events</h1><p id="verdict"></p>
<label><input type="checkbox" id="frames" checked> messages</label><label><input type="checkbox" id="debug"> debug reports</label>
<label>only <select id="only"><option value="">every node</option></select></label>
<button id="fault">next fault</button> <button id="violation">violation</button>
</header>
<main id="view"><div id="names"></div><svg id="lanes" xmlns="http://www.w3.org/2000/svg"></svg></main>
<script>
const page = globalThis["document"];
const data = ${data};
page.getElementById("verdict").textContent = ${JSON.stringify(verdict).replaceAll("<", "\\u003c")};
${script}</script></html>
`;
}

const style =
  `body{font:13px/1.4 system-ui,sans-serif;margin:0;color:#1c2430;background:#fff;display:flex;flex-direction:column;height:100vh}
header{border-bottom:1px solid #c9d1dc;padding:8px 16px}main{flex:1;overflow:auto}
h1{font-size:15px;margin:0}p{margin:2px 0}label{margin-right:12px}
svg text{font:11px system-ui,sans-serif}.lane{stroke:#dde3ea}.frame{stroke:#5b8def;stroke-width:1}
.report{fill:#2f6f4f}.warn{fill:#b26a00}.error{fill:#b00020}.fault{fill:#7b1fa2;font-weight:600}
#names{position:sticky;top:0;background:#fff;height:20px;border-bottom:1px solid #dde3ea;font-weight:600}#names span{position:absolute;white-space:nowrap}button,select{font:inherit}
.violation{fill:#b00020;font-weight:700}.mark{fill:#ffe3e6}.trouble{fill:#f6eefb}.time{fill:#7a8694}
`;

/** Draws `data` into the page. */
const script = String.raw`const svg = page.getElementById("lanes"), left = 90, rowHeight = 16;
const only = page.getElementById("only"), marks = [];
/** Keys are long and the same everywhere: their last letters tell them apart. */
const short = (text) => text.replace(/12D3KooW\w+(\w{6})/g, "…$1");
for (const node of data.nodes) only.append(new Option(node, node));
function add(name, attributes, text, title) {
  const element = page.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  if (title !== undefined && title !== text) {
    const hint = page.createElementNS("http://www.w3.org/2000/svg", "title");
    hint.textContent = title;
    element.append(hint);
  }
  svg.append(element);
}
function draw() {
  svg.replaceChildren();
  marks.length = 0;
  const frames = page.getElementById("frames").checked, debug = page.getElementById("debug").checked;
  const laneWidth = Math.max(150, (globalThis.innerWidth - left - 120) / data.nodes.length);
  const x = (node) => left + data.nodes.indexOf(node) * laneWidth + 20;
  const concerns = (line) => only.value === "" || line.node === only.value || line.from === only.value || line.kind === "fault";
  const lines = data.lines.filter((line) =>
    line.kind === "violation" || (concerns(line) && (line.kind !== "frame" || frames) && (debug || !line.text.startsWith("debug")))
  );
  const height = 40 + lines.length * rowHeight;
  svg.setAttribute("width", left + data.nodes.length * laneWidth + 100);
  svg.setAttribute("height", height);
  page.getElementById("names").replaceChildren(...data.nodes.map((node) => {
    const name = page.createElement("span");
    name.textContent = node;
    name.style.left = x(node) - 26 + "px";
    return name;
  }));
  for (const node of data.nodes) add("line", { class: "lane", x1: x(node), x2: x(node), y1: 0, y2: height });
  lines.forEach((line, index) => {
    const y = 26 + index * rowHeight;
    if (line.kind === "violation" || line.kind === "fault") {
      marks.push({ kind: line.kind, y });
      add("rect", { class: line.kind === "fault" ? "trouble" : "mark", x: 0, y: y - 12, width: "100%", height: rowHeight });
    }
    add("text", { class: "time", x: 8, y }, (line.at / 1000).toFixed(3) + " s");
    if (line.kind === "frame" && line.from !== undefined && data.nodes.includes(line.from)) {
      const from = x(line.from), to = x(line.node), back = to > from ? -6 : 6;
      add("line", { class: "frame", x1: from, x2: to, y1: y - 4, y2: y - 4 });
      add("path", { d: "M" + to + " " + (y - 4) + "l" + back + " -3v6z", fill: "#5b8def" });
      add("text", { x: Math.min(from, to) + 8, y: y - 6, fill: "#3c62a8" }, line.text);
      return;
    }
    const level = line.text.split(" ")[0];
    const kind = line.kind === "report" ? (level === "warn" || level === "error" ? level : "report") : line.kind;
    add("circle", { cx: x(line.node), cy: y - 4, r: 3, class: kind });
    const text = (line.kind === "violation" ? "VIOLATED " : "") + short(line.text);
    add("text", { class: kind, x: x(line.node) + 8, y }, text.length > 120 ? text.slice(0, 120) + "…" : text, line.text);
  });
}
function show(kind) {
  const view = page.getElementById("view"), wanted = marks.filter((mark) => mark.kind === kind), ahead = kind === "fault" ? 60 : view.clientHeight * 0.8;
  const next = wanted.find(({ y }) => y > view.scrollTop + ahead + 4) ?? wanted[0];
  if (next !== undefined) view.scrollTo(0, Math.max(0, next.y - ahead));
}
page.getElementById("fault").addEventListener("click", () => show("fault"));
page.getElementById("violation").addEventListener("click", () => show("violation"));
globalThis.addEventListener("resize", draw);
for (const box of page.querySelectorAll("input, select")) box.addEventListener("change", draw);
draw();
show("violation");
`;
