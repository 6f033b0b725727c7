/**
 * A scheduler's answers to its operator.
 *
 * @module
 */
import type { AdminAnswer } from "../admin/serve_admin.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import { keptWeights } from "../training/repository_weights.ts";
import { allParticipants, type Participant } from "../training/training.ts";
import { trainingIdOf } from "../training/run_number.ts";
import { emptyWatch } from "../training/watch.ts";
import { executorEndMs } from "../training/workers.ts";
import type { AdminAsk, AdminAsked } from "./admin_routes.ts";
import type { Kept } from "./journal.ts";
import { journalOf, type SchedulerArgs, trainingOf } from "./scheduler_setup.ts";
import { nameOfMember, showStatus, showTraining, stateNow } from "./status.ts";
import { endRun } from "./telling.ts";
import { type KnownTraining, trainingsMax } from "./training_record.ts";
import { beginTraining, portsOf, setStanding } from "./trainings.ts";

type Ask<Type extends AdminAsk["type"]> = Extract<AdminAsk, { type: Type }>;
type Reply = AdminAsked["reply"];

/** Answers the operator; what changes a training that is known, when the change is on disk. */
export function answerOperator(args: SchedulerArgs, { ask, reply }: AdminAsked): void {
  const answer = answerTo(args, ask, reply);
  if (answer !== "later") args.enqueue(() => reply(answer));
}

/** Answers the operator of a scheduler that ends, or gives way to one with another key: nothing new begins. */
export function answerLeaving(args: SchedulerArgs, asked: AdminAsked): void {
  const { ask, reply } = asked;
  if (ask.type === "list" || ask.type === "status" || ask.type === "cancel") return answerOperator(args, asked);
  const error = "the scheduler is ending, or is getting another key: try again when it is back";
  args.enqueue(() => reply(refusal(503, "leaving", error)));
}

/** All trainings; of a scheduler that runs the job of its configuration, that one. */
function knownTrainings({ context, self }: SchedulerArgs): Readonly<Record<string, KnownTraining>> {
  const { config: { job }, ports, trainings } = context;
  if (job === undefined) return trainings;
  const startedAt = ports.now() - (monotonicNow(ports) - context.startedAt);
  const id = trainingIdOf(job);
  const standing = journalOf(self, id)?.getSnapshot().context.standing;
  const known = { id, name: id, submittedAt: startedAt, job, watch: emptyWatch };
  return {
    [id]: { ...known, ...(standing ?? { state: "running", reason: null, since: startedAt, queuedAt: startedAt }) },
  };
}

function answerTo(args: SchedulerArgs, ask: AdminAsk, reply: Reply): AdminAnswer | "later" {
  const trainings = knownTrainings(args);
  if (args.context.config.job !== undefined && ask.type !== "list" && ask.type !== "status") {
    return refusal(
      409,
      "configured-job",
      "this scheduler runs the job of its configuration, and no other: run one without [scheduler.job]",
    );
  }
  switch (ask.type) {
    case "list": {
      const shown = Object.values(trainings).sort((one, other) => one.submittedAt - other.submittedAt)
        .map((known) => showTraining(args, known));
      return { status: 200, body: { trainings: shown } };
    }
    case "room":
      return Object.keys(trainings).length + ask.receiving < trainingsMax
        ? { status: 200, body: {} }
        : refusal(507, "too-many-trainings", `there are ${trainingsMax} trainings: move old ones out of state_dir`);
    case "submit":
      return submit(args, ask);
    case "status":
    case "cancel":
    case "resume": {
      const known = Object.hasOwn(trainings, ask.id) ? trainings[ask.id] : undefined;
      if (known === undefined) {
        return refusal(404, "unknown-training", `there is no training ${ask.id}`, "hypha-scheduler ls");
      }
      if (ask.type === "status") return { status: 200, body: showStatus(args, known) };
      return ask.type === "cancel" ? cancel(args, known, reply) : resume(args, known, reply);
    }
  }
}

function refusal(status: number, code: string, error: string, command?: string): AdminAnswer {
  return { status, body: { code, error, ...(command === undefined ? {} : { hint: `See: ${command}` }) } };
}

