/**
 * Context, events, guards, children and times of the worker's machine.
 *
 * @module
 */
import { setup } from "xstate";
import type { RequestAnswer } from "../../transport/port.ts";
import type { Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { WorkerConfig } from "../config/config.ts";
import type { EventsOf } from "../runtime/effect_actor.ts";
import type { JobNetworkHost } from "../job/job_network.ts";
import { cellDefault, fetchDefault } from "../config/cell_config.ts";
import type { Web } from "../job/bridge/web_request.ts";
import type { Cell } from "../job/cell/cell.ts";
import { prepareWorker } from "../job/cell/prepare.ts";
import { jobMachine } from "../job/job.ts";
import { leaseMachine } from "./lease.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import type { RoleEvent, RoleInput, RoleOutcome } from "../runtime/role.ts";
import { type ReceivedRequest, requestsPerWindowMax } from "./requests.ts";
import type { Commitments } from "./commitments.ts";
import type { GpuMemories } from "./gpus.ts";
import type { FailingExecutors } from "./failing.ts";
import type { NewestRuns } from "./runs.ts";
import type { Unaccepted } from "./unaccepted.ts";
import type { PostponedDispatch } from "./working.ts";

/** Aggregations wait this long for a disconnected peer, in milliseconds. */
export const absenceMs = 10_000;
/** Left-over work directories are swept, and a cell is found, within this, in milliseconds. */
export const sweepMs = 30_000;
/** A scheduler acknowledges the end of a job within this, in milliseconds. */
export const statusTimeoutMs = 3_000;
/** A draining worker waits this long for its jobs and the acknowledgement of their ends, in milliseconds. */
export const drainMs = 25_000;

/** What a worker is created with. */
export interface WorkerInput extends RoleInput<WorkerConfig> {
  /** How long a lease lives unless it is renewed, in milliseconds; the default of `lease.ts` where undefined. */
  readonly leaseLifeMs?: number | undefined;
}

/** The context of a worker. */
export interface WorkerContext extends WorkerInput {
  readonly book: Commitments;
  readonly runs: NewestRuns;
  /** Dispatches that wait until jobs of lower runs have ended. */
  readonly postponed: readonly PostponedDispatch[];
  readonly window: readonly ReceivedRequest[];
  /** Requests that wait for the end of open offers. */
  readonly waiting: readonly ReceivedRequest[];
  /** Schedulers that left an offer unaccepted. */
  readonly unaccepted: Unaccepted;
  readonly failing: FailingExecutors;
  readonly jobNetworkHost: JobNetworkHost;
  /** The web of all jobs. */
  readonly web: Web;
  /** The cell for executors; undefined until it is found, and in a simulation. */
  readonly cell: Cell | undefined;
  /**
   * GB of memory of the GPUs that jobs get, by index of `[[cell.gpu]]`. Undefined until a cell is found, and in a simulation: GPU
   * memory is an amount there.
   */
  readonly gpus: GpuMemories | undefined;
  /** Why no executor can be started now. */
  readonly cellProblem: string | undefined;
  /** Job statuses that were sent and not acknowledged. */
  readonly unacknowledged: number;
  readonly outcome: RoleOutcome;
}

const actors = {
  sweep: fromScoped(
    "sweep",
    ({ ports, config }: { readonly ports: Ports; readonly config: WorkerConfig }) =>
      prepareWorker({
        ports,
        workDir: config.workDir,
        cacheBytes: (config.fetch ?? fetchDefault).cacheBytes,
        settings: config.cell ?? cellDefault,
        resources: config.resources,
        executors: config.executors,
      }),
  ),
  lease: leaseMachine,
  job: jobMachine,
};

/** The events that a worker receives. */
export type WorkerEvent =
  | RoleEvent
  | EventsOf<typeof actors>
  /** An open offer is over: requests may wait for its resources. */
  | { readonly type: "offer.over" }
  | { readonly type: "offer.answered"; readonly id: Uuid; readonly answer: RequestAnswer }
  | { readonly type: "offer.lapsed"; readonly id: Uuid }
  | { readonly type: "status.answered" }
  | { readonly type: "dispatch.again"; readonly request: PostponedDispatch }
  /** `taskId`: the aggregation that waited for the peer when it went; undefined: every one that waits for it. */
  | { readonly type: "absence.over"; readonly peer: Peer; readonly taskId?: Uuid }
  /** xstate's own: a child died of an error. */
  | ChildDied;

/** A child died of an error. The type names the child. */
export interface ChildDied {
  readonly type: `xstate.error.actor.${string}`;
  readonly error: unknown;
}

/** The type of the event that a job's actor died, up to the task's id. */
export const jobDied = "xstate.error.actor.job/";

/** Types, guards and children of the worker's machine. `worker.ts` adds the actions. */
export const workerSetup = setup({
  types: {
    input: {} as WorkerInput,
    context: {} as WorkerContext,
    events: {} as WorkerEvent,
    output: {} as RoleOutcome,
  },
  actors,
  guards: {
    isForWindow: ({ context }) => context.window.length < requestsPerWindowMax,
    isJobDeath: (_, { type }: ChildDied) => type.startsWith(jobDied),
    isUndelivered: (_, { answer }: { readonly answer: RequestAnswer }) => answer.type !== "response",
    /** There are no commitments, and all job results were acknowledged. */
    isUnbound: ({ context: { book, unacknowledged } }) =>
      unacknowledged === 0 &&
      [book.offers, book.leases, book.jobs].every((promises) => Object.keys(promises).length === 0),
    isAllOver: ({ context }) => Object.keys(context.book.jobs).length === 0 && context.unacknowledged === 0,
  },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type WorkerArgs = Omit<Parameters<Parameters<typeof workerSetup.enqueueActions>[0]>[0], "event">;
