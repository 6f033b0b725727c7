/**
 * Actions of the parameter server.
 *
 * @module
 */
import { Effect } from "effect";
import { type PeerText, type StreamHandle, TransportError } from "../../../transport/port.ts";
import { verdictDetailMaxBytes } from "../../../transport/protocols/mod.ts";
import type { MemberReport } from "../../../transport/protocols/messages.ts";
import { type Aggregated, UpdateRejected } from "../../learning/mod.ts";
import { type Distributed, lateOf, type Saved } from "./effects.ts";
import { aggregationDefault } from "../../config/defaults.ts";
import type { JobUpdated } from "../messages.ts";
import {
  allowedNow,
  collectedRound,
  culpritOf,
  type ParameterServerContext,
  quorumOf,
  type ServerArgs,
} from "./setup.ts";

/** The sender of a broken push is waited for this long, in milliseconds. It usually starts another within seconds. */
export const brokenPatienceMs = 60_000;

/** Accepts pushes of the peers that are waited for, and no others. */
export function allow({ context }: { readonly context: ParameterServerContext }): void {
  context.receiver?.allow(allowedNow(context), collectedRound(context));
}

/** Saves a push, or resets it when its sender was dropped after the push was accepted. */
export function save({ context, enqueue }: ServerArgs, { stream }: { readonly stream: StreamHandle }): void {
  const { peer } = stream;
  if (!allowedNow(context).includes(peer)) {
    enqueue(() => context.job.ports.run(stream.abort("not expected"), () => {}));
    return;
  }
  const pushes = context.pushes + 1;
  const file = `updates/${pushes}-${peer}.safetensors`;
  enqueue.assign({ pushes, saving: [...context.saving, peer] });
  enqueue.spawnChild("saved", {
    id: `saving/${peer}`,
    input: { ports: context.job.ports, job: context.job, stream, file, waiting: missingOf(context).length },
  });
}

/** The trainers whose updates are not here. */
function missingOf({ expected, received }: ParameterServerContext): readonly PeerText[] {
  return expected.filter((peer) => received[peer] === undefined);
}

/** Counts a whole update for the round; gives the sender of a broken one time to try again. */
export function noteSaved({ context, enqueue }: ServerArgs, saved: Saved): void {
  const { peer } = saved;
  const { ports, spec } = context.job;
  const { round } = context;
  enqueue.stopChild(`saving/${peer}`);
  enqueue.cancel(`overdue/${peer}`);
  enqueue.assign({ saving: context.saving.filter((other) => other !== peer) });
  if (saved.type === "broken") {
    enqueue.raise({ type: "update.overdue", peer }, { delay: brokenPatienceMs, id: `overdue/${peer}` });
    enqueue(() =>
      ports.report({
        level: "warn",
        event: "update.broken",
        message: `Cannot take update of ${peer}: ${saved.reason}`,
        fields: { job: spec.job_id, round, peer },
      })
    );
    return;
  }
  enqueue.assign({ received: { ...context.received, [peer]: saved.file } });
  // Its next update shows that it has the result.
  enqueue(() => context.copies.end(peer));
  enqueue(() =>
    ports.report({
      level: "debug",
      event: "update.received",
      message: `Received update of ${peer} for round ${round}`,
      fields: { job: spec.job_id, round, peer, sizeBytes: saved.sizeBytes },
    })
  );
}

