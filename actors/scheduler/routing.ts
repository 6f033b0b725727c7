/**
 * A scheduler's actions that pass what arrives on to the training that it is for. A message of a worker of ours names its training; one
 * of any other worker is recognized by its job and its sender.
 *
 * @module
 */
import type { ActorRefFrom } from "xstate";
import { memberOf, standsFor } from "../../pki/member.ts";
import type { StreamAnswer, TransportFact } from "../../transport/port.ts";
import type { Peer, TrainingRun, WorkerOffer } from "../../transport/protocols/messages.ts";
import { pullProtocols } from "../files/stream_file.ts";
import { trainingOfDataset } from "../learning/model_references.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { handleRequest, type ReceivedRequest, type RequestTable, type RequestWith } from "../runtime/requests.ts";
import { answerAs, type MemberConnected } from "../runtime/role.ts";
import type { AllocationContext, allocationMachine } from "../training/allocation.ts";
import { participantBy, participantOf, type Sender } from "../training/training.ts";
import type { ReceivedStream, TrainingContext } from "../training/training_setup.ts";
import { isOfferedElsewhere, mayBeForeign, withOffer } from "../training/workers.ts";
import { type RunningTraining, runningTrainings, type SchedulerArgs, type SchedulerEvent } from "./scheduler_setup.ts";
import type { SortedStream } from "./sort_stream.ts";
import { endRunsBefore, isHeldBack } from "./telling.ts";

/** Streams whose heads are read at once, of all members and of one; one more is rejected. */
export const sortingMax = 64;
export const sortingPerPeerMax = 8;

/** A request on its way. */
interface Routed {
  readonly args: SchedulerArgs;
  readonly request: ReceivedRequest;
}

/** Whom each request is passed on to, by protocol and variant. The others are declined. */
const routes: RequestTable<Routed> = {
  "/hypha-health/0.0.1": decline,
  "/hypha-progress/0.0.1": (routed, { message }) =>
    passOn(
      routed,
      message.training,
      ({ training }) => participantBy(training, senderOf(routed.request))?.jobId === message.job_id,
    ),
  "/hypha-training/1": answerUnsupported,
  "/hypha-api/0.0.1": {
    WorkerOffer: passOffer,
    Data: (routed, { message }) =>
      passOn(
        routed,
        message.training,
        ({ id, training }) =>
          participantBy(training, senderOf(routed.request)) !== undefined &&
          (trainingOfDataset(message.dataset) ?? id) === id,
      ),
    JobStatus: (routed, { message }) =>
      passOn(
        routed,
        undefined,
        ({ training }) => participantBy(training, senderOf(routed.request))?.taskId === message.task_id,
      ),
    RenewLease: decline,
    DispatchJob: decline,
  },
};

/** Offers, progress and requests about trainings are answered in every state. */
export function serveRequests({ context, enqueue }: SchedulerArgs): void {
  enqueue.sendTo(context.transport, { type: "serve", protocol: "/hypha-api/0.0.1" });
  enqueue.sendTo(context.transport, { type: "serve", protocol: "/hypha-progress/0.0.1" });
  enqueue.sendTo(context.transport, { type: "serve", protocol: "/hypha-training/1" });
}

/** Passes a request on, or declines it. */
export function routeRequest(args: SchedulerArgs, request: ReceivedRequest): void {
  const routed = { args, request };
  if (!handleRequest(routes, routed, request)) decline(routed, request);
}

function decline({ args: { context, enqueue } }: Routed, { exchange }: { readonly exchange: string }): void {
  enqueue.sendTo(context.transport, { type: "decline", exchange });
}

/** A scheduler gets no requests on this protocol: it is served so that identify names it. */
function answerUnsupported(
  { args: { context, enqueue } }: Routed,
  { exchange }: { readonly exchange: string },
): void {
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: { answer: "Unsupported" } });
}

const senderOf = ({ peer, identity }: Pick<ReceivedRequest, "peer" | "identity">): Sender => ({
  peer,
  member: memberOf(identity),
});

/** Passes a request on to the training that it names, or else to the one that takes it. The training checks its sender. */
function passOn(
  routed: Routed,
  named: TrainingRun | undefined,
  takes: (context: TrainingContext) => boolean,
): void {
  const { args, request } = routed;
  const training = runningTrainings(args.self).find(({ snapshot: { context } }) =>
    named === undefined ? takes(context) : named.id === context.id
  );
  if (training === undefined) decline(routed, request);
  else args.enqueue.sendTo(training.ref, request);
}

/** The allocation of a training that looks for workers. */
function allocationOf({ snapshot }: RunningTraining): AllocationContext | undefined {
  const allocation = snapshot.children["allocation"] as ActorRefFrom<typeof allocationMachine> | undefined;
  return allocation?.getSnapshot().context;
}

