/**
 * Checks that nothing stays open: once the troubles and the jobs are over, each node is seen, within ten seconds, without an
 * exchange, a stream, a dial, a verification and a half-open connection.
 *
 * A node may begin new ones meanwhile (it dials a lost gateway again), so the check asks for one look at which there are
 * none, of each kind by itself. What leaked is there at every look.
 *
 * @module
 */
import type { OpenCounts } from "../../transport/core/parts.ts";
import type { CheckInit, Findings } from "./findings.ts";
import { openKinds, type SimulatedNode } from "./node.ts";
import type { Simulation } from "./simulation.ts";

/** Nodes have this long to close what is open, in milliseconds. */
export const quietLookMs = 10_000;

/** Checks that nodes become quiet. */
export class QuietChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  /** The fewest of each kind at any look, by node; undefined before the last ten seconds. */
  #fewest: Map<SimulatedNode, Record<keyof OpenCounts, number>> | undefined;

  constructor({ sim, findings }: CheckInit) {
    this.#sim = sim;
    this.#findings = findings;
  }

  /** From now on nothing needs to be open. */
  begin(): void {
    this.#fewest = new Map();
  }

  look(): void {
    if (this.#fewest === undefined) return;
    for (const node of this.#sim.nodes.values()) {
      const open = node.open;
      const fewest = this.#fewest.get(node) ?? { ...open };
      for (const kind of openKinds) fewest[kind] = Math.min(fewest[kind], open[kind]);
      this.#fewest.set(node, fewest);
    }
  }

  conclude(): void {
    for (const [node, fewest] of this.#fewest ?? []) {
      const left = openKinds.filter((kind) => fewest[kind] > 0);
      if (left.length === 0) continue;
      const detail = `open ${quietLookMs / 1_000} s after quiet: ${
        left.map((kind) => `${fewest[kind]} ${kind}`).join(", ")
      }`;
      this.#findings.violate("nothing-left-open", node.name, detail);
    }
  }
}
