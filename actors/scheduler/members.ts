/**
 * A scheduler's actions around members that go away.
 *
 * @module
 */
import { absenceMs, type SchedulerContext, schedulerSetup, trainerSilenceMs } from "./scheduler_setup.ts";
import { emptyTraining, memberOf, membersOf, silentTrainers, trainersOf, withoutMember } from "./training.ts";

/** A member is out: its lease is released, whoever waits for it is told. */
export const loseMember = schedulerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "member.lost") return;
  const member = memberOf(context.training, event.peer);
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
      message: `Lost ${wasAggregator ? "aggregator" : "trainer"} ${member.peer}: ${event.reason}`,
      fields: { peer: member.peer, job: member.jobId, reason: event.reason, left: trainersOf(training).length },
    })
  );
});

/** A member went away: at once when its certificate is the reason, else after a while. */
export const noteAbsence = schedulerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "peer.closed") return;
  const member = memberOf(context.training, event.peer);
  if (member === undefined || member.state === "done") return;
  const { peer, reason } = event;
  if (reason.type === "trust.changed" || reason.type === "expired") {
    enqueue.raise({ type: "member.lost", peer, reason: `its certificate is not accepted: ${reason.refusal.code}` });
  } else {
    enqueue.raise({ type: "absence.over", peer }, { delay: absenceMs, id: `absence/${peer}` });
  }
});

/** A member came back in time. */
export const noteReturn = schedulerSetup.enqueueActions(({ event, enqueue }) => {
  if (event.type === "peer.established") enqueue.cancel(`absence/${event.peer}`);
});

/** Trainers that should be training and say nothing are lost: their executors hang. */
export const loseSilent = schedulerSetup.enqueueActions(({ context, enqueue }) => {
  for (const { peer } of silentTrainers(context.training, context.ports.now(), trainerSilenceMs)) {
    enqueue.raise({ type: "member.lost", peer, reason: `it said nothing for ${trainerSilenceMs / 1_000} s` });
  }
});

/** Members that did not answer their dispatch are lost. */
export const loseUndispatched = schedulerSetup.enqueueActions(({ context, enqueue }) => {
  for (const { peer, state } of membersOf(context.training)) {
    const isDue = state === "leased" &&
      (peer === context.training.aggregator?.peer || context.training.aggregator?.state !== "leased");
    if (isDue) enqueue.raise({ type: "member.lost", peer, reason: "it did not answer the dispatch" });
  }
});

/** Nobody was dispatched yet, and not everybody is to be had: those that are leased are let go, to be chosen anew. */
export const regroup = schedulerSetup.enqueueActions(({ context, enqueue }) => {
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
        `${released.length} workers were let go, ${context.excluded.length} that were lost are asked again`,
      fields: { released, forgiven: context.excluded, first },
    })
  );
});