/**
 * Passes an offer on to the training whose request it answers. One of a worker that may be foreign is answered and left alone while
 * leftovers of the worker are not over, and while it has another lease or offer: it may have one lease.
 */
function passOffer(routed: Routed, { exchange, peer, identity, message: offer }: RequestWith<WorkerOffer>): void {
  const { args, request } = routed;
  const { context, self, enqueue } = args;
  const trainings = runningTrainings(self);
  const asker = trainings.find((training) => allocationOf(training)?.requests.includes(offer.request_id));
  if (asker === undefined || !standsFor(identity.role, "worker")) return decline(routed, request);
  const { id, run } = asker.snapshot.context;
  const now = monotonicNow(context.ports);
  const isTaken = mayBeForeign(context.workers, peer) && (
    isOfferedElsewhere(context.workers, { peer, training: id, now }) ||
    trainings.some((training) => training !== asker && hasLeaseOf(training, peer))
  );
  enqueue.assign({ workers: withOffer(context.workers, { peer, id: offer.id, training: id, at: now }) });
  if (!isTaken && !isHeldBack(context, peer)) return enqueue.sendTo(asker.ref, request);
  // Its answer tells whether it is foreign.
  if (run !== undefined && context.workers.speakers[peer] === undefined) {
    endRunsBefore(args, peer, run, "an earlier run is over");
  }
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: { WorkerOffer: {} } });
}

/** Whether a training has a lease of a worker, or has accepted its offer. */
function hasLeaseOf(training: RunningTraining, peer: Peer): boolean {
  const accepting = Object.values(allocationOf(training)?.accepting ?? {});
  return participantOf(training.snapshot.context.training, peer) !== undefined ||
    accepting.some(({ from }) => from === peer);
}

/** Whether a stream may be for a training: a pull of a member, a push of the aggregator. */
function mayTake({ snapshot: { context } }: RunningTraining, { peer, identity, protocol }: ReceivedStream): boolean {
  const member = memberOf(identity);
  if (!pullProtocols.some((pull) => pull === protocol)) return context.training.aggregator?.member === member;
  return context.model !== undefined && participantBy(context.training, { peer, member }) !== undefined;
}

/** Passes a stream on to the training whose member opened it. Where there are several, its head tells. */
export function routeStream(
  { context, self, enqueue }: SchedulerArgs,
  stream: Extract<TransportFact, { type: "stream.received" }>,
): void {
  const [training, ...others] = runningTrainings(self).filter((each) => mayTake(each, stream));
  const { exchange } = stream;
  const sorting = Object.values(context.sorting);
  const isFull = sorting.length >= sortingMax ||
    sorting.filter(({ peer }) => peer === stream.peer).length >= sortingPerPeerMax;
  if (training === undefined || (others.length > 0 && isFull)) {
    return enqueue.sendTo(context.transport, { type: "stream.reject", exchange });
  }
  if (others.length === 0) return enqueue.sendTo(training.ref, stream);
  enqueue.assign({ sorting: { ...context.sorting, [exchange]: stream } });
  enqueue.sendTo(context.transport, {
    type: "stream.accept",
    exchange,
    replyTo: answerAs(self, (answer: StreamAnswer): SchedulerEvent => ({ type: "stream.accepted", exchange, answer })),
  });
}

/** Reads the head of a stream that was accepted. */
export function startSorting(
  { context, enqueue }: SchedulerArgs,
  { exchange, answer }: { readonly exchange: string; readonly answer: StreamAnswer },
): void {
  if (answer.type === "stream.opened") {
    return enqueue.spawnChild("sorted", {
      id: `sorted/${exchange}`,
      input: { ports: context.ports, exchange, stream: answer.stream },
    });
  }
  const { [exchange]: _, ...sorting } = context.sorting;
  enqueue.assign({ sorting });
}

/** Passes a stream on to the training that its head names; resets any other. */
export function passSorted(
  { context, self, enqueue }: SchedulerArgs,
  { exchange, stream, training: id }: SortedStream,
): void {
  const { [exchange]: fact, ...sorting } = context.sorting;
  enqueue.assign({ sorting });
  enqueue.stopChild(`sorted/${exchange}`);
  const training = runningTrainings(self).find((each) => each.snapshot.context.id === id);
  if (fact !== undefined && training !== undefined && mayTake(training, fact)) {
    return enqueue.sendTo(training.ref, { ...fact, opened: stream });
  }
  enqueue(() => context.ports.run(stream.abort("it names no training of its sender"), () => {}));
}

/** Passes a fact about a peer on to all trainings. */
export function passFact(
  { self, enqueue }: SchedulerArgs,
  fact:
    | MemberConnected
    | Extract<TransportFact, { type: "peer.established" | "peer.closed" | "authorization.changed" }>,
): void {
  for (const { ref } of runningTrainings(self)) enqueue.sendTo(ref, fact);
}
