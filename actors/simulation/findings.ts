/**
 * The violations that the checks of a run found, and how the checks read a node's roles.
 *
 * @module
 */
import type { AnyActorRef } from "xstate";
import { type RunningTraining, runningTrainings } from "../scheduler/scheduler_setup.ts";
import type { TrainingContext } from "../training/training_setup.ts";
import type { InvariantName, Violation } from "./invariants.ts";
import type { SimulatedNode } from "./node.ts";
import type { Simulation } from "./simulation.ts";

/** Collects the first violation of each invariant. */
export class Findings {
  readonly violations: Violation[] = [];
  readonly #sim: Simulation;

  constructor(sim: Simulation) {
    this.#sim = sim;
  }

  violate(invariant: InvariantName, node: string, detail: string): void {
    if (this.violations.some((known) => known.invariant === invariant)) return;
    this.violations.push({ invariant, node, at: this.#sim.now, detail });
    this.#sim.note("violation", node, `${invariant}: ${detail.split("\n")[0]}`);
  }
}

/** What every check gets. */
export interface CheckInit {
  readonly sim: Simulation;
  readonly findings: Findings;
}

/** Names something of one process of a node. */
export function keyOf(node: SimulatedNode, id: unknown): string {
  return `${node.name}/${node.incarnation}/${id}`;
}

/** The context of an actor's machine. */
export function contextOf<Context>(actor: AnyActorRef | undefined): Context | undefined {
  return (actor?.getSnapshot() as { readonly context: Context } | undefined)?.context;
}

/** The contexts of a node's roles: one for each key that is in use. */
export function contextsOf<Context>(node: SimulatedNode): readonly Context[] {
  return node.roleActors.map((actor) => contextOf<Context>(actor)).filter((context) => context !== undefined);
}

/** The trainings of a scheduler's roles. */
export function trainingsOf(node: SimulatedNode): readonly RunningTraining[] {
  return node.roleActors.flatMap((role) => runningTrainings(role));
}

/** The contexts of the same. */
export function trainingContextsOf(node: SimulatedNode): readonly TrainingContext[] {
  return trainingsOf(node).map(({ snapshot }) => snapshot.context);
}
