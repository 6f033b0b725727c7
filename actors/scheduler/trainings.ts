/**
 * A scheduler's actions that start trainings, end them, and remember what became of them.
 *
 * @module
 */
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import type { RoleEvent } from "../runtime/role.ts";
import type { DilocoJobConfig } from "../config/config.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import { keptWeights } from "../training/repository_weights.ts";
import { trainingIdOf } from "../training/run_number.ts";
import { allParticipants } from "../training/training.ts";
import { emptyWatch } from "../training/watch.ts";
import { foreignWaitMs } from "../training/workers.ts";
import type { LoadedTrainings } from "./load_trainings.ts";
import type { Kept } from "./journal.ts";
import { patience } from "./queue.ts";
import {
  endedTraining,
  journalActorId,
  journalOf,
  runningTrainings,
  type SchedulerArgs,
  statusBridgeOf,
  trainingActorId,
  type TrainingCrashed,
  type TrainingEnded,
  type TrainingRef,
} from "./scheduler_setup.ts";
import { nameOfPeer } from "./status.ts";
import { metricsIn } from "./status_bridge.ts";
import type { KnownTraining, TrainingStanding } from "./training_record.ts";

/** Ports whose log lines name the training, and go into its journal too; metrics go to the status bridge. */
export function portsOf({ context: { ports }, self }: SchedulerArgs, id: string): Ports {
  return {
    ...ports,
    report: ({ fields, ...rest }) => {
      const report = { ...rest, fields: { training: id, ...fields } };
      ports.report(report);
      const name = nameOfPeer({ self }, { id, peer: fields?.["peer"] });
      journalOf(self, id)?.send({ type: "journal.line", report, name, at: ports.now() });
      const metrics = metricsIn(report);
      if (metrics.length > 0) statusBridgeOf(self)?.send({ type: "metrics.reported", metrics });
    },
  };
}

/** Starts the actor of a training. */
function startActor(
  args: SchedulerArgs,
  { id, job }: { readonly id: string; readonly job: DilocoJobConfig },
  turns: "takes turns" | "is alone",
): void {
  const { context, self, enqueue } = args;
  const { config: { stateDir }, transport, self: peer, sign, members, evaluator, domain } = context;
  enqueue.spawnChild("training", {
    id: trainingActorId(id),
    input: {
      id,
      config: { job, stateDir },
      ports: portsOf(args, id),
      ...{ transport, self: peer, sign, members, evaluator, domain },
      parent: self,
      workers: () => self.getSnapshot().context.workers,
      patience: turns === "is alone" ? undefined : patience,
    },
  });
}

function startJournal({ context, enqueue }: SchedulerArgs, known: KnownTraining, isKept: boolean): void {
  const { id, watch } = known;
  const folder = trainingFolder(context.config.stateDir ?? "", id);
  const input = { ports: context.ports, id, folder, standing: standingOf(known), watch, isKept };
  enqueue.spawnChild("journal", { id: journalActorId(id), input });
}

const standingOf = ({ state, reason, since, queuedAt }: TrainingStanding): TrainingStanding => ({
  state,
  reason,
  since,
  queuedAt,
});

/** Starts the training of `[scheduler.job]`. What happens in it is remembered, and not written. */
export function startConfigured(args: SchedulerArgs): void {
  const { context: { config: { job }, ports }, enqueue } = args;
  if (job === undefined) return;
  const id = trainingIdOf(job);
  const now = ports.now();
  enqueue.assign({ running: [id] });
  const standing = { state: "running", reason: null, since: now, queuedAt: now } as const;
  enqueue.spawnChild("journal", {
    id: journalActorId(id),
    input: { ports, id, folder: undefined, standing, watch: emptyWatch, isKept: true },
  });
  startActor(args, { id, job }, "is alone");
}

/** Takes up the trainings of the state directory: those that were running when the last process ended go on. */
export function takeLoaded(args: SchedulerArgs, { trainings, broken }: LoadedTrainings): void {
  const { context, enqueue } = args;
  const known = Object.fromEntries(trainings.map((training) => [training.id, training]));
  const open = trainings.filter(({ state }) => state === "queued" || state === "running");
  // What they left at workers is not taken for new work, also before the first of them has its run.
  const left = open.flatMap(({ id, watch: { run } }) => run === null ? [] : [[id, run + 1] as const]);
  const restarted = { ...context.restarted, ...Object.fromEntries(left) };
  enqueue.assign({ trainings: known, running: open.map(({ id }) => id), restarted });
  for (const training of trainings) startJournal(args, training, true);
  for (const training of open) startActor(args, training, "takes turns");
  enqueue(() => {
    context.ports.report({
      level: "info",
      event: "trainings.loaded",
      message: `Knows ${trainings.length} trainings, ${open.length} of which go on; waits for more`,
      fields: { trainings: trainings.length, open: open.map(({ id }) => id) },
    });
    for (const { folder, detail } of broken) {
      context.ports.report({
        level: "error",
        event: "training.unreadable",
        message: `Cannot read training in ${folder}: ${detail}`,
        fields: { folder, hint: `The others go on. Move ${folder} away, or put its files back and start again.` },
      });
    }
  });
}