/** Replaces the trainers that are waited for by those that the updated job names. */
export function replaceExpected({ context, enqueue }: ServerArgs, { spec, absent }: Omit<JobUpdated, "type">): void {
  if (spec.executor.class !== "aggregate") return;
  const { updates, results } = spec.executor.config;
  // A newcomer is named for results first: its worker may have been in the training before, with another job.
  const isNew = (peer: PeerText) =>
    results.peers.includes(peer) && !updates.peers.includes(peer) && !context.expected.includes(peer);
  const before = context.rejected.filter((peer) => !isNew(peer));
  const expected = updates.peers.filter((peer) => !before.includes(peer));
  const isOut = (peer: PeerText) => !expected.includes(peer);
  for (const peer of context.saving.filter(isOut)) enqueue.stopChild(`saving/${peer}`);
  // What the worker decided, the scheduler does not know.
  const isAbsent = absent !== undefined && context.expected.includes(absent);
  const verdict = isAbsent
    ? outReport(absent, "missing", "absent", "its aggregator has no connection with it")
    : undefined;
  const verdicts = context.verdicts.filter(({ peer }) => !isNew(peer));
  enqueue.assign({
    expected,
    results: results.peers.filter((peer) => !before.includes(peer)),
    // A peer that is dropped and named again missed a result, or believes that a lost update is here.
    rejected: [...before, ...context.expected.filter(isOut)],
    verdicts: verdict === undefined ? verdicts : [...verdicts, verdict],
    saving: context.saving.filter((peer) => !isOut(peer)),
    received: Object.fromEntries(Object.entries(context.received).filter(([peer]) => !isOut(peer))),
  });
  discard(
    { context, enqueue },
    Object.entries(context.received).filter(([peer]) => isOut(peer)).map(([, file]) => file),
  );
  for (const peer of results.peers.filter(isNew)) enqueue(() => context.receiver?.forget(peer));
  const unsent = context.results.filter((peer) => !results.peers.includes(peer));
  for (const peer of unsent) enqueue(() => context.copies.end(peer));
  enqueue(() => context.receiver?.keep([...new Set([...updates.peers, ...results.peers])]));
  if (expected.length === 0) {
    const now = { ...context, verdicts };
    tellAlone({ context: now, enqueue }, verdict === undefined ? outOf(now, updates.peers) : [verdict]);
  }
  enqueue(allow);
}

/** Those that the scheduler names and that are out, without a verdict that says so. */
function outOf({ verdicts }: ParameterServerContext, named: readonly PeerText[]): readonly MemberReport[] {
  return named.filter((peer) => !verdicts.some((each) => each.peer === peer))
    .map((peer) => outReport(peer, "missing", "unsent", "it was out when it was named, and missed a result"));
}

/** An aggregator that takes over sends the newest result to trainers that may have missed it. */
export function repeatResult({ context: { job }, enqueue }: ServerArgs): void {
  if (lateOf(job).length > 0) enqueue.spawnChild("repeated", { id: "repeated", input: { ports: job.ports, job } });
}

/** The newest result could not be sent again: trainers that missed it are dropped when the round waits for them. */
export function reportUnrepeated(
  { context: { job } }: { readonly context: ParameterServerContext },
  { error }: { readonly error: unknown },
): void {
  job.ports.report({
    level: "warn",
    event: "result.unsent",
    message: `Cannot send the newest result again: ${messageOf(error)}`,
    fields: { job: job.spec.job_id, round: job.spec.training?.round, peers: lateOf(job) },
  });
}

/** Notes the updates that count, and names those that were scaled down. */
export function noteAggregated({ context, enqueue }: ServerArgs, { updates }: Aggregated): void {
  const { ports, spec } = context.job;
  const peerOf = new Map(Object.entries(context.batch).map(([peer, file]) => [file, peer]));
  const counted = updates.flatMap(({ file, norm, factor }): MemberReport[] => {
    const peer = peerOf.get(file);
    return peer === undefined ? [] : [{ peer, outcome: factor === 1 ? "counted" : "clipped", norm }];
  });
  // One that was late may have come after all, before the round closed a second time.
  const others = context.verdicts.filter(({ peer }) => !counted.some((each) => each.peer === peer));
  enqueue.assign({ verdicts: [...others, ...counted] });
  for (const { peer, norm } of counted.filter(({ outcome }) => outcome === "clipped")) {
    enqueue(() =>
      ports.report({
        level: "warn",
        event: "update.clipped",
        message: `Scaled update of ${peer} down: it is much longer than the others`,
        fields: { job: spec.job_id, round: context.round, peer, norm },
      })
    );
  }
}

/** Some updates of the round are here and others are not: names their senders, here and to the scheduler. */
export function nameMissing({ context, enqueue }: ServerArgs): void {
  const { job, expected } = context;
  const round = collectedRound(context);
  const missing = missingOf(context);
  if (missing.length === 0 || missing.length === expected.length) return;
  enqueue(() =>
    job.ports.report({
      level: "info",
      event: "update.missing",
      message: `Round ${round} waits for updates of ${missing.length} of ${expected.length} trainers`,
      fields: { job: job.spec.job_id, round, peers: missing },
    })
  );
  tellEarly({ context, enqueue }, missing.map((peer): MemberReport => ({ peer, outcome: "missing" })), round);
}

