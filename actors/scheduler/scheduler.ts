/**
 * A scheduler's machine: finds the data set, allocates workers, dispatches the jobs, answers their progress round by round
 * until the last, and goes on with those that are left when one is lost.
 *
 * ```
 *  preparing ──▶ finding ──▶ allocating ──▶ dispatching ──▶ training ──▶ concluding ──▶ finished
 *      │            ▲ │      (trainers ─▶    (aggregator ─▶      │
 *      │            └─┘       aggregator)     trainers)          ├── no trainer left, no aggregator ──▶ failed
 *      └── held-out rows unreadable ──▶ failed                   └── a trainer lost: the aggregator is told
 *
 *  role.drain, in every state ──▶ drained; role.retire, while it has no member ──▶ drained, else it goes on to its end
 * ```
 *
 * While one part cannot be filled, those that are leased for the other are let go, those that were lost are asked again, and the
 * parts are filled the other way round (`allocating.regrouping`): the only worker that can aggregate may train.
 *
 * A member is lost when its connection was closed because of its certificate, or for longer than `absenceMs`, when its
 * worker ends the lease or says that the job failed, or when a trainer stays silent. Progress, data and offers are answered in
 * every state; what nobody here wants is declined. Facts about peers that are no members are ignored.
 *
 * @module
 */
import { assign } from "xstate";
import { Result } from "effect";
import { answerApi, answerProgressed, routePush } from "./answering.ts";
import { readDatasetRecord } from "../data/dataset_record.ts";
import { dispatchAggregator, dispatchTrainers, noteDispatch, takeLease } from "./dispatching.ts";
import { loseMember, loseSilent, loseUndispatched, noteAbsence, noteReturn, regroup } from "./members.ts";
import { find, noteProvider, noteProviderGone, seek, takeProvider } from "./provider.ts";
import {
  dispatchDeadlineMs,
  findAgainMs,
  findDeadlineMs,
  isReported,
  lingerMs,
  type SchedulerContext,
  schedulerSetup,
  silenceCheckMs,
  tailMs,
  takenPeers,
} from "./scheduler_setup.ts";
import { firstSlice } from "./slices.ts";
import { emptyTraining, trainersOf } from "./training.ts";

/** The data set was found, or why not. */
const noteLookup = schedulerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "dataset.answered") return;
  const name = context.config.job.dataset;
  const found = readDatasetRecord(event.answer);
  if (Result.isFailure(found)) {
    if (isReported(context.lookups)) enqueue(() => reportMissing(context, found.failure));
    return;
  }
  const { provider, slices } = found.success;
  enqueue.assign({ dataset: found.success, slices: firstSlice(slices) });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "dataset.found",
      message: `Data set ${name} has ${slices} slices`,
      fields: { dataset: name, slices, peer: provider },
    })
  );
});

/** What to check while no node announces the data set. */
function reportMissing({ ports, config, lookups }: SchedulerContext, why: string): void {
  const { dataset } = config.job;
  ports.report({
    level: "warn",
    event: "dataset.missing",
    message: `Cannot find data set ${dataset} yet: ${why}`,
    fields: {
      dataset,
      lookups,
      hint:
        `Look whether a data node runs whose dataset_path ends in ${dataset}: its log says dataset.announced, or dataset.unannounced with the reason, and it has to be connected with a gateway of this network, as this scheduler has. Correct scheduler.job.dataset where the name is another.`,
    },
  });
}

/** The training is over: what came of it. */
function reportDone({ ports, training, accuracy }: SchedulerContext): void {
  const rounds = training.roundsDone;
  const measured = accuracy === undefined ? "" : `, accuracy ${(accuracy * 100).toFixed(1)} %`;
  ports.report({
    level: "info",
    event: "training.done",
    message: `Training done after ${rounds} rounds${measured}`,
    fields: { rounds, accuracy: accuracy ?? null, trainers: trainersOf(training).length },
  });
}

