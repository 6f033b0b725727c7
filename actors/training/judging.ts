/**
 * The scheduler's verdict on a round: which nodes are members is decided only here. What the aggregator reports is its claim.
 *
 * @module
 */
import { nodeOf } from "../../pki/member.ts";
import type { MemberReport, Peer, Receipt, RoundReport } from "../../transport/protocols/messages.ts";
import { plainText } from "../job/reason.ts";
import { contradictionsOf, divergedMax, isDiscredited } from "./divergence.ts";
import { withBarred } from "./participants.ts";
import type { Training } from "./training.ts";
import type { TrainingArgs } from "./training_setup.ts";

/** A rejected trainer is lost this long after its worker got the notice, in milliseconds: with the lease its job ends. */
export const noticeMs = 500;

/** Logs what became of each member, tells the workers of those that are out, and loses them. */
export function judgeRound(args: TrainingArgs, aggregator: Peer, { round, members }: RoundReport): void {
  const { context, enqueue } = args;
  // One entry each: the report is bounded by the members that there are.
  const byPeer = new Map(members.map((member) => [member.peer, member]));
  const known = [...byPeer.values()].filter(({ peer }) => context.training.trainers[peer] !== undefined);
  const count = (outcome: MemberReport["outcome"]) => known.filter((member) => member.outcome === outcome).length;
  enqueue(() =>
    context.ports.report({
      level: "debug",
      event: "round.members",
      message: `Round ${round}: ${count("counted")} updates counted as they were, ${count("clipped")} scaled down`,
      fields: { round, aggregator, members: known },
    })
  );
  for (const member of known) {
    if (member.outcome === "clipped") enqueue(() => reportMember(args, { aggregator, round, member }));
    if (isLate(member)) enqueue(() => reportMember(args, { aggregator, round, member }));
    else if (member.outcome === "rejected" || member.outcome === "missing") {
      dropMember(args, { aggregator, round, member });
    }
  }
  loseLeftBehind(args, byPeer);
}

/**
 * Loses trainers of which a round's report has nothing and that lack the result of the round before it: their aggregator gave them up, as
 * it does where its own trust refused them for a moment. They would send updates of an earlier round for ever.
 */
function loseLeftBehind({ context, enqueue }: TrainingArgs, reported: ReadonlyMap<Peer, unknown>): void {
  const round = context.training.roundsDone + 1; // not the number that the report claims
  for (const { peer, state, isCounted, pace } of Object.values(context.training.trainers)) {
    if (!isCounted || state !== "running" || reported.has(peer) || pace.roundsDone >= round - 1) continue;
    const reason = `its aggregator does not wait for its updates, and it has no result of round ${round - 1}`;
    enqueue.raise({ type: "participant.lost", peer, reason });
  }
}

/** The round closed without its update; it may be in time for the next one. */
const isLate = ({ outcome, code }: MemberReport) => outcome === "missing" && code === "late";

/** Members that are out before the round is over: others may take their places at once. One whose update is awaited has no code. */
export function judgeEarly(args: TrainingArgs, aggregator: Peer, { round, members }: RoundReport): void {
  for (const member of members) {
    const isOut = member.outcome === "rejected" || (member.outcome === "missing" && member.code !== undefined);
    if (isOut && !isLate(member)) dropMember(args, { aggregator, round, member });
  }
}

/**
 * What a trainer has after a result. One whose parameters are not the scheduler's is lost, because its updates would begin from them;
 * with the second such node under one aggregator, the aggregator is lost too and not leased again. A node that diverges under two
 * aggregators is not leased again itself.
 */
export function reportReceipt(
  { context, enqueue }: TrainingArgs,
  { peer, receipt, training }: {
    readonly peer: Peer;
    readonly receipt: Receipt;
    readonly training: Training;
  },
): void {
  const [before, after] = [context.training.trainers[peer], training.trainers[peer]];
  const { round, parameters } = receipt;
  if (parameters === undefined || after === undefined) return;
  const isNews = after.divergedAt !== undefined && before?.divergedAt === undefined;
  enqueue(() =>
    context.ports.report({
      level: isNews ? "error" : "debug",
      event: isNews ? "member.diverged" : "member.parameters",
      message: isNews
        ? `Parameters of ${peer} after round ${round} are not those of the training`
        : `${peer} has the parameters of round ${round}`,
      fields: { round, peer, job: after.jobId, sha256: parameters, expected: training.digests[round] ?? null },
    })
  );
  if (!isNews || after.state === "done") return;
  const reason = `diverged: its parameters after round ${round} are not those of the training`;
  const { aggregator, divergence } = training;
  const contradictions = aggregator === undefined ? 0 : contradictionsOf(divergence, nodeOf(aggregator.member));
  if (aggregator !== undefined && contradictions >= divergedMax) {
    enqueue.raise({
      type: "participant.lost",
      peer: aggregator.peer,
      reason: `${contradictions} trainers got other results from it than the scheduler`,
      isRejected: true,
    });
  }
  const isRejected = isDiscredited(divergence, nodeOf(after.member));
  const more = isRejected ? ", under another aggregator too" : "";
  enqueue.raise({ type: "participant.lost", peer, reason: `${reason}${more}`, isRejected });
}

interface Claim {
  readonly aggregator: Peer;
  readonly round: number;
  readonly member: MemberReport;
}

function dropMember(args: TrainingArgs, claim: Claim): void {
  const { context, enqueue } = args;
  const { peer, code = "rejected", detail = "" } = claim.member;
  const trainer = context.training.trainers[peer];
  // Of a newcomer whose updates no aggregator waits for yet, a report can only be about an earlier job of its worker.
  if (trainer === undefined || !trainer.isCounted) return;
  enqueue(() => reportMember(args, claim));
  const message = { Notice: { job: trainer.jobId, code, detail } };
  enqueue.sendTo(context.parent, { type: "worker.told", peer, message });
  // Before it is lost: its worker can end the job within the delay.
  if (isRejection(claim)) enqueue.assign({ barred: ({ context: now }) => withBarred(now, trainer.member) });
  const reason = `its update was rejected by ${claim.aggregator} (claimed): ${plainText(code)}`;
  enqueue.raise({ type: "participant.lost", peer, reason }, { delay: noticeMs });
}

/** An update that is missing is no offence: its worker may be leased again after a rest. */
const isRejection = ({ member: { outcome } }: Claim): boolean => outcome === "rejected";

function reportMember({ context }: TrainingArgs, { aggregator, round, member }: Claim): void {
  const { peer, outcome, code, detail, norm } = member;
  const why = detail === undefined ? "" : `: ${plainText(detail)}`;
  context.ports.report({
    level: "warn",
    event: outcome === "clipped" ? "update.clipped" : "update.rejected",
    message: `Update of ${peer} was ${outcome} by ${aggregator} (claimed)${why}`,
    fields: {
      round,
      peer,
      aggregator,
      job: context.training.trainers[peer]?.jobId,
      ...(code === undefined ? {} : { code: plainText(code) }),
      ...(norm === undefined ? {} : { norm }),
    },
  });
}
