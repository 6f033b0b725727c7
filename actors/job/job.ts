/**
 * One dispatched job, from its work directory to its end.
 *
 * ```
 * preparing ─▶ serving ──────────────────────────────────────────┐
 *    │ │         opening ─▶ executing                            │
 *    │ │                      starting ─▶ running ─▶ flushing    ├─▶ removing ─▶ done
 *    │ │                            └──▶ stopping ◀──┘           │
 *    │ └───▶ aggregating (the parameter server, no process) ─────┤
 *    └───────────────────────────────────────────────────────────┘
 * ```
 *
 * Every failure leads to `removing`; `done` sends `job.ended`, once. The lease limits how long a job may run: when it is over,
 * the worker sends `job.cancel`. Every other state has its deadline (`job/limits.ts`); that of `flushing` begins again while bytes go.
 *
 * @module
 */
import { assign, enqueueActions, sendTo, setup } from "xstate";
import type { EventsOf } from "../runtime/effect_actor.ts";
import {
  bridgeActor,
  directoryActor,
  executorActor,
  exitActor,
  flushActor,
  type JobExit,
  type JobPlaces,
  limitExceededActor,
  type OpenedBridge,
  removeActor,
  stopActor,
} from "./effects.ts";
import type { AssignedCell } from "./cell/assign.ts";
import { type JobLimits, jobLimits } from "./limits.ts";
import type { JobChanged, JobCommand, JobEnded, JobInput, JobOutcome, JobUpdated } from "./messages.ts";
import { parameterServerMachine } from "./parameter_server.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import { present } from "../runtime/present.ts";
import type { Executor } from "./process.ts";
import { failureReason } from "./reason.ts";
import type { TrainerRoles } from "./trainer_link.ts";

/** The context of a job. */
export interface JobContext {
  readonly job: JobInput;
  readonly limits: JobLimits;
  readonly directory: WorkDirectory | undefined;
  readonly cell: AssignedCell | undefined;
  readonly bridge: OpenedBridge | undefined;
  /** Who aggregates, where that changed since the dispatch. */
  readonly roles: TrainerRoles | undefined;
  readonly executor: Executor | undefined;
  /** Set once: the first event that ended the job. */
  readonly outcome: JobOutcome | undefined;
}

const actors = {
  directory: directoryActor,
  bridge: bridgeActor,
  executor: executorActor,
  exit: exitActor,
  limitExceeded: limitExceededActor,
  stop: stopActor,
  flush: flushActor,
  remove: removeActor,
  aggregator: parameterServerMachine,
};

