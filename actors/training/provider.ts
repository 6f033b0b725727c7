/**
 * A scheduler's actions around the data set's provider. When the provider disconnects, or a data node appears that may be
 * the same one with another key, the scheduler looks up the record again. Its current publisher serves the slices from then
 * on.
 *
 * @module
 */
import { Result } from "effect";
import { isConnectedAs, standsFor } from "../../pki/member.ts";
import type { RecordAnswer, TransportFact } from "../../transport/port.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { answerAs, type MemberConnected } from "../runtime/role.ts";
import { readDatasetRecord } from "../data/dataset_record.ts";
import {
  findTimeoutMs,
  isReported,
  seekAgainMs,
  seeksAtData,
  type TrainingArgs,
  type TrainingContext,
  type TrainingEvent,
} from "./training_setup.ts";
import { firstSlice } from "./slices.ts";

/** Looks up the data set's record. */
export function find({ context, self, enqueue }: TrainingArgs): void {
  const lookup = context.lookups + 1;
  enqueue.assign({ lookups: lookup });
  enqueue.sendTo(context.transport, {
    type: "record.get",
    id: `dataset/${lookup}`,
    key: context.config.job.dataset,
    timeoutMs: findTimeoutMs,
    replyTo: answerAs(
      self,
      (answer: RecordAnswer): TrainingEvent => ({ type: "dataset.answered", lookup, answer }),
    ),
  });
}

const seekSoon = { id: "dataset.seek" } as const;

/**
 * The provider's last connection as a data node closed: looks up the record until it is back, or another peer publishes the data
 * set.
 */
export function noteProviderGone(
  { context, enqueue }: TrainingArgs,
  { peer, identity }: Extract<TransportFact, { type: "peer.closed" }>,
): void {
  if (peer !== context.dataset?.provider || !standsFor(identity.role, "data")) return;
  if (isConnectedAs(context.members, peer, "data")) return;
  enqueue.assign({
    seeks: Number.POSITIVE_INFINITY,
    dataGoneAt: context.dataGoneAt ?? monotonicNow(context.ports),
  });
  enqueue.cancel(seekSoon.id);
  enqueue.raise({ type: "dataset.seek" });
}

/**
 * How long the data set's provider is known to be away, in milliseconds. Its link is held: when it is lost it is dialled until it is back, so
 * that a provider that is not connected was tried a moment ago. Where none was connected yet, nothing is known.
 */
export function dataAwayMs({ dataGoneAt, ports }: TrainingContext): number {
  return dataGoneAt === undefined ? 0 : monotonicNow(ports) - dataGoneAt;
}

/** Whether a round stood for longer than a round may take because the data node is away. */
function isLong({ dataWait, config: { job } }: Pick<TrainingContext, "dataWait" | "config">): boolean {
  return dataWait.ms > job.aggregation.roundDeadlineS * 1_000;
}

/** Whether the round under way is such a one: the training is paused. */
export function isWithoutData(context: TrainingContext): boolean {
  return context.dataWait.round === context.training.roundsDone && isLong(context);
}

/** The provider is back, or a data node connected. */
export function noteProvider(
  args: TrainingArgs,
  { peer, identity }: Extract<TransportFact, { type: "peer.established" }>,
): void {
  const { context } = args;
  if (context.dataset === undefined) return;
  if (peer === context.dataset.provider && standsFor(identity.role, "data")) takeData(args);
  else noteDataNode(args, { identity });
}

/** A data node connected that may be the provider with another key; also where it did so with the scheduler's node under its present key. */
export function noteDataNode(
  { context, enqueue }: TrainingArgs,
  { identity }: Pick<MemberConnected, "identity">,
): void {
  if (context.dataset === undefined || identity.role !== "data") return;
  enqueue.assign({ seeks: Math.max(context.seeks, seeksAtData) });
  enqueue.cancel(seekSoon.id);
  enqueue.raise({ type: "dataset.seek" });
}

/**
 * Counts how long the round under way stands without its data node; reports once that it is paused, and that it goes on: it is finished, or
 * no trainer waits for a slice any more.
 */
export function watchData({ context, enqueue }: TrainingArgs, stoodMs: number): void {
  const { dataWait, training: { roundsDone } } = context;
  const isSame = dataWait.round === roundsDone;
  const isOver = isLong(context) && (!isSame || stoodMs === 0);
  const after = { ...context, dataWait: { round: roundsDone, ms: (isSame && !isOver ? dataWait.ms : 0) + stoodMs } };
  enqueue.assign({ dataWait: after.dataWait });
  const why = isSame ? "no trainer waits for a slice" : `round ${roundsDone} is finished`;
  if (isOver) enqueue(() => reportResumed(context, why));
  if (isLong(after) && !isWithoutData(context)) enqueue(() => reportDataAway(context));
}

