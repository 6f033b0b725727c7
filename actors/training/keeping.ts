/**
 * A scheduler's actions around the model of its training: the store keeps it on disk (`training/model_store.ts`).
 *
 * @module
 */
import { type Member, memberOf } from "../../pki/member.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import { isFramed, pullProtocols } from "../files/stream_file.ts";
import { indexOfRound, resultDataset, velocityDataset, weightsDataset } from "../learning/model_references.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { type Checkpoint, trainingFolder } from "./checkpoints.ts";
import { offeredStream, rejectStream } from "./offered_stream.ts";
import { newcomerMs } from "./participants.ts";
import { isWithoutData, reportDataAway } from "./provider.ts";
import { keptWeights } from "./repository_weights.ts";
import { judgeNewcomers } from "./round_wait.ts";
import { planOf, type ReceivedStream, type TrainingArgs, type TrainingContext } from "./training_setup.ts";
import { allParticipants, participantBy, trainersOf, withKept } from "./training.ts";

/** Starts the store where the job has weights. */
export function startModel({ context, self, enqueue }: TrainingArgs): void {
  const { ports, transport, run, config: { job, stateDir } } = context;
  const weights = keptWeights(job);
  if (weights === undefined) return;
  if (stateDir === undefined || run === undefined) {
    return enqueue.raise({
      type: "model.broken",
      reason: "the model is kept in state_dir, which is not set",
    });
  }
  const { learningRate, momentum } = job.outerOptimizer;
  enqueue.spawnChild("modelStore", {
    id: "model",
    input: {
      ports,
      transport,
      parent: self,
      training: { scheduler: context.self, ...run },
      weights,
      folder: trainingFolder(stateDir, run.id),
      keepRounds: job.rounds.keepRounds,
      rounds: job.rounds.updateRounds,
      outer: { learningRate, momentum },
    },
  });
}

/** What trainers' digests are compared with: those that began with the files of a repository have a header of their own. */
function digestOf({ config: { job } }: TrainingContext, { record }: Checkpoint): string | undefined {
  return "weights" in job.model ? record.parameters.sha256 : undefined;
}

/** The model is open: the training goes on after its round. */
export function takeModel(
  { context, enqueue }: TrainingArgs,
  { checkpoint }: { readonly checkpoint: Checkpoint },
): void {
  const { round, samples } = checkpoint.record;
  enqueue.assign({
    model: { checkpoint, isPaused: false, isSettling: false },
    samples,
    training: { ...context.training, roundsDone: round, digests: { [round]: digestOf(context, checkpoint) } },
  });
  if (round === 0) return;
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "training.continued",
      message: `Training ${context.run?.id} goes on after round ${round}`,
      fields: { training: context.run?.id, round, samples, file: checkpoint.parameters },
    })
  );
}

/** A round is on disk: only now it is finished. */
export function noteKept(
  { context, self, enqueue }: TrainingArgs,
  { checkpoint, resultBytes }: { readonly checkpoint: Checkpoint; readonly resultBytes: number },
): void {
  const { training, ports } = context;
  const { round, parameters: { sha256 }, samples } = checkpoint.record;
  const kept = { round, sha256: digestOf(context, checkpoint), now: monotonicNow(ports) };
  const { lost, marked } = judgeNewcomers(withKept(training, kept, planOf(context)), newcomerMs(context));
  enqueue.assign({
    model: { checkpoint, isPaused: false, isSettling: context.model?.isSettling === true },
    training: marked,
  });
  const { speakers } = context.workers();
  for (const { peer, waitedMs } of lost) {
    const reason = speakers[peer] === "foreign"
      ? "its worker names no round in its receipts, so it cannot count"
      : `it joined ${Math.round(waitedMs / 1_000)} s ago and has not confirmed the newest result since`;
    enqueue.raise({ type: "participant.lost", peer, reason });
  }
  const evaluation = self.getSnapshot().children["evaluation"];
  if (evaluation !== undefined && context.evaluation === "on") {
    enqueue.sendTo(evaluation, { type: "parameters.kept", round, path: checkpoint.parameters });
  }
  enqueue(() =>
    ports.report({
      level: "info",
      event: "round.finished",
      message: `Round ${round} finished`,
      fields: { round, trainers: trainersOf(training).length, samples, sha256, resultBytes },
    })
  );
}

/** The disk has no room for the round, or has room again. */
export function notePaused({ context, enqueue }: TrainingArgs, { isPaused }: { readonly isPaused: boolean }): void {
  if (context.model === undefined) return;
  enqueue.assign({ model: { ...context.model, isPaused } });
  // Its model store said that it goes on: the data node may be away still.
  if (!isPaused && isWithoutData(context)) enqueue(() => reportDataAway(context));
}

