/**
 * A run as one page: a lane for each node, time downwards, messages as arrows, and reports, faults and violations. It can be played:
 * what has not happened yet is shaded, at a speed of choice.
 *
 * @module
 */
import { readFileSync } from "node:fs";
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
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Run of seed ${seed}</title>
<style>
${colours}${style}</style>
<header><h1>Run of seed ${seed}</h1><p>trace <code>${traceHash}</code>, ${events} events</p><p id="verdict"></p>
<div class="row"><button id="play">Play</button>
<label>Speed <select id="speed"><option value="1">1×</option><option value="10" selected>10×</option><option value="100">100×</option></select></label>
<label class="time">Time <input type="range" id="at" step="1"> <output id="clock" for="at"></output></label></div>
<div class="row"><label><input type="checkbox" id="frames" checked> messages</label><label><input type="checkbox" id="debug"> debug reports</label>
<label>Only <select id="only"><option value="">every node</option></select></label>
<button id="fault">Next fault</button> <button id="violation">Violation</button></div>
</header>
<main id="view" tabindex="0"><div id="names"></div><svg id="lanes" xmlns="http://www.w3.org/2000/svg"></svg></main>
<script>
const page = globalThis["document"];
const data = ${data};
page.getElementById("verdict").textContent = ${JSON.stringify(verdict).replaceAll("<", "\\u003c")};
page.getElementById("verdict").className = ${violations.length === 0 ? '"good"' : '"bad"'};
${script}</script></html>
`;
}

const colours = readFileSync(new URL("../../actors/console/page/colours.css", import.meta.url), "utf8");
const style =
  `body{font:14px/1.45 system-ui,sans-serif;margin:0;color:var(--text);background:var(--bg);display:flex;flex-direction:column;height:100vh}
header{background:var(--bg-2);border-bottom:1px solid var(--line);padding:10px 20px}main{flex:1;overflow:auto}
h1{font-size:20px;margin:0}p{margin:2px 0;color:var(--text-2)}p.good{color:var(--good)}p.bad{color:var(--bad);font-weight:600}
.row{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:center;margin-top:6px}.time{display:flex;gap:8px;align-items:center;flex:1;min-width:280px}#at{flex:1}
output{font-variant-numeric:tabular-nums;min-width:80px}button,select{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--text-2);border-radius:4px;padding:3px 10px}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
svg text{font:11px system-ui,sans-serif}.lane{stroke:var(--line)}.frame{stroke:var(--accent);stroke-width:1}.head,.of-frame{fill:var(--accent)}
.report{fill:var(--good)}.warn{fill:var(--warn)}.error{fill:var(--bad)}.fault{fill:var(--scheduler);font-weight:600}
#names{position:sticky;top:0;background:var(--bg);height:20px;border-bottom:1px solid var(--line);font-weight:600}#names span{position:absolute;white-space:nowrap}
.violation{fill:var(--bad);font-weight:700}.mark{fill:var(--bad);opacity:.12}.trouble{fill:var(--scheduler);opacity:.1}.time{fill:var(--text-2)}
.shade{fill:var(--bg);opacity:.8}.now{stroke:var(--accent);stroke-width:2}
`;

/** Draws `data` into the page. */
const script = String.raw`const svg = page.getElementById("lanes"), left = 90, rowHeight = 16;
const only = page.getElementById("only"), marks = [], rows = [];
const play = page.getElementById("play"), at = page.getElementById("at"), view = page.getElementById("view");
const first = data.lines[0]?.at ?? 0, last = data.lines.at(-1)?.at ?? 0;
/** Until when the run has come, in milliseconds of its time; and the time of the frame before, while it plays. */
let time = last, before;
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
  marks.length = rows.length = 0;
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
    rows.push({ at: line.at, y });
    if (line.kind === "violation" || line.kind === "fault") {
      marks.push({ kind: line.kind, y });
      add("rect", { class: line.kind === "fault" ? "trouble" : "mark", x: 0, y: y - 12, width: "100%", height: rowHeight });
    }
    add("text", { class: "time", x: 8, y }, (line.at / 1000).toFixed(3) + " s");
    if (line.kind === "frame" && line.from !== undefined && data.nodes.includes(line.from)) {
      const from = x(line.from), to = x(line.node), back = to > from ? -6 : 6;
      add("line", { class: "frame", x1: from, x2: to, y1: y - 4, y2: y - 4 });
      add("path", { d: "M" + to + " " + (y - 4) + "l" + back + " -3v6z", class: "head" });
      add("text", { x: Math.min(from, to) + 8, y: y - 6, class: "of-frame" }, line.text);
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
  const wanted = marks.filter((mark) => mark.kind === kind), ahead = kind === "fault" ? 60 : view.clientHeight * 0.8;
  const next = wanted.find(({ y }) => y > view.scrollTop + ahead + 4) ?? wanted[0];
  if (next !== undefined) view.scrollTo(0, Math.max(0, next.y - ahead));
}
/** Shades what comes after the time; the view follows where it plays. */
function shade() {
  for (const old of svg.querySelectorAll(".shade, .now")) old.remove();
  at.value = time;
  page.getElementById("clock").textContent = (time / 1000).toFixed(3) + " s";
  if (time >= last) return;
  const y = (rows.findLast((row) => row.at <= time)?.y ?? 10) + 4;
  add("rect", { class: "shade", x: 0, y, width: "100%", height: Math.max(0, svg.getAttribute("height") - y) });
  add("line", { class: "now", x1: 0, x2: svg.getAttribute("width"), y1: y, y2: y });
  if (before !== undefined) view.scrollTo(view.scrollLeft, Math.max(0, y - view.clientHeight * 0.7));
}
function pause() {
  before = undefined;
  play.textContent = "Play";
}
function step(now) {
  if (before === undefined) return;
  time = Math.min(last, time + (now - before) * Number(page.getElementById("speed").value));
  before = now;
  shade();
  if (time >= last) pause();
  else globalThis.requestAnimationFrame(step);
}
play.addEventListener("click", () => {
  if (before !== undefined) return pause();
  if (time >= last) time = first;
  play.textContent = "Pause";
  before = performance.now();
  globalThis.requestAnimationFrame(step);
});
at.addEventListener("input", () => {
  time = Number(at.value) >= Math.floor(last) ? last : Number(at.value);
  before = before === undefined ? undefined : performance.now();
  shade();
  const { y = 0 } = rows.findLast((row) => row.at <= time) ?? {};
  view.scrollTo(view.scrollLeft, Math.max(0, y - view.clientHeight * 0.7));
});
page.getElementById("fault").addEventListener("click", () => show("fault"));
page.getElementById("violation").addEventListener("click", () => show("violation"));
const redraw = () => (draw(), shade());
globalThis.addEventListener("resize", redraw);
for (const box of page.querySelectorAll("#frames, #debug, #only")) box.addEventListener("change", redraw);
at.min = Math.floor(first);
at.max = Math.floor(last);
redraw();
for (const kind of ["fault", "violation"]) page.getElementById(kind).disabled = marks.every((mark) => mark.kind !== kind);
show("violation");
`;