/** The data set is served again. */
function takeData({ context, enqueue }: TrainingArgs): void {
  enqueue.assign({ seeks: 0, dataGoneAt: undefined, dataWait: { round: context.training.roundsDone, ms: 0 } });
  enqueue.cancel(seekSoon.id);
  if (isLong(context)) enqueue(() => reportResumed(context, `data set ${context.config.job.dataset} is served again`));
}

/** Reports that the training is paused because the data node is away. */
export function reportDataAway(context: TrainingContext): void {
  const { id, ports, dataset, config: { job } } = context;
  const seconds = Math.round(dataAwayMs(context) / 1_000);
  ports.report({
    level: "warn",
    event: "training.paused",
    message: `Training ${id} is paused: the data node of ${job.dataset} has been away for ${seconds} s`,
    fields: {
      training: id,
      dataset: job.dataset,
      peer: dataset?.provider ?? null,
      hint: "Start the data node, or another one with the same data set: the training goes on by itself.",
    },
  });
}

/** Reports nothing while the disk is full too: the model store reports when the training goes on. */
function reportResumed({ id, ports, model, config: { job } }: TrainingContext, why: string): void {
  if (model?.isPaused === true) return;
  ports.report({
    level: "info",
    event: "training.resumed",
    message: `Training ${id} goes on: ${why}`,
    fields: { training: id, dataset: job.dataset },
  });
}

/** Looks up the record, and again after a pause, while tries are left. */
export function seek(args: TrainingArgs): void {
  const { context, enqueue } = args;
  if (context.seeks <= 0) return;
  enqueue.assign({ seeks: context.seeks - 1 });
  find(args);
  enqueue.raise({ type: "dataset.seek" }, { ...seekSoon, delay: seekAgainMs });
}

/** Takes another publisher of the data set. A record of another size is another data set, whose slices would not fit. */
export function takeProvider(
  args: TrainingArgs,
  { lookup, answer }: { readonly lookup: number; readonly answer: RecordAnswer },
): void {
  const { context, enqueue } = args;
  if (lookup !== context.lookups || context.dataset === undefined) return;
  const found = readDatasetRecord(answer);
  if (Result.isFailure(found) || found.success.member === context.dataset.member) return;
  const { provider, slices } = found.success;
  if (slices !== context.dataset.slices) return;
  // The same key with another certificate: the workers' slices come from where they came from.
  if (provider === context.dataset.provider) return enqueue.assign({ dataset: found.success });
  enqueue.assign({ dataset: found.success });
  // Its record is no sign that it is there: it is dialled, and until then it is the one that is away.
  if (context.dataGoneAt === undefined || isConnectedAs(context.members, provider, "data")) takeData(args);
  else if (isWithoutData(context)) enqueue(() => reportDataAway({ ...context, dataset: found.success }));
  enqueue.sendTo(context.transport, { type: "release", peers: [context.dataset.provider] });
  enqueue.sendTo(context.transport, { type: "hold", peers: [provider] });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "dataset.moved",
      message: `Data set ${context.config.job.dataset} is served by ${provider} now`,
      fields: { dataset: context.config.job.dataset, slices, peer: provider, formerPeer: context.dataset?.provider },
    })
  );
}

/** Takes the data set's record, or reports why there is none. */
export function noteLookup({ context, enqueue }: TrainingArgs, { answer }: { readonly answer: RecordAnswer }): void {
  const name = context.config.job.dataset;
  const found = readDatasetRecord(answer);
  if (Result.isFailure(found)) {
    if (isReported(context.lookups)) enqueue(() => reportMissing(context, found.failure));
    return;
  }
  const { provider, slices } = found.success;
  const given = context.model?.checkpoint.record.slices;
  // A training that goes on continues with the slice after those that were given out.
  enqueue.assign({ dataset: found.success, slices: given?.count === slices ? given : firstSlice(slices) });
  // The workers fetch the slices themselves: without this the link to the provider would look unused, and its end as an absence.
  enqueue.sendTo(context.transport, { type: "hold", peers: [provider] });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "dataset.found",
      message: `Data set ${name} has ${slices} slices`,
      fields: { dataset: name, slices, peer: provider },
    })
  );
}

/** Reports that no node announces the data set, with a hint. */
function reportMissing({ ports, config, lookups }: TrainingContext, why: string): void {
  const { dataset } = config.job;
  ports.report({
    level: "warn",
    event: "dataset.missing",
    message: `Cannot find data set ${dataset} yet: ${why}`,
    fields: {
      dataset,
      lookups,
      hint:
        `Check that a data node runs whose dataset_path ends in ${dataset}: its log has dataset.announced, or dataset.unannounced with the reason. Check that it is connected with a gateway of this network, and this scheduler too. Correct scheduler.job.dataset if the name is wrong.`,
    },
  });
}