/** Tells the scheduler of members before the round is over. */
function tellEarly(
  { context, enqueue }: Pick<ServerArgs, "context" | "enqueue">,
  members: readonly MemberReport[],
  round = context.round,
): void {
  const { job } = context;
  enqueue.stopChild("missed");
  if (job.network.training === undefined) return;
  enqueue.spawnChild("missed", { id: "missed", input: { ports: job.ports, job, round, members } });
}

/** Without a trainer no round ends, and no report of one would name those that are out: tells of them now. */
function tellAlone(args: Pick<ServerArgs, "context" | "enqueue">, out: readonly MemberReport[]): void {
  const members = [...args.context.verdicts, ...out];
  if (members.length > 0) tellEarly(args, members);
}

/** A report about a member that is out. */
function outReport(peer: PeerText, outcome: "rejected" | "missing", code: string, detail: string): MemberReport {
  const short = [...detail].slice(0, verdictDetailMaxBytes / 4).join("");
  return { peer, outcome, code, detail: short };
}

/** Drops a trainer whose update cannot be used. */
export function putOut({ context, enqueue }: ServerArgs, { error }: { readonly error: unknown }): void {
  const culprit = culpritOf(context.batch, error);
  if (culprit === undefined) return;
  const code = error instanceof UpdateRejected ? error.code : "malformed";
  const verdict = outReport(culprit, "rejected", code, messageOf(error));
  // Updates of the others still count for this round, unless a newer one is here already.
  const received = without({ ...context.batch, ...context.received }, culprit);
  enqueue.stopChild(`saving/${culprit}`);
  enqueue.assign({
    saving: context.saving.filter((peer) => peer !== culprit),
    expected: context.expected.filter((peer) => peer !== culprit),
    results: context.results.filter((peer) => peer !== culprit),
    rejected: [...context.rejected, culprit],
    received,
    batch: {},
    verdicts: [...context.verdicts, verdict],
  });
  const files = [context.batch, context.received].flatMap((updates) => Object.values(updates));
  discard({ context, enqueue }, files.filter((file) => !Object.values(received).includes(file)));
  if (context.expected.length === 1) tellAlone({ context, enqueue }, [verdict]);
  enqueue(() =>
    context.job.ports.report({
      level: "error",
      event: "update.rejected",
      message: `Cannot use update of ${culprit}, which is out of the training: ${messageOf(error)}`,
      fields: { job: context.job.spec.job_id, round: context.round, peer: culprit },
    })
  );
  enqueue(allow);
}

/** Removes updates that will not be averaged. Those that cannot be removed stay until the job's directory is removed. */
function discard(
  { context: { job }, enqueue }: Pick<ServerArgs, "context" | "enqueue">,
  files: readonly string[],
): void {
  for (const file of files) enqueue(() => job.ports.run(Effect.ignore(job.directory.remove(file)), () => {}));
}

/** Drops a trainer whose upload failed and completes the round with the others. */
export function leaveOverdue({ context, enqueue }: ServerArgs, { peer }: { readonly peer: PeerText }): void {
  const verdict = outReport(peer, "missing", "broken", "its update broke off and did not come again");
  enqueue.assign({
    expected: context.expected.filter((other) => other !== peer),
    results: context.results.filter((other) => other !== peer),
    rejected: [...context.rejected, peer],
    verdicts: [...context.verdicts, verdict],
  });
  if (context.expected.length === 1) tellAlone({ context, enqueue }, [verdict]);
  enqueue(() =>
    context.job.ports.report({
      level: "error",
      event: "update.rejected",
      message: `Waits no longer for ${peer}, which is out of the training: its update broke off and did not come again`,
      fields: { job: context.job.spec.job_id, round: context.round, peer, code: verdict.code },
    })
  );
  enqueue(allow);
}

/** Rounds in a row that a trainer may be late for. */
export const latenessMax = 3;

/** Where some of the updates are enough, a round has a deadline. */
export function setDeadline({ context, enqueue }: ServerArgs): void {
  const { round, job: { spec } } = context;
  if (quorumOf(context) === 1) return;
  const delay = (spec.aggregation?.deadline_s ?? aggregationDefault.roundDeadlineS) * 1_000;
  enqueue.raise({ type: "round.due", round }, { delay, id: "round.due" });
}