/** A job on a worker, from its dispatch to the removal of its directory. */
export const jobMachine = setup({
  types: {
    input: {} as JobInput,
    context: {} as JobContext,
    events: {} as JobCommand | EventsOf<typeof actors>,
    output: {} as JobEnded,
  },
  actors,
  guards: {
    aggregates: ({ context }) => context.job.executor.runtime === "parameter-server",
    succeeded: (_, exit: JobExit) => exit.code === 0,
    hasDirectory: ({ context }) => context.directory !== undefined,
    stillSends: ({ context: { bridge, limits } }) => (bridge?.sentAgoMs?.() ?? Infinity) < limits.idleMs,
  },
  actions: {
    end: assign({ outcome: ({ context }, outcome: JobOutcome) => context.outcome ?? outcome }),
    takePlaces: assign((_, { directory, cell }: JobPlaces) => ({ directory, cell })),
    /** A change that came before the bridge was open counts for it too. */
    takeBridge: enqueueActions(({ context, enqueue }, { value }: { readonly value: OpenedBridge }) => {
      enqueue.assign({ bridge: value });
      const { roles } = context;
      if (roles !== undefined) enqueue(() => value.link?.change(roles));
    }),
    changeRoles: enqueueActions(({ context, enqueue }, { roles }: JobChanged) => {
      enqueue.assign({ roles });
      enqueue(() => context.bridge?.link?.change(roles));
    }),
    takeExecutor: assign({ executor: (_, { value }: { readonly value: Executor }) => value }),
    /** Dispatched again before anything ran. */
    takeSpec: assign({ job: ({ context }, { spec }: JobUpdated) => ({ ...context.job, spec }) }),
    updateAggregator: sendTo("aggregator", (_, update: JobUpdated) => update),
    sendStarted: enqueueActions(({ context: { job, executor }, enqueue }) => {
      if (job.parent === undefined) return;
      enqueue.sendTo(job.parent, { type: "job.started", ...idsOf(job), pid: executor?.pid });
    }),
    sendEnded: enqueueActions(({ context, enqueue }) => {
      if (context.job.parent !== undefined) enqueue.sendTo(context.job.parent, endedOf(context));
    }),
    reportLeft: ({ context }, detail: string) =>
      context.job.ports.report({
        level: "error",
        event: "job.left-behind",
        message: `job ${context.job.spec.job_id} was not cleaned up: ${detail}`,
        fields: { job: context.job.spec.job_id, directory: context.directory?.path, pid: context.executor?.pid },
      }),
  },
  delays: {
    prepare: ({ context }) => context.limits.prepareMs,
    end: ({ context }) => context.limits.endMs,
    flush: ({ context }) => context.limits.idleMs,
  },
}).createMachine({
  id: "job",
  context: ({ input }) => ({
    job: input,
    limits: { ...jobLimits, ...input.limits },
    directory: undefined,
    cell: undefined,
    bridge: undefined,
    roles: undefined,
    executor: undefined,
    outcome: undefined,
  }),
  output: ({ context }) => endedOf(context),
  initial: "working",
  on: { "job.changed": { actions: { type: "changeRoles", params: ({ event }) => event } } },
  states: {
    working: {
      // Held until all processes in it have ended. Leaving this state removes the directory if `removing` could not.
      invoke: {
        src: "directory",
        input: ({ context }) => ({ ports: context.job.ports, job: context.job }),
      },
      initial: "preparing",
      states: {
        preparing: {
          on: {
            "effect.done.directory": {
              target: "choosing",
              actions: { type: "takePlaces", params: ({ event }) => event.value },
            },
            "effect.failed.directory": {
              target: "removing",
              actions: { type: "end", params: ({ event }) => failedOf(event.error.message) },
            },
            "job.updated": { actions: { type: "takeSpec", params: ({ event }) => event } },
            "job.cancel": {
              target: "removing",
              actions: { type: "end", params: ({ event }) => cancelledOf(event.reason) },
            },
          },
          after: {
            prepare: {
              target: "removing",
              actions: { type: "end", params: () => failedOf("its work directory was not made in time") },
            },
          },
        },
        choosing: {
          always: [{ guard: "aggregates", target: "aggregating" }, { target: "serving" }],
        },
        aggregating: {
          entry: "sendStarted",
          invoke: {
            id: "aggregator",
            src: "aggregator",
            input: ({ context }) => ({
              ports: context.job.ports,
              spec: context.job.spec,
              scheduler: context.job.scheduler,
              network: context.job.network,
              directory: present(context.directory, "the work directory"),
              limits: context.limits,
              diskBytes: context.cell?.config.diskBytes,
            }),
            onDone: { target: "removing", actions: { type: "end", params: ({ event }) => event.output } },
            onError: {
              target: "removing",
              actions: { type: "end", params: ({ event }) => failedOf(`the parameter server failed: ${event.error}`) },
            },
          },
          on: {
            "job.updated": { actions: { type: "updateAggregator", params: ({ event }) => event } },
            "job.cancel": {
              target: "removing",
              actions: { type: "end", params: ({ event }) => cancelledOf(event.reason) },
            },
          },
        },
        // `job.updated` is ignored in this state: a process keeps the specification that it was started with.
        serving: {
          invoke: { src: "bridge", input: ({ context }) => placed(context) },
          initial: "opening",
          states: {
            opening: {
              on: {
                "effect.done.bridge": {
                  target: "executing",
                  actions: { type: "takeBridge", params: ({ event }) => event },
                },
                "effect.failed.bridge": {
                  target: "#job.working.removing",
                  actions: { type: "end", params: ({ event }) => failedOf(event.error.message) },
                },
                "job.cancel": {
                  target: "#job.working.removing",
                  actions: { type: "end", params: ({ event }) => cancelledOf(event.reason) },
                },
              },
              after: {
                prepare: {
                  target: "#job.working.removing",
                  actions: { type: "end", params: () => failedOf("its bridge was not opened in time") },
                },
              },
            },
            executing: {
              invoke: {
                src: "executor",
                input: ({ context }) => ({ ...placed(context), bridge: present(context.bridge, "the bridge") }),
              },
              initial: "starting",
              states: {
                starting: {
                  on: {
                    "effect.done.executor": {
                      target: "running",
                      actions: [{ type: "takeExecutor", params: ({ event }) => event }, "sendStarted"],
                    },
                    "effect.failed.executor": {
                      target: "#job.working.removing",
                      actions: { type: "end", params: ({ event }) => failedOf(event.error.message) },
                    },
                    // There is no running process yet that could be terminated: leaving the state ends the starting one.
                    "job.cancel": {
                      target: "#job.working.removing",
                      actions: { type: "end", params: ({ event }) => cancelledOf(event.reason) },
                    },
                  },
                  after: {
                    prepare: {
                      target: "#job.working.removing",
                      actions: { type: "end", params: () => failedOf("its executor was not started in time") },
                    },
                  },
                },
                running: {
                  invoke: [
                    { src: "exit", input: ({ context }) => ({ ...placed(context), ...runningOf(context) }) },
                    { src: "limitExceeded", input: ({ context }) => ({ ...placed(context), ...runningOf(context) }) },
                  ],
                  on: {
                    "effect.done.limitExceeded": {
                      target: "stopping",
                      actions: { type: "end", params: ({ event }) => failedOf(limited(event.value.limit)) },
                    },
                    "effect.done.exit": [
                      {
                        guard: { type: "succeeded", params: ({ event }) => event.value },
                        target: "flushing",
                        actions: { type: "end", params: () => ({ type: "finished" }) },
                      },
                      {
                        target: "#job.working.removing",
                        actions: { type: "end", params: ({ event }) => crashedOf(event.value) },
                      },
                    ],
                    "effect.failed.exit": {
                      target: "#job.working.removing",
                      actions: {
                        type: "end",
                        params: ({ event }) => failedOf(`its executor was lost: ${event.error}`),
                      },
                    },
                    "job.cancel": {
                      target: "stopping",
                      actions: { type: "end", params: ({ event }) => cancelledOf(event.reason) },
                    },
                  },
                },
                stopping: {
                  invoke: {
                    src: "stop",
                    input: ({ context, event }) => ({
                      ...runningOf(context),
                      atOnce: event.type === "effect.done.limitExceeded" && event.value.atOnce,
                    }),
                  },
                  on: {
                    "effect.done.stopped": "#job.working.removing",
                    "effect.failed.stopped": "#job.working.removing",
                  },
                  after: {
                    end: {
                      target: "#job.working.removing",
                      actions: { type: "reportLeft", params: () => "its executor did not end" },
                    },
                  },
                },
                flushing: {
                  invoke: {
                    src: "flush",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      bridge: present(context.bridge, "the bridge"),
                    }),
                  },
                  on: {
                    "effect.done.flushed": "#job.working.removing",
                    "effect.failed.flushed": "#job.working.removing",
                    "job.cancel": "#job.working.removing",
                  },
                  after: {
                    flush: [
                      { guard: "stillSends", target: "flushing", reenter: true },
                      { target: "#job.working.removing" },
                    ],
                  },
                },
              },
            },
          },
        },
        removing: {
          initial: "deciding",
          states: {
            deciding: {
              always: [{ guard: "hasDirectory", target: "deleting" }, { target: "#job.done" }],
            },
            deleting: {
              invoke: {
                src: "remove",
                input: ({ context }) => ({
                  ports: context.job.ports,
                  path: present(context.directory, "the work directory").path,
                }),
              },
              on: {
                "effect.done.removed": "#job.done",
                "effect.failed.removed": {
                  target: "#job.done",
                  actions: { type: "reportLeft", params: ({ event }) => event.error.message },
                },
              },
              after: {
                end: {
                  target: "#job.done",
                  actions: { type: "reportLeft", params: () => "its directory was not removed in time" },
                },
              },
            },
          },
        },
      },
    },
    done: { type: "final", entry: "sendEnded" },
  },
});

