/**
 * Checks a scheduler that waits for jobs: it forgets no training that it accepted, and its trainings take turns in looking for workers.
 *
 * @module
 */
import type { SchedulerContext } from "../scheduler/scheduler_setup.ts";
import { patience } from "../scheduler/queue.ts";
import { allParticipants } from "../training/training.ts";
import { type CheckInit, contextsOf, type Findings, trainingsOf } from "./findings.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";
import type { Operator } from "./submitting.ts";

/** All nodes are looked at each quarter of a second; a turn that ends releases what it holds, in milliseconds. */
const looksMs = 750;

/** What a training of a queue does. */
type Turn = "waits" | "looks" | "else";

/** A training that looks for workers. */
interface Looking {
  readonly key: string;
  readonly since: number;
}

/** Checks the schedulers of all operators. */
export class SubmittedChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #oracle: Oracle;
  readonly #operators: Operator[] = [];
  readonly #looking = new Map<Operator, Looking>();
  /** Those that waited at the last look, by operator. */
  readonly #waited = new Map<Operator, readonly string[]>();

  constructor({ sim, findings, oracle }: CheckInit & { readonly oracle: Oracle }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#oracle = oracle;
  }

  /** A scheduler has an operator. */
  operated(operator: Operator): void {
    this.#operators.push(operator);
  }

  /** Whether a scheduler has trainings under way or to come; undefined where it has no operator. */
  isBusy(name: string): boolean | undefined {
    const operator = this.#operators.find(({ node }) => node.name === name);
    if (operator === undefined) return undefined;
    const contexts = contextsOf<SchedulerContext>(operator.node);
    return !operator.isDone || contexts.length === 0 || contexts.some(({ running }) => running.length > 0);
  }

  /** Every quarter of a second. */
  look(): void {
    for (const operator of this.#operators) {
      this.#checkKept(operator);
      this.#checkTurns(operator);
    }
  }

  /** A scheduler that serves knows every training that it ever accepted. */
  #checkKept({ node, accepted }: Operator): void {
    const { roleActor } = node;
    if (roleActor?.getSnapshot().value !== "serving") return;
    const [context] = contextsOf<SchedulerContext>(node).slice(-1);
    const lost = accepted.find(({ id }) => context?.trainings[id] === undefined);
    if (lost !== undefined) this.#findings.violate("submitted-kept", node.name, `it forgot training ${lost.id}`);
  }

  /** One looks for workers at a time, for five seconds at most; one that begins to is the oldest of those that wait. */
  #checkTurns(operator: Operator): void {
    const { node } = operator;
    const all = trainingsOf(node).map(({ snapshot: { value, context } }) => ({ turn: turnOf(value), context }));
    const looking = all.filter(({ turn }) => turn === "looks").map(({ context }) => context);
    const waiting = all.filter(({ turn }) => turn === "waits").map(({ context }) => context.id);
    if (looking.length > 1 && node.roleActors.length === 1) {
      this.#violate(operator, `${looking.map(({ id }) => id).join(" and ")} look for workers at the same time`);
    }
    const [current] = looking;
    const key = current === undefined ? "" : `${node.incarnation}/${current.id}/${current.run?.run}`;
    const before = this.#looking.get(operator);
    if (current !== undefined && before?.key !== key) this.#checkOldest(operator, current.id, waiting);
    const since = before?.key === key ? before.since : this.#sim.now;
    this.#looking.set(operator, { key, since });
    this.#waited.set(operator, waiting);
    const held = current === undefined ? 0 : allParticipants(current.training).length;
    if (held > 0 && this.#sim.now - since > patience.holdMs + looksMs) {
      this.#violate(operator, `${current?.id} holds ${held} workers for longer than its turn`);
    }
  }

  /** One that waits, did so at the last look already, and is older than the one whose turn begins. */
  #checkOldest(operator: Operator, id: string, waiting: readonly string[]): void {
    // Ages are kept by the wall clock, so that they outlive the process.
    if (this.#oracle.hasJumped(operator.node)) return;
    const [context] = contextsOf<SchedulerContext>(operator.node).slice(-1);
    const queuedAt = (of: string) => context?.trainings[of]?.queuedAt ?? Number.POSITIVE_INFINITY;
    const waited = this.#waited.get(operator) ?? [];
    const older = waiting.find((other) => waited.includes(other) && queuedAt(other) < queuedAt(id));
    if (older !== undefined) this.#violate(operator, `${id} looks for workers before ${older}, which is older`);
  }

  #violate({ node }: Operator, detail: string): void {
    this.#findings.violate("queue-turns", node.name, detail);
  }
}

function turnOf(value: unknown): Turn {
  const allocating = typeof value === "object" ? (value as { readonly allocating?: unknown }).allocating : undefined;
  if (allocating === "queueing") return "waits";
  return allocating === "trainers" || allocating === "aggregator" ? "looks" : "else";
}