/** The deadline is over, and enough updates are in: the round goes on without the others; one that is late too often is out. */
export function closeRound({ context, enqueue }: ServerArgs): void {
  const { expected, saving, round, job } = context;
  // The round may close a second time, after an update was rejected.
  const isNoted = (peer: PeerText) => context.verdicts.some((verdict) => verdict.peer === peer);
  const missing = missingOf(context);
  const late = missing.filter((peer) => !isNoted(peer));
  const lateness = Object.fromEntries(
    missing.map((peer) => [peer, (context.lateness[peer] ?? 0) + (isNoted(peer) ? 0 : 1)]),
  );
  const out = late.filter((peer) => (lateness[peer] ?? 0) >= latenessMax);
  // What is still arriving belongs to this round, and would count for the next one.
  for (const peer of saving) enqueue.stopChild(`saving/${peer}`);
  for (const peer of late) enqueue.cancel(`overdue/${peer}`);
  enqueue.assign({
    lateness,
    saving: [],
    expected: expected.filter((peer) => !out.includes(peer)),
    results: context.results.filter((peer) => !out.includes(peer)),
    rejected: [...context.rejected, ...out],
    verdicts: [
      ...context.verdicts,
      ...late.map((peer) =>
        out.includes(peer)
          ? outReport(peer, "missing", "too-late", `its updates were late ${latenessMax} rounds in a row`)
          : outReport(peer, "missing", "late", "its update was not here at the round's deadline")
      ),
    ],
  });
  for (const peer of late) {
    const isOut = out.includes(peer);
    enqueue(() =>
      job.ports.report({
        level: "warn",
        event: "update.late",
        message: `Round ${round} goes on without ${peer}${isOut ? ", which is out of the training" : ""}`,
        fields: { job: job.spec.job_id, round, peer, out: isOut },
      })
    );
  }
}

/** Drops trainers that did not receive the result: they will make no update of it. */
export function leaveUnsent({ context, enqueue }: ServerArgs, { failed }: Distributed): void {
  // A push that arrived or is arriving shows that its sender did receive the result.
  const isOut = (peer: PeerText) => allowedNow(context).includes(peer) && failed.some((each) => each.peer === peer);
  const out = context.expected.filter(isOut);
  enqueue.assign({
    expected: context.expected.filter((peer) => !isOut(peer)),
    results: context.results.filter((peer) => !isOut(peer)),
    rejected: [...context.rejected, ...out],
  });
  if (out.length === context.expected.length) {
    tellAlone(
      { context, enqueue },
      out.map((peer) => outReport(peer, "missing", "unsent", "the result did not reach it")),
    );
  }
  for (const { peer, reason } of failed) {
    const isLeft = out.includes(peer);
    enqueue(() =>
      context.job.ports.report({
        level: "warn",
        event: "result.unsent",
        message: `Cannot send result of round ${context.round} to ${peer}${
          isLeft ? ", which is out of the training" : ""
        }: ${reason}`,
        fields: { job: context.job.spec.job_id, round: context.round, peer, out: isLeft },
      })
    );
  }
  enqueue(allow);
}

/** The scheduler did not take the result: says so after the first try, and then at growing intervals. */
export function reportUnhanded(
  { context: { job, round, handings } }: { readonly context: ParameterServerContext },
  { error }: { readonly error: unknown },
): void {
  if (!Number.isInteger(Math.log2(handings))) return;
  job.ports.report({
    level: "warn",
    event: "result.unsent",
    message: `Cannot hand result of round ${round} to the scheduler, tries again: ${messageOf(error)}`,
    fields: { job: job.spec.job_id, round, peer: job.scheduler, out: false, tries: handings },
  });
}

function without<A>(record: Readonly<Record<string, A>>, key: string): Record<string, A> {
  const { [key]: _, ...rest } = record;
  return rest;
}

/** The reason in the log, and of a failed job. */
export function messageOf(error: unknown): string {
  if (error instanceof TransportError) return `${error.code}: ${error.detail}`;
  return error instanceof Error ? error.message : String(error);
}