/** Answers with `answer` when it is on disk what became of a training. Otherwise `now` says what is so, `restarted` what a restart would do. */
function keptReply(
  { context: { config } }: SchedulerArgs,
  id: string,
  { reply, answer, now, restarted }: {
    readonly reply: Reply;
    readonly answer: unknown;
    readonly now: string;
    readonly restarted: string;
  },
): Kept {
  const folder = trainingFolder(config.stateDir ?? "", id);
  const error = `training ${id} ${now} now, but this is not kept: ${folder} cannot be written; a restart ${restarted}`;
  const hint = "Make room there: the scheduler tries again every 5 s";
  return (isKept) =>
    reply(isKept ? { status: 200, body: answer } : { status: 507, body: { code: "not-kept", error, hint } });
}

function submit(args: SchedulerArgs, { training }: Ask<"submit">): AdminAnswer {
  beginTraining(args, training);
  const { id, name } = training;
  args.enqueue(() =>
    args.context.ports.report({
      level: "info",
      event: "training.submitted",
      message: `Training ${id} (${name}) was submitted`,
      fields: { training: id, name },
    })
  );
  return { status: 200, body: { id } };
}

/** Ends a training: its executors and leases by message; those of workers that know no such message end with their leases. */
function cancel(args: SchedulerArgs, known: KnownTraining, reply: Reply): AdminAnswer | "later" {
  const { context, self, enqueue } = args;
  const running = trainingOf(self, known.id);
  if (running === undefined) {
    const { state, id } = known;
    return refusal(
      409,
      "wrong-state",
      `training ${id} is ${state}: nothing of it runs`,
      `hypha-scheduler status ${id}`,
    );
  }
  const { training, run } = running.snapshot.context;
  const members = allParticipants(training).map((participant) => ({
    name: nameOfMember(participant.member, context.domain),
    endsBy: context.workers.speakers[participant.peer] === "foreign"
      ? new Date(context.ports.now() + leaseLeftOf(running, participant, monotonicNow(context.ports))).toISOString()
      : null,
  }));
  if (run !== undefined) {
    for (const { peer } of allParticipants(training)) endRun(args, peer, run, "the training was cancelled");
  }
  const answer = { id: known.id, was: stateNow(known, running), members };
  const unkept = { now: "is cancelled", restarted: "would go on with it" };
  setStanding(args, known.id, { state: "cancelled" }, keptReply(args, known.id, { reply, answer, ...unkept }));
  enqueue.sendTo(running.ref, { type: "role.drain", reason: "cancelled" });
  enqueue(() =>
    portsOf(args, known.id).report({
      level: "info",
      event: "training.cancelled",
      message: `Training ${known.id} was cancelled after round ${training.roundsDone}`,
      fields: { round: training.roundsDone, members },
    })
  );
  return "later";
}

/** Until a lease and its job are over, in milliseconds. */
function leaseLeftOf(
  running: NonNullable<ReturnType<typeof trainingOf>>,
  { leaseId }: Participant,
  now: number,
): number {
  const lease = running.snapshot.children[`lease/${leaseId}`]?.getSnapshot() as
    | { readonly context?: { readonly endsAt?: number } }
    | undefined;
  return (lease?.context?.endsAt ?? now) - now + executorEndMs;
}

/** A training that failed or was cancelled goes on after its newest round; at round 0 where its model is not kept. */
function resume(args: SchedulerArgs, known: KnownTraining, reply: Reply): AdminAnswer | "later" {
  const { context, self } = args;
  const { id, state } = known;
  if (state !== "failed" && state !== "cancelled") {
    const command = `hypha-scheduler ${state === "done" ? `result ${id} -o FILE` : `status ${id}`}`;
    return refusal(
      409,
      "wrong-state",
      `training ${id} is ${state}: only one that failed or was cancelled can go on`,
      command,
    );
  }
  if (trainingOf(self, id) !== undefined) {
    return refusal(409, "wrong-state", `training ${id} is ending: try again`, `hypha-scheduler status ${id}`);
  }
  const now = context.ports.now();
  const watch = journalOf(self, id)?.getSnapshot().context.watch ?? known.watch;
  const keepsModel = keptWeights(known.job) !== undefined;
  const answer = { id, round: keepsModel ? watch.round : 0, keepsModel };
  const kept = keptReply(args, id, { reply, answer, now: "goes on", restarted: `would leave it ${state}` });
  beginTraining(args, { ...known, watch, state: "queued", reason: null, since: now, queuedAt: now }, kept);
  return "later";
}
