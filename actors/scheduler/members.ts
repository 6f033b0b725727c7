/**
 * A scheduler's actions around members that are lost.
 *
 * @module
 */
import type { TransportFact } from "../../transport/port.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import { absenceMs, type SchedulerArgs, type SchedulerContext, trainerSilenceMs } from "./scheduler_setup.ts";
import { emptyTraining, memberOf, membersOf, silentTrainers, trainersOf, withoutMember } from "./training.ts";

/** Removes a member and releases its lease. Its worker is not allocated again. */
export function loseMember(
  { context, enqueue }: SchedulerArgs,
  { peer, reason }: { readonly peer: Peer; readonly reason: string },
): void {
  const member = memberOf(context.training, peer);
  if (member === undefined) return;
  const wasAggregator = context.training.aggregator?.peer === member.peer;
  const training = withoutMember(context.training, member.peer);
  enqueue.assign({ training, excluded: [...context.excluded, member.peer] });
  enqueue.cancel(`absence/${member.peer}`);
  enqueue.stopChild(`lease/${member.leaseId}`);
  enqueue(() =>
    context.ports.report({
      level: "warn",
      event: wasAggregator ? "aggregator.lost" : "trainer.lost",
      message: `Lost ${wasAggregator ? "aggregator" : "trainer"} ${member.peer}: ${reason}`,
      fields: { peer: member.peer, job: member.jobId, reason, left: trainersOf(training).length },
    })
  );
}

/** A member's connection closed. The member is lost at once because of its certificate, else after `absenceMs`. */
export function noteAbsence(
  { context, enqueue }: SchedulerArgs,
  { peer, reason }: Extract<TransportFact, { type: "peer.closed" }>,
): void {
  const member = memberOf(context.training, peer);
  if (member === undefined || member.state === "done") return;
  if (reason.type === "trust.changed" || reason.type === "expired") {
    enqueue.raise({ type: "member.lost", peer, reason: `its certificate is not accepted: ${reason.refusal.code}` });
  } else {
    enqueue.raise({ type: "absence.over", peer }, { delay: absenceMs, id: `absence/${peer}` });
  }
}

/** A member reconnected in time. */
export function noteReturn({ enqueue }: SchedulerArgs, { peer }: { readonly peer: Peer }): void {
  enqueue.cancel(`absence/${peer}`);
}

/** Trainers that send no progress for too long are lost: their executors hang. */
export function loseSilent({ context, enqueue }: SchedulerArgs): void {
  for (const { peer } of silentTrainers(context.training, context.ports.now(), trainerSilenceMs)) {
    enqueue.raise({ type: "member.lost", peer, reason: `it sent no message for ${trainerSilenceMs / 1_000} s` });
  }
}

/** Members that did not answer their dispatch are lost. */
export function loseUndispatched({ context, enqueue }: SchedulerArgs): void {
  for (const { peer, state } of membersOf(context.training)) {
    const isDue = state === "leased" &&
      (peer === context.training.aggregator?.peer || context.training.aggregator?.state !== "leased");
    if (isDue) enqueue.raise({ type: "member.lost", peer, reason: "it did not answer the dispatch" });
  }
}

/** Releases all members, none of which has a job yet, and allocates again with the other part first. */
export function regroup({ context, enqueue }: SchedulerArgs): void {
  const members = membersOf(context.training);
  for (const { peer, leaseId } of members) {
    enqueue.cancel(`absence/${peer}`);
    enqueue.stopChild(`lease/${leaseId}`);
  }
  const first: SchedulerContext["first"] = context.first === "trainers" ? "aggregator" : "trainers";
  enqueue.assign({ training: emptyTraining, excluded: [], first });
  const released = members.map(({ peer }) => peer);
  enqueue(() =>
    context.ports.report({
      level: "warn",
      event: "allocation.regrouped",
      message: `Cannot fill all parts: looking for the ${first} first now; ` +
        `${released.length} workers were released, ${context.excluded.length} lost ones may be leased again`,
      fields: { released, forgiven: context.excluded, first },
    })
  );
}