/** Adds a training that was submitted, or one that goes on after its end; `kept` is called for the latter. */
export function beginTraining(args: SchedulerArgs, training: KnownTraining, kept?: Kept): void {
  const { context, self, enqueue } = args;
  const { id } = training;
  const journal = journalOf(self, id);
  enqueue.assign({
    trainings: { ...context.trainings, [id]: training },
    running: [...context.running.filter((other) => other !== id), id],
  });
  if (journal === undefined) startJournal(args, training, false);
  else enqueue.sendTo(journal, { type: "journal.standing", standing: standingOf(training), kept });
  startActor(args, training, "takes turns");
}

/** Remembers what became of a training. */
export function setStanding(
  { context, self, enqueue }: SchedulerArgs,
  id: string,
  change: Partial<TrainingStanding> & Pick<TrainingStanding, "state">,
  kept?: Kept,
): void {
  const known = context.trainings[id];
  if (known === undefined) return;
  const changed = { ...known, reason: null, since: context.ports.now(), ...change };
  enqueue.assign({ trainings: { ...context.trainings, [id]: changed } });
  const journal = journalOf(self, id);
  if (journal !== undefined) enqueue.sendTo(journal, { type: "journal.standing", standing: standingOf(changed), kept });
}

/** The scheduler ends: a journal that waits before it tries its disk again tries at once. */
export function settleJournals({ context, self, enqueue }: SchedulerArgs): void {
  for (const id of Object.keys(context.trainings)) {
    const journal = journalOf(self, id);
    const snapshot = journal?.getSnapshot();
    if (journal === undefined || snapshot?.matches("pausing") !== true) continue;
    enqueue.sendTo(journal, { type: "journal.standing", standing: snapshot.context.standing });
  }
}

/** A training has its workers. */
export function noteRunning(args: SchedulerArgs, { id }: { readonly id: string }): void {
  if (args.context.trainings[id]?.state === "queued") setStanding(args, id, { state: "running" });
}

/** A training ended. With `[scheduler.job]` the role ends as it did; one that drained goes on with the next start. */
export function noteEnded(args: SchedulerArgs, { type, output }: TrainingEnded): void {
  const { context, enqueue } = args;
  const id = endedTraining(context, type);
  if (id === undefined || output === undefined) return;
  enqueue.assign({ running: context.running.filter((each) => each !== id) });
  enqueue.stopChild(trainingActorId(id));
  if (context.config.job !== undefined) return enqueue.assign({ outcome: output });
  if (output.type === "finished") setStanding(args, id, { state: "done" });
  if (output.type === "failed") setStanding(args, id, { state: "failed", reason: output.reason });
  if (output.type !== "failed") return;
  const { reason } = output;
  const job = context.trainings[id]?.job;
  const keepsModel = job !== undefined && keptWeights(job) !== undefined;
  const resumed = keepsModel ? "Go on after its newest round" : "Begin again at round 0";
  enqueue(() =>
    portsOf(args, id).report({
      level: "error",
      event: "training.failed",
      message: `Training ${id} failed: ${reason}`,
      fields: { reason, hint: `${resumed} with: hypha-scheduler resume ${id}` },
    })
  );
}

/** A training's actor died of an error: its leases are released, and the others go on. */
export function noteCrashed(args: SchedulerArgs, { type, error }: TrainingCrashed): void {
  const { context, self, enqueue } = args;
  const id = endedTraining(context, type);
  if (id === undefined) return;
  const dead = self.getSnapshot().children[trainingActorId(id)] as TrainingRef | undefined;
  const { children = {}, context: last } = dead?.getSnapshot() ?? {};
  // xstate stops the children of an actor that ends, and leaves those of one that dies: leases would be renewed for ever.
  for (const child of Object.values(children)) enqueue(() => child?.send({ type: "xstate.stop" }));
  const until = monotonicNow(context.ports) + foreignWaitMs;
  const members = last === undefined ? [] : allParticipants(last.training);
  for (const { peer, leaseId } of members) enqueue.raise({ type: "worker.left", peer, leaseId, until });
  const reason = `an unexpected error: ${error instanceof Error ? error.message : String(error)}`;
  noteEnded(args, { type: `xstate.done.actor.${trainingActorId(id)}`, output: { type: "failed", reason } });
}

/** The trainings end, or finish what they have begun. */
export function passToTrainings(
  { self, enqueue }: SchedulerArgs,
  command: Extract<RoleEvent, { type: "role.drain" | "role.retire" }>,
): void {
  for (const { ref } of runningTrainings(self)) enqueue.sendTo(ref, command);
}
