/**
 * The demo's result and verdict, for people and as JSON.
 *
 * @module
 */
import process from "node:process";
import type { Way } from "./certifier.ts";
import type { Display } from "./display.ts";
import type { NodeProcess } from "./processes.ts";
import { allHeld, type DemoResult, type Verdict } from "./promises.ts";

/** Shows the counts of each node, the rounds and the sums. */
export function showResult(
  result: DemoResult,
  { nodes, way }: { readonly nodes: ReadonlyMap<string, NodeProcess>; readonly way: Way },
  display: Display,
): void {
  const rows = [...nodes.values()].map(({ name, role, runtime, events }) => {
    const summary = events.findLast(({ event }) => event === "node.summary");
    const closed = result.revocation.closedMs[name];
    const refused = Object.values((summary?.["refused"] ?? {}) as Record<string, number>).reduce((a, b) => a + b, 0);
    const sent = String(summary?.["bytesSent"] ?? "—");
    const accepted = String(summary?.["accepted"] ?? "—");
    return [name, role, runtime, accepted, String(refused), sent, closed === undefined ? "" : `${closed ?? "—"} ms`];
  });
  display.line("");
  display.table([["node", "role", "on", "accepted", "refused", "sent", "closed"], ...rows]);
  const since = way === "ca" ? "hypha-ca revoke was started" : "the revocation list was written";
  display.line(
    `accepted and refused: handshakes; sent: bytes; closed: when the connection was closed after ${since}`,
  );
  display.line("");
  const percent = (accuracy: number | null) => accuracy === null ? "—" : `${(accuracy * 100).toFixed(1)} %`;
  const rounds = result.rounds.map(({ round, accuracy }) => [String(round), percent(accuracy)]);
  display.table([["round", "accuracy on held-out rows"], ...rounds]);
  display.line("");
  const refused = Object.entries(result.refused).map(([code, count]) => `${code} ${count}`).join(", ");
  display.line(`handshakes accepted ${result.accepted}; refused: ${refused}`);
  const accuracy = result.accuracy === null ? "unknown" : percent(result.accuracy);
  if (result.model !== null) {
    const { path, round, bytes, sha256 } = result.model;
    display.line(`model of round ${round}: ${path} (${bytes} bytes)`);
    display.line(`SHA-256 ${sha256}`);
  }
  for (const { killed, rounds } of result.recovered) {
    display.line(`${killed}, the aggregator, was killed; rounds finished after it was lost: ${rounds}`);
  }
  if (result.joined !== null) {
    const { processorSeconds, seconds } = result.joined;
    display.line(
      `from nothing to a worker that joined: ${processorSeconds} s of processor time, of all nodes until then; ${seconds} s`,
    );
  }
  display.line(`bytes moved ${result.bytes}; accuracy ${accuracy}; ${result.seconds} s`);
  display.line("");
}

/** Shows the verdict as the last line; before it, on `errors`, the broken promises. */
export function showVerdict({ verdict, promises }: Verdict, display: Display, errors: Display): void {
  display.clear();
  for (const line of promises.flatMap(({ broken }) => broken)) errors.line(`Broken promise: ${line}`);
  const held = promises.filter((each) => each.held === true).length;
  const all = verdict === allHeld;
  const broken = promises.filter((each) => each.held === false).map(({ promise }) => promise);
  display.verdict(all ? `${allHeld} (${held} of ${promises.length})` : `promise broken: ${broken.join("; ")}`, all);
}

/** Prints one JSON object on standard output. */
export function printJson(result: DemoResult, verdict: Verdict): void {
  process.stdout.write(`${JSON.stringify({ ...result, ...verdict })}\n`);
}
