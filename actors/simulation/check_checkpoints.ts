/**
 * Checks that no trainer has the result of a round which its scheduler may still lose: what is on the scheduler's medium counts, not what
 * the scheduler reports.
 *
 * @module
 */
import type { JobInput } from "../job/messages.ts";
import { parametersPath, recordPath, trainingFolder, velocityPath } from "../training/checkpoints.ts";
import { peerOfCredential } from "./authority.ts";
import type { CheckInit, Findings } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import { nodePaths } from "./node_config.ts";
import type { Simulation } from "./simulation.ts";

/** Checks the checkpoints of all schedulers. */
export class CheckpointChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;

  constructor({ sim, findings }: CheckInit) {
    this.#sim = sim;
    this.#findings = findings;
  }

  /** A trainer added the result of a round to its parameters. */
  resultTaken({ scheduler, spec: { training } }: JobInput, round: number): void {
    const node = this.#schedulerOf(scheduler);
    if (node === undefined || training === undefined) return;
    const folder = trainingFolder(nodePaths.state, training.id);
    // A trainer may be late: then the scheduler has a later round, and may have removed this one.
    const isKept = Array.from({ length: training.rounds - round + 1 }, (_, later) => round + later)
      .some((kept) =>
        [recordPath(folder, kept), parametersPath(folder, kept), velocityPath(folder, kept)]
          .every((path) => node.disk.durable(path) !== undefined)
      );
    if (isKept) return;
    const detail = `a trainer has the result of round ${round} of ${training.id}, which ${node.name} does not keep`;
    this.#findings.violate("checkpoint-first", node.name, detail);
  }

  /** The node that has or had a key. */
  #schedulerOf(peer: string): SimulatedNode | undefined {
    return [...this.#sim.nodes.values()].find(({ credentials }) =>
      credentials.some((each) => peerOfCredential(each) === peer)
    );
  }
}
