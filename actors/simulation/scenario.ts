/**
 * What happens in a run, as plain data: the nodes, their limits, and the troubles that befall them. It is data so that a
 * failing run can be shrunk by leaving parts out, and so that a hunt can change it. `draw_scenario.ts` draws it from a seed.
 *
 * @module
 */
import type { Knobs } from "./knobs.ts";
import type { Moment } from "./moments.ts";
import type { NodeRole } from "./node_config.ts";

/** Kinds of trouble. */
export const faultKinds = [
  "partition",
  "one-way",
  "slow-link",
  "reset",
  "torn-stream",
  "crash",
  "power-cut",
  "clock-jump",
  "torn-file",
  "unreadable-file",
  "stale-crl",
  "silent-disk",
  "disk-full",
  "late-crl",
  "executor-crash",
  "executor-hang",
  "garbage-update",
  "half-open",
  "flood",
  "stranger",
  "expired",
  "self-signed",
  "stolen-certificate",
  "old-tls",
  "malformed",
  "revoked-issuer",
  "intruder",
  "nonsense",
  "rotation",
  "renewal",
  "rekey",
  "reload",
  "drain",
  "broken-worker",
  "lying-worker",
  "garbage-answers",
  "flooding-member",
  "dropping-gateway",
  "delaying-gateway",
  "second-certificate",
  "crowd",
  "forger",
  "mute",
  "relayed",
  "rules",
  "wrong-role",
  "denied",
  "expensive",
  "partner",
] as const;
/** Kinds that seeds of the third family draw beside those. */
export const trainingFaultKinds = ["clock-step"] as const;
export const allFaultKinds = [...faultKinds, ...trainingFaultKinds] as const;
export type FaultKind = (typeof allFaultKinds)[number];
/** Every run has a revocation. */
export type TroubleKind = FaultKind | "revocation";

/** One thing that happens to a node. */
export interface ScenarioEvent {
  /** Milliseconds after the start. */
  readonly at: number;
  readonly kind: TroubleKind;
  readonly target: string;
  /** The other end, where there is one. */
  readonly other?: string;
  /** Its duration, in milliseconds. */
  readonly forMs: number;
  /** A number in [0, 1) that the kind makes a size or a choice of. */
  readonly amount: number;
  /**
   * It strikes at the first such moment of its target, or of the node `seenAt`, after `at`, or {@linkcode aimMs} after `at` where none comes. At
   * `at` where undefined.
   */
  readonly when?: Moment;
  /** The node whose moment it is, where that is not its target. */
  readonly seenAt?: string;
  /** A loss of power strikes right after so many writes, syncs and renames of its target's disk, counted from `at`. */
  readonly atWrite?: number;
}

/** A node of a scenario. */
export interface NodePlan {
  readonly name: string;
  readonly role: NodeRole;
  readonly executors?: readonly ("train" | "aggregate")[];
  /** Its certificate expires this long after the start, in milliseconds. */
  readonly expiresAfterMs?: number;
  /** Issued by the intermediate that may be revoked. */
  readonly byOther?: boolean;
  /** Names of the gateways that it joins by, made before it; all for a node of another role, where none are named. */
  readonly gateways?: readonly string[];
  /** Its certificate names no role, as in networks that were made before certificates did. */
  readonly namesNoRole?: true;
}

/** Kinds of trouble that a seed leaves out (0) or doubles (2); every other has weight 1. */
export type Weights = Readonly<Partial<Record<FaultKind, 0 | 2>>>;

/** A training that an operator submits to a scheduler without a job of its own. Times are milliseconds after the start. */
export interface PlannedTraining {
  readonly id: string;
  readonly at: number;
  readonly workers: number;
  readonly rounds: number;
  /** Part of the trainers whose updates are enough at a round's deadline; all where undefined. */
  readonly quorum?: number;
  /** It is cancelled, and resumed later. */
  readonly cancelAt?: number;
  readonly resumeAt?: number;
}

/** All of a run. */
export interface Scenario {
  readonly seed: number;
  readonly nodes: readonly NodePlan[];
  readonly job: {
    readonly workers: number;
    readonly rounds: number;
    /** Whether the scheduler keeps the model; else its members are not replaced. */
    readonly keeps?: boolean;
    /** Whether a model that the scheduler keeps has an integer tensor too. */
    readonly integers?: boolean;
    /** Part of the trainers whose updates are enough at a round's deadline; all where undefined. */
    readonly quorum?: number;
  };
  /** Trainings that are submitted to the first scheduler, which has no job of its own then. */
  readonly submitted?: readonly PlannedTraining[];
  readonly slices: number;
  readonly events: readonly ScenarioEvent[];
  /** Limits and times of all nodes in place of the defaults. */
  readonly knobs?: Knobs;
  /** The weights that the events were drawn by. */
  readonly weights?: Weights;
  /** Trouble ends by then, in milliseconds. */
  readonly troubleMs: number;
  /** Then everything has this long to recover, in milliseconds. */
  readonly quietMs: number;
}

/** Trouble lasts this long, and what follows is at least as long, in milliseconds. */
export const troubleMs = 70_000;
export const quietMs = 60_000;
/** An aimed event waits this long for its moment, in milliseconds. */
export const aimMs = 15_000;
/** A trainer that hangs is noticed after five minutes, and the next may hang only when the round goes on without it. */
const quietForHangMs = 300_000;
/** A trainer whose update is lost on the way is dropped after two deadlines of the simulated job. */
const quietForTornMs = 130_000;
/** All rounds with fewer trainers take this long, in milliseconds: eight rounds of up to fourteen seconds. */
export const quietForRoundsMs = 120_000;

/** The time that everything has to recover from these events, in milliseconds. */
export function quietAfter(events: readonly ScenarioEvent[]): number {
  const waitMs = quietForHangMs * countHangs(events) +
    (events.some(({ kind }) => kind === "torn-stream") ? quietForTornMs : 0);
  return waitMs > 0 ? waitMs + quietForRoundsMs : quietMs;
}

/** How many trainers may hang one after another. Trainers that got garbage may hang too, all at the same time. */
function countHangs(events: readonly ScenarioEvent[]): number {
  const hung = new Set(events.filter(({ kind }) => kind === "executor-hang").map(({ target }) => target));
  return hung.size + (events.some(({ kind }) => kind === "garbage-answers") ? 1 : 0);
}