function idsOf({ taskId, spec }: JobInput) {
  return { task_id: taskId, job_id: spec.job_id };
}

function endedOf({ job, outcome }: JobContext): JobEnded {
  return { type: "job.ended", ...idsOf(job), outcome: outcome ?? failedOf("it ended without saying how") };
}

const failedOf = (reason: string): JobOutcome => ({ type: "failed", reason: failureReason(reason) });

const cancelledOf = (reason: string): JobOutcome => ({ type: "cancelled", reason: failureReason(reason) });

function crashedOf({ code, signal, tail, limit, killed }: JobExit): JobOutcome {
  const how = code === null ? `executor was ended by ${signal}` : `executor exited with code ${code}`;
  const cause = limit === undefined ? killed : limited(limit);
  return { type: "failed", reason: failureReason(cause === undefined ? how : `${cause}; ${how}`, tail) };
}

/** With the code of `docs/refusals.md`. */
function limited(limit: string): string {
  return `cell-limit: ${limit}`;
}

function placed(context: JobContext) {
  const { job, limits, directory, cell } = context;
  return { ports: job.ports, job, limits, directory: present(directory, "the work directory"), cell };
}

function runningOf({ job, executor }: JobContext) {
  return { ports: job.ports, executor: present(executor, "the executor") };
}
