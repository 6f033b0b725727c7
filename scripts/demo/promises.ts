/**
 * What the demo promises, checked over the logs of its nodes.
 *
 * @module
 */
import type { LogEvent, NodeProcess } from "./processes.ts";

/** Least accuracy on the held-out fifth, and most accuracy of the control with shuffled labels. */
export const accuracyMin = 0.95;
export const shuffledAccuracyMax = 0.2;
/** From the list written to the connection closed, in milliseconds (`R5`). */
export const closedMaxMs = 1_000;

/** The demo's result, as `--json` prints it. */
export interface DemoResult {
  readonly runtime: string;
  readonly nodes: number;
  readonly rounds: readonly { readonly round: number; readonly accuracy: number }[];
  readonly accuracy: number;
  readonly bytes: number;
  readonly accepted: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly revocation: { readonly closedMs: Readonly<Record<string, number | null>> };
  readonly seconds: number;
}

const number = (value: unknown): number => (typeof value === "number" ? value : 0);
const at = ({ time }: LogEvent): number => Date.parse(time);

/** Whether a node had a connection with `peer` at a time (milliseconds since the epoch), by its log. */
export function wasConnected(node: NodeProcess, peer: string, when: number): boolean {
  const last = node.events
    .filter(({ event, peer: of }) => (event === "peer.established" || event === "peer.closed") && of === peer)
    .filter((event) => at(event) <= when)
    .at(-1);
  return last?.event === "peer.established";
}

/** How long after `when` each node that was connected with `peer` closed it; null where it did not. */
export function closingTimes(nodes: readonly NodeProcess[], peer: string, when: number): Record<string, number | null> {
  const connected = nodes.filter((node) => wasConnected(node, peer, when));
  return Object.fromEntries(connected.map((node) => {
    const closed = node.events.find((event) =>
      event.event === "peer.closed" && event["peer"] === peer && at(event) >= when
    );
    return [node.name, closed === undefined ? null : Math.round(at(closed) - when)];
  }));
}

/** Sums what the nodes said of themselves at their end. */
export function summarise(nodes: readonly NodeProcess[]): Pick<DemoResult, "bytes" | "accepted" | "refused"> {
  const refused: Record<string, number> = {};
  let bytes = 0;
  let accepted = 0;
  for (const node of nodes) {
    const summary = node.events.findLast(({ event }) => event === "node.summary");
    bytes += number(summary?.["bytesSent"]);
    accepted += number(summary?.["accepted"]);
    for (const [code, count] of Object.entries((summary?.["refused"] ?? {}) as Record<string, unknown>)) {
      refused[code] = (refused[code] ?? 0) + number(count);
    }
  }
  return { bytes, accepted, refused };
}

/** The promises that a result breaks, in words. */
export function brokenPromises(
  { accuracy, revocation }: DemoResult,
  { shuffleLabels, connectedMin }: { shuffleLabels: boolean; connectedMin: readonly string[] },
): string[] {
  const percent = (value: number) => `${(value * 100).toFixed(1)} %`;
  const broken: string[] = [];
  if (shuffleLabels && accuracy >= shuffledAccuracyMax) {
    broken.push(`accuracy on shuffled labels is ${percent(accuracy)}, not under ${percent(shuffledAccuracyMax)}`);
  }
  if (!shuffleLabels && !(accuracy >= accuracyMin)) {
    broken.push(`accuracy is ${percent(accuracy)}, under ${percent(accuracyMin)}`);
  }
  for (const [node, ms] of Object.entries(revocation.closedMs)) {
    if (ms === null) broken.push(`${node} did not close the revoked worker's connection`);
    else if (ms > closedMaxMs) broken.push(`${node} closed the revoked worker after ${ms} ms, over ${closedMaxMs} ms`);
  }
  for (const node of connectedMin) {
    if (!(node in revocation.closedMs)) {
      broken.push(`${node} has no closedMs: it was not connected with the revoked worker`);
    }
  }
  return broken;
}