/** The role machine of a scheduler. */
export const schedulerMachine = schedulerSetup.createMachine({
  id: "scheduler",
  context: ({ input }) => ({
    ...input,
    dataset: undefined,
    slices: firstSlice(1),
    training: emptyTraining,
    first: "trainers",
    excluded: [],
    evaluation: "none",
    roundsEvaluated: 0,
    accuracy: undefined,
    lookups: 0,
    seeks: 0,
    dispatches: 0,
    outcome: { type: "finished" },
  }),
  initial: "preparing",
  entry: [
    schedulerSetup.sendTo(({ context }) => context.transport, { type: "serve", protocol: "/hypha-api/0.0.1" }),
    schedulerSetup.sendTo(({ context }) => context.transport, { type: "serve", protocol: "/hypha-progress/0.0.1" }),
  ],
  on: {
    "role.drain": { target: ".drained" },
    "role.retire": { guard: "hasNoMembers", target: ".drained" },
    "request.received": [
      { guard: { type: "isOf", params: ({ event }) => ({ event, protocol: "/hypha-api/0.0.1" }) }, actions: answerApi },
      {
        guard: { type: "isOf", params: ({ event }) => ({ event, protocol: "/hypha-progress/0.0.1" }) },
        actions: answerProgressed,
      },
      {
        actions: schedulerSetup.sendTo(
          ({ context }) => context.transport,
          ({ event }) => ({ type: "decline", exchange: event.type === "request.received" ? event.exchange : "" }),
        ),
      },
    ],
    "stream.received": { actions: routePush },
    "peer.closed": { actions: [noteAbsence, noteProviderGone] },
    "peer.established": { actions: [noteReturn, noteProvider] },
    "dataset.seek": { actions: seek },
    "dataset.answered": { actions: takeProvider },
    "absence.over": {
      guard: { type: "isMember", params: ({ event }) => ({ peer: event.peer }) },
      actions: schedulerSetup.raise(({ event }) => ({
        type: "member.lost",
        peer: event.type === "absence.over" ? event.peer : "",
        reason: "its connection was gone for too long",
      })),
    },
    "held.lost": {
      guard: { type: "isMember", params: ({ event }) => ({ peer: event.giver }) },
      actions: schedulerSetup.raise(({ event }) => ({
        type: "member.lost",
        peer: event.type === "held.lost" ? event.giver : "",
        reason: event.type === "held.lost" ? `its lease is over: ${event.reason}` : "",
      })),
    },
    "member.lost": { actions: loseMember },
    "allocation.granted": { actions: takeLease },
    "dispatch.answered": { actions: noteDispatch },
    "round.evaluated": {
      actions: assign({
        roundsEvaluated: ({ event }) => event.round,
        accuracy: ({ event }) => event.accuracy,
      }),
    },
    "evaluation.broken": { actions: assign({ evaluation: "broken" }) },
  },
  states: {
    preparing: {
      always: { guard: "doesNotEvaluate", target: "finding" },
      entry: schedulerSetup.enqueueActions(({ context, enqueue }) => {
        if (context.config.job.evaluation === undefined) return;
        enqueue.spawnChild("evaluation", {
          id: "evaluation",
          input: {
            ports: context.ports,
            transport: context.transport,
            heldOut: context.config.job.evaluation.heldOut,
            model: context.config.job.model,
            evaluator: context.evaluator,
          },
        });
      }),
      on: {
        "evaluation.ready": { target: "finding", actions: assign({ evaluation: "on" }) },
        "evaluation.broken": {
          target: "failed",
          actions: assign({ outcome: ({ event }) => ({ type: "failed", reason: event.reason }) }),
        },
      },
    },
    finding: {
      initial: "asking",
      states: {
        asking: {
          entry: find,
          on: {
            "dataset.answered": [
              { guard: { type: "isStaleLookup", params: ({ event }) => event } },
              {
                guard: { type: "isFound", params: ({ event }) => event },
                target: "#scheduler.allocating",
                actions: noteLookup,
              },
              { target: "waiting", actions: noteLookup },
            ],
          },
          after: { [findDeadlineMs]: "waiting" },
        },
        waiting: { after: { [findAgainMs]: "asking" } },
      },
    },
    allocating: {
      initial: "judging",
      states: {
        trainers: {
          after: {
            regroup: [{ guard: "canRegroup", target: "regrouping" }, { target: "trainers", reenter: true }],
          },
          invoke: {
            id: "allocation",
            src: "allocation",
            input: ({ context }) => ({
              descriptor: { class: "train" as const, name: context.config.job.executors.train },
              count: Math.max(
                0,
                context.config.job.resources.numWorkers - trainersOf(context.training).length,
              ),
              resources: context.config.job.resources.worker,
              price: context.config.job.resources.workerPrice,
              excluded: takenPeers(context),
              transport: context.transport,
              ports: context.ports,
            }),
          },
          on: { "allocation.served": "judging" },
        },
        aggregator: {
          after: {
            regroup: [{ guard: "canRegroup", target: "regrouping" }, { target: "aggregator", reenter: true }],
          },
          invoke: {
            id: "allocation",
            src: "allocation",
            input: ({ context }) => ({
              descriptor: { class: "aggregate" as const, name: context.config.job.executors.aggregate },
              count: 1,
              resources: context.config.job.resources.parameterServer,
              price: context.config.job.resources.parameterServerPrice,
              excluded: takenPeers(context),
              transport: context.transport,
              ports: context.ports,
            }),
          },
          on: { "allocation.served": "judging" },
        },
        regrouping: { entry: regroup, always: "judging" },
        // A member may have been lost while another was looked for.
        judging: {
          always: [
            { guard: "wantsAggregatorFirst", target: "aggregator" },
            { guard: "lacksTrainers", target: "trainers" },
            { guard: "hasNoAggregator", target: "aggregator" },
            { target: "#scheduler.dispatching" },
          ],
        },
      },
    },
    dispatching: {
      initial: "aggregator",
      states: {
        // First, so that it receives before any trainer can send.
        aggregator: {
          entry: dispatchAggregator,
          always: [
            { guard: "hasNoAggregator", target: "#scheduler.allocating.judging" },
            { guard: "isAggregatorRunning", target: "trainers" },
          ],
          after: { [dispatchDeadlineMs]: { actions: loseUndispatched } },
        },
        trainers: {
          entry: dispatchTrainers,
          always: { guard: "isEveryTrainerDispatched", target: "#scheduler.training" },
          after: { [dispatchDeadlineMs]: { actions: loseUndispatched } },
        },
      },
    },
    training: {
      always: [
        { guard: "isConcluded", target: "concluding" },
        {
          guard: "hasNoTrainers",
          target: "failed",
          actions: assign({ outcome: { type: "failed", reason: "no trainer is left" } }),
        },
        {
          guard: "hasNoAggregator",
          target: "failed",
          actions: assign({ outcome: { type: "failed", reason: "the aggregator is lost" } }),
        },
        { guard: "isAggregatorBehind", actions: dispatchAggregator },
      ],
      on: { redispatch: { actions: dispatchAggregator } },
      initial: "rounds",
      states: {
        rounds: {
          always: { guard: "isAggregated", target: "tail" },
          initial: "listening",
          states: {
            listening: { after: { [silenceCheckMs]: { target: "listening", reenter: true, actions: loseSilent } } },
          },
        },
        // The last update is out; receipts of trainers and the last evaluation are still to come.
        tail: { after: { [tailMs]: "#scheduler.concluding" } },
      },
    },
    concluding: {
      entry: ({ context }) => reportDone(context),
      always: { guard: "isAllEnded", target: "finished" },
      after: { [lingerMs]: "finished" },
    },
    finished: { type: "final" },
    drained: { type: "final", entry: assign({ outcome: { type: "drained" } }) },
    failed: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});
