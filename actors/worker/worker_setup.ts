/**
 * What a worker's machine is made of beside its states: context, events, guards, children, and its times.
 *
 * @module
 */
import { setup } from "xstate";
import type { RequestAnswer, TransportFact } from "../../transport/port.ts";
import type { Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { WorkerConfig } from "../config/config.ts";
import type { EffectSaid } from "../runtime/effect_actor.ts";
import type { JobNetworkDesk } from "../job/ask.ts";
import type { JobEnded, JobStarted } from "../job/messages.ts";
import { cellDefault } from "../config/cell_config.ts";
import type { Cell } from "../job/cell/cell.ts";
import type { WorkDirLocked } from "../job/cell/lock.ts";
import { type PreparedWorker, prepareWorker } from "../job/cell/prepare.ts";
import { type AggregatorLogic, jobMachine } from "../job/job.ts";
import { leaseMachine, type LeaseSaid } from "./lease.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import { parameterServerMachine } from "../job/parameter_server.ts";
import type { Ports } from "../runtime/ports.ts";
import type { RoleEvent, RoleInput, RoleOutcome } from "../runtime/role.ts";
import { type ReceivedRequest, requestsPerWindowMax } from "./requests.ts";
import type { WorkerBook } from "./worker_book.ts";

/** A peer that is away for longer than this is no longer waited for, in milliseconds. */
export const absenceMs = 10_000;
/** Left-over work directories are swept, and a cell is found, within this, in milliseconds. */
export const sweepMs = 30_000;
/** A scheduler takes notice of a job's end within this, in milliseconds. */
export const statusTimeoutMs = 3_000;
/** Jobs and what is said of their end are waited for this long when the worker drains, in milliseconds. */
export const drainMs = 25_000;

/** A worker's state beside where it is. */
export interface WorkerContext extends RoleInput<WorkerConfig> {
  readonly book: WorkerBook;
  readonly window: readonly ReceivedRequest[];
  readonly desk: JobNetworkDesk;
  /** Peers that are connected now: who is not, is not told how its job ended. */
  readonly connected: readonly Peer[];
  /** Where executors are started; undefined until it is found, and in a simulation. */
  readonly cell: Cell | undefined;
  /** Why none can be started now. */
  readonly cellProblem: string | undefined;
  /** Job statuses that were sent and not answered. */
  readonly untold: number;
  readonly outcome: RoleOutcome;
}

/** What a worker hears. */
export type WorkerEvent =
  | RoleEvent
  | LeaseSaid
  | JobStarted
  | JobEnded
  | EffectSaid<"sweep", PreparedWorker, WorkDirLocked>
  | { readonly type: "window.closed" }
  | { readonly type: "offer.answered"; readonly id: Uuid; readonly answer: RequestAnswer }
  | { readonly type: "offer.lapsed"; readonly id: Uuid }
  | { readonly type: "status.answered" }
  | { readonly type: "absence.over"; readonly peer: Peer };

/** Types, guards and children of the worker's machine; actions are made from it. */
export const workerSetup = setup({
  types: {
    input: {} as RoleInput<WorkerConfig>,
    context: {} as WorkerContext,
    events: {} as WorkerEvent,
    output: {} as RoleOutcome,
  },
  actors: {
    sweep: fromScoped(
      "sweep",
      ({ ports, config }: { readonly ports: Ports; readonly config: WorkerConfig }) =>
        prepareWorker({ ports, workDir: config.workDir, config: config.cell ?? cellDefault }),
    ),
    lease: leaseMachine,
    // A machine's snapshot says more than the slot asks for, which its variance doesn't allow without a word.
    job: jobMachine.provide({ actors: { aggregator: parameterServerMachine as unknown as AggregatorLogic } }),
  },
  guards: {
    isForWindow: ({ context }) => context.window.length < requestsPerWindowMax,
    isApi: (_, fact: Extract<TransportFact, { type: "request.received" }>) => fact.protocol === "/hypha-api/0.0.1",
    /** Nothing is promised any more, and everybody who has to know it was told. */
    isUnbound: ({ context: { book, untold } }) =>
      untold === 0 && [book.offers, book.leases, book.jobs].every((promises) => Object.keys(promises).length === 0),
    isAllOver: ({ context }) => Object.keys(context.book.jobs).length === 0 && context.untold === 0,
  },
});
