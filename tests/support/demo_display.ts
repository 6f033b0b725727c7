/**
 * Shows in a terminal everything that the demo can show, the longest texts that it has among it: `demo_display.ts [PAUSE_MS]`.
 *
 * @module
 */
import process from "node:process";
import { makeDisplay } from "../../scripts/demo/display.ts";
import type { LogEvent, NodeProcess } from "../../scripts/demo/processes.ts";
import { evaluate } from "../../scripts/demo/promises.ts";
import { showResult, showVerdict } from "../../scripts/demo/report.ts";

const display = makeDisplay({ json: false });
const rounds = 16;
const pauseMs = Number(process.argv[2] ?? 0);

display.stage("Making a PKI: root → intermediate → one certificate a node, and a revocation list of each CA");
display.note(
  "Executors run at cell level bare: the worker's own user, no control groups, disk use measured. Nothing confines them, " +
    "which is allowed because they are the demo's own. Install bubblewrap 0.8 or newer to see them confined",
);
display.note(`${"x".repeat(150)} is a word that fits no terminal`);
display.stage("Allocating workers, training in rounds");
for (let round = 1; round <= rounds; round++) {
  display.progress(round, rounds, `held-out accuracy ${(90 + round / 10).toFixed(1)} %`);
  if (round === 8) display.note("scheduler closed it after 151 ms");
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
}

const names = ["gateway", "data", "worker-1", "scheduler"] as const;
const summary = { event: "node.summary", accepted: 1_000, bytesSent: 123_456_789, refused: { "hung-up": 27 } };
const nodes = new Map(names.map((name) => {
  const role = name === "worker-1" ? "worker" : name;
  return [name, { name, role, runtime: "deno", events: [summary as unknown as LogEvent] } as unknown as NodeProcess];
}));
const result = {
  runtime: "deno",
  nodes: 7,
  rounds: [{ round: 1, accuracy: 0.978 }],
  accuracy: 0.978,
  model: { path: "/tmp/hypha-demo-model.safetensors", sha256: "0".repeat(64), bytes: 10_000, round: 1 },
  executor: "typescript",
  recovered: [{ killed: "worker-1", rounds: 8 }],
  bytes: 5_977_687,
  accepted: 52,
  refused: {
    "certificate-revoked": 27,
    "unknown-issuer": 1,
    "certificate-expired": 1,
    "self-signed": 1,
    "hung-up": 27,
  },
  revocation: { closedMs: { gateway: 1_000, data: 151, scheduler: null } },
  joined: { seconds: 17.4, processorSeconds: 18.3 },
  seconds: 63.4,
} as const;
showResult(result, { nodes, way: "ca" }, display);
const facts = {
  way: "ca",
  shuffleLabels: false,
  roundsWanted: 1,
  stopped: undefined,
  exits: [],
  left: [],
  intruders: [],
} as const;
showVerdict(evaluate(result, facts), display, display);
process.exit(0);