/** No result of a former aggregator comes any more: another one may be found. */
export function noteSettled({ context, enqueue }: TrainingArgs): void {
  if (context.model !== undefined) enqueue.assign({ model: { ...context.model, isSettling: false } });
}

/** What a member's question for the model is answered with: where it is. Undefined for another data set, and for a peer that is no member. */
export function modelFor(
  { training, model, run, self }: TrainingContext,
  { peer, member }: { readonly peer: Peer; readonly member: Member },
  dataset: string,
) {
  if (model === undefined || run === undefined) return undefined;
  const participant = participantBy(training, { peer, member });
  if (participant === undefined) return undefined;
  // A newcomer that has parameters gets each result after them: the aggregator has to know it first.
  const isEntered = training.aggregator?.knows.results.includes(peer) === true;
  const { round, velocity } = model.checkpoint.record;
  const isAggregators = dataset === velocityDataset(run.id) || dataset === resultDataset(run.id);
  const isAsked = (dataset === weightsDataset(run.id) && isEntered) ||
    (isAggregators && velocity !== null && participant === training.aggregator);
  return isAsked ? { Success: { data_provider: self, index: indexOfRound(round) } } : undefined;
}

/**
 * Offers a stream to the model: a push of the aggregator, or a pull of a member.
 *
 * @returns Whether the stream is none of another actor: where there is a model, all streams are for it.
 */
export function offerToModel(
  { context, self, enqueue }: TrainingArgs,
  stream: ReceivedStream,
): boolean {
  const { peer, identity, protocol } = stream;
  const store = self.getSnapshot().children["model"];
  if (store === undefined || context.model === undefined) return false;
  const { training } = context;
  const member = memberOf(identity);
  if (pullProtocols.some((pull) => pull === protocol)) {
    const participant = participantBy(training, { peer, member });
    if (participant === undefined) return reject();
    const puller = participant === training.aggregator ? "aggregator" : "trainer";
    enqueue.sendTo(store, { type: "pull.offered", ...offeredStream(stream), peer, puller });
    return true;
  }
  if (training.aggregator?.member !== member) return reject();
  const { peer: aggregator } = training.aggregator;
  const refusal = isFramed(protocol) ? undefined : unlabelledRefusal(context, aggregator);
  if (refusal !== undefined) {
    enqueue.raise({ type: "participant.lost", peer: aggregator, reason: refusal, isRejected: true });
    return reject();
  }
  const { roundsDone: reported } = training;
  const facts = factsOf(context);
  enqueue.sendTo(store, { type: "result.offered", ...offeredStream(stream), peer, member, reported, facts });
  return true;

  function reject(): true {
    enqueue(() => rejectStream(context, stream));
    return true;
  }
}

/** Why a member whose worker is of the existing network cannot take part; undefined where it can. */
export function foreignRefusal({ config: { job }, training }: TrainingContext, peer: Peer): string | undefined {
  if (job.aggregation.quorum < 1 && training.trainers[peer] !== undefined) {
    return "its worker does not label its updates with their round, which a quorum below 1 needs";
  }
  if (!("weights" in job.model) || job.resources.foreign === true) return undefined;
  return "its worker is of the existing network, and the job does not say foreign = true";
}

/**
 * Why the aggregator may not push a result without a label, as workers of the existing network do; undefined where it may. Such a result
 * is sent once: where it does not arrive, the model misses a round, and the training fails.
 */
function unlabelledRefusal(context: TrainingContext, peer: Peer): string | undefined {
  if (context.workers().speakers[peer] === "ours") {
    return "it pushed a result without a label, which its worker never does";
  }
  return foreignRefusal(context, peer);
}

/** What is known of the round that is being finished. */
function factsOf({ run, slices, dataset, training, samples }: TrainingContext) {
  return {
    run: run?.run ?? 0,
    slices: dataset === undefined ? null : slices,
    members: allParticipants(training).map(({ member }) => member).sort(),
    samples,
  };
}

/** Says at the end where the model is. */
export function reportModel({ context: { ports, run, model } }: { readonly context: TrainingContext }): void {
  if (model === undefined || run === undefined) return;
  const { record: { round, parameters }, parameters: file } = model.checkpoint;
  ports.report({
    level: "info",
    event: "training.model",
    message: `The model after round ${round} is ${file}; write it with: hypha-scheduler result ${run.id} -o FILE`,
    fields: { training: run.id, rounds: round, file, sha256: parameters.sha256, sizeBytes: parameters.sizeBytes },
  });
}
