/**
 * Reads a scenario that a hunt, or a shrunk failure, printed.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { allFaultKinds, allMoments, knobNames, type Scenario } from "../../actors/simulation/mod.ts";

const kinds: ReadonlySet<unknown> = new Set(["revocation", ...allFaultKinds]);

/** The file holds no scenario. */
export class NoScenario extends Error {}

/** Reads a scenario from a file of JSON. */
export function readScenario(file: string): Scenario {
  let read: unknown;
  try {
    read = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new NoScenario(`Cannot read scenario ${file}: ${(error as Error).message}`);
  }
  const problem = problemOf(read);
  if (problem !== undefined) throw new NoScenario(`Cannot play scenario ${file}: ${problem}`);
  return read as Scenario;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function problemOf(read: unknown): string | undefined {
  if (!isRecord(read)) return "it is no object";
  const { seed, nodes, events, job, slices, troubleMs, quietMs, knobs = {} } = read;
  if (![seed, slices, troubleMs, quietMs].every(Number.isFinite)) {
    return "seed, slices, troubleMs and quietMs are numbers";
  }
  if (!isRecord(job) || ![job["workers"], job["rounds"]].every(Number.isFinite)) return "job names workers and rounds";
  if (!Array.isArray(nodes) || !nodes.every(isRecord)) return "nodes is a list of nodes";
  if (!Array.isArray(events) || !events.every(isRecord)) return "events is a list of events";
  const event = events.find(({ kind, at, target }) =>
    !kinds.has(kind) || !Number.isFinite(at) || !nodes.some(({ name }) => name === target)
  );
  if (event !== undefined) return `event ${JSON.stringify(event)} has no known kind, time or target`;
  const aimed = events.find(({ when }) => when !== undefined && !(allMoments as readonly unknown[]).includes(when));
  if (aimed !== undefined) return `there is no moment ${String(aimed["when"])}`;
  const seen = events.find(({ seenAt }) => seenAt !== undefined && !nodes.some(({ name }) => name === seenAt));
  if (seen !== undefined) return `there is no node ${String(seen["seenAt"])} whose moment an event waits for`;
  const knob = Object.keys(isRecord(knobs) ? knobs : { [String(knobs)]: 0 }).find((name) =>
    !(knobNames as readonly string[]).includes(name)
  );
  return knob === undefined ? undefined : `there is no knob ${knob}`;
}
