/**
 * A worker's actions around requests, offers and leases.
 *
 * @module
 */
import type { ActorRefFrom } from "xstate";
import type { RequestAnswer } from "../../transport/port.ts";
import { memberOf, standsFor } from "../../pki/member.ts";
import type { Peer, TrainingRun, Uuid } from "../../transport/protocols/messages.ts";
import { type LeaseEvent, leaseLifeMs, type LeaseRef } from "./lease.ts";
import type { jobMachine } from "../job/job.ts";
import type { JobRef } from "../job/messages.ts";
import type { RequestWith } from "../runtime/requests.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { answerAs } from "../runtime/role.ts";
import { instantFromMs } from "../runtime/instant.ts";
import { isStale, noteRun } from "./runs.ts";
import { endBygone } from "./training_requests.ts";
import { leftUnaccepted, withUnaccepted } from "./unaccepted.ts";
import { chooseGpus, freeGpus, unleasedGpus } from "./gpus.ts";
import { fitsResources } from "./resources.ts";
import { pauseLeft } from "./failing.ts";
import { offerLifeMs, planOffers, type ReceivedRequest, requestWaitMs, waitingRequests } from "./requests.ts";
import {
  acceptOffer,
  addOffer,
  availableResources,
  dropOffer,
  endLease,
  jobsOfLease,
  leasesLeft,
  type OpenOffer,
  renewLease,
  unleasedResources,
} from "./commitments.ts";
import type { WorkerArgs, WorkerContext, WorkerEvent } from "./worker_setup.ts";

/** The window or an open offer is over: makes offers to the best requests. */
export function offer({ context, self, enqueue }: WorkerArgs): void {
  const { config, ports, transport } = context;
  const terms = { ...config, executors: startable(context) };
  const free = {
    resources: availableResources(context.book, config.resources),
    leases: leasesLeft(context.book, config.resources),
    gpus: context.gpus && freeGpus(context.book, context.gpus),
  };
  let { book } = context;
  const now = monotonicNow(ports);
  const isLeaving = (peer: Peer) => leftUnaccepted(context.unaccepted, peer, now);
  const isOffered = ({ from: scheduler, request: { spec } }: ReceivedRequest) =>
    spec.executor.every((executor) => pauseLeft(context.failing, { executor, scheduler }, now) === 0);
  const requests = [...context.waiting.filter(({ at }) => now - at < requestWaitMs), ...context.window];
  const planned = planOffers(requests.filter(isOffered), free, terms, isLeaving);
  for (const { to, request, resources, price, gpus, reserves } of planned) {
    const id = ports.uuid();
    book = addOffer(book, { id, to, resources, price, gpus, reserves, descriptors: request.spec.executor });
    enqueue.sendTo(transport, {
      type: "request",
      id: `offer/${id}`,
      peer: to,
      protocol: "/hypha-api/0.0.1",
      message: {
        WorkerOffer: {
          id,
          request_id: request.id,
          price,
          resources,
          timeout: instantFromMs(ports.now() + offerLifeMs),
        },
      },
      timeoutMs: offerLifeMs,
      replyTo: answerAs(self, (answer: RequestAnswer): WorkerEvent => ({ type: "offer.answered", id, answer })),
    });
    enqueue.raise({ type: "offer.lapsed", id }, { delay: offerLifeMs, id: `offer/${id}` });
    enqueue(() =>
      ports.report({
        level: "debug",
        event: "offer.made",
        message: `Offered to ${to}`,
        fields: { peer: to, offer: id, request: request.id, price, resources, reserves },
      })
    );
  }
  const unleased = {
    resources: unleasedResources(book, config.resources),
    leases: leasesLeft({ ...book, offers: {} }, config.resources),
    gpus: context.gpus && unleasedGpus(book, context.gpus),
  };
  const waiting = waitingRequests(
    requests.filter(isOffered),
    { offers: Object.values(book.offers), unleased, now },
    terms,
  );
  enqueue.assign({ book, window: [], waiting });
}

/** The executors that the worker can start now: programs only in a cell. */
function startable({ config, cellProblem }: WorkerContext): WorkerContext["config"]["executors"] {
  return cellProblem === undefined ? config.executors : config.executors.filter(({ runtime }) => runtime !== "process");
}

/** Withdraws an offer that its scheduler did not accept or did not receive, and frees its resources. */
export function withdrawOffer({ context, enqueue }: WorkerArgs, { id }: { readonly id: Uuid }): void {
  const to = context.book.offers[id]?.to;
  enqueue.cancel(`offer/${id}`);
  enqueue.assign({
    book: dropOffer(context.book, id),
    unaccepted: to === undefined
      ? context.unaccepted
      : withUnaccepted(context.unaccepted, to, monotonicNow(context.ports)),
  });
  enqueue.raise({ type: "offer.over" });
}

/** Why a lease of a lower run ends. */
export const newerRunReason = "a newer run of its training began";

/**
 * `RenewLease`: turns an offer into a lease, or renews a lease. Refuses peers that the offer was not made to, and an offer that reserves
 * nothing where another scheduler was faster.
 */
export function answerRenewal(
  args: WorkerArgs,
  { exchange, peer, identity, message: { id, training } }: RequestWith<
    { readonly id: Uuid; readonly training?: TrainingRun }
  >,
): void {
  const { context, self, enqueue } = args;
  const taken = context.book.offers[id];
  const holder = memberOf(identity);
  const fail = () =>
    enqueue.sendTo(context.transport, { type: "respond", exchange, message: { RenewLease: "Failed" } });
  if (training !== undefined && isStale(context.runs, holder, training)) return fail();
  if (context.book.leases[id]?.over === false) {
    enqueue.sendTo<LeaseRef>(`lease/${id}`, { type: "lease.renew", peer, member: memberOf(identity), exchange });
    return;
  }
  if (taken === undefined || taken.to !== peer || !standsFor(identity.role, "scheduler")) return fail();
  const gpus = gpusOf(context, taken);
  if (gpus === undefined) return fail();
  const lifeMs = context.leaseLifeMs ?? leaseLifeMs;
  const endsAt = context.ports.now() + lifeMs;
  if (training !== undefined) {
    enqueue.assign({ runs: noteRun(context.runs, holder, training) });
    endBygone(args, { holder, training, runs: "lower" }, newerRunReason);
  }
  enqueue.cancel(`offer/${id}`);
  enqueue.assign({ book: acceptOffer(context.book, id, { gpus, holder, endsAt, training }) });
  enqueue.raise({ type: "offer.over" });
  enqueue.spawnChild("lease", {
    id: `lease/${id}`,
    input: { id, holder, lifeMs, now: context.ports.now, parent: self },
  });
  enqueue.sendTo(context.transport, {
    type: "respond",
    exchange,
    message: { RenewLease: { Renewed: { id, timeout: instantFromMs(endsAt) } } },
  });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "lease.granted",
      message: `Leased to ${peer}`,
      fields: {
        lease: id,
        peer,
        name: identity.name,
        price: taken.price,
        resources: taken.resources,
        class: taken.descriptors[0]?.class,
      },
    })
  );
}

/** The GPUs of an offer that is accepted; undefined where its resources are no longer free, or no lease is left. */
function gpusOf({ book, config, gpus }: WorkerContext, offer: OpenOffer): readonly number[] | undefined {
  if (offer.reserves) return offer.gpus;
  if (leasesLeft(book, config.resources) < 1) return undefined;
  if (!fitsResources(offer.resources, availableResources(book, config.resources))) return undefined;
  return gpus === undefined ? [] : chooseGpus(freeGpus(book, gpus), offer.resources.gpu);
}

type Renewed = Extract<LeaseEvent, { type: "lease.renewed" }>;
type Refused = Extract<LeaseEvent, { type: "lease.refused" }>;

/** The lease was renewed: sends its holder the new end. */
export function answerRenewed(args: WorkerArgs, { id, exchange, endsAt }: Renewed): void {
  const { context, enqueue } = args;
  enqueue.assign({ book: renewLease(context.book, id, endsAt) });
  const idle = idleSecondsOf(args, id);
  enqueue.sendTo(context.transport, {
    type: "respond",
    exchange,
    message: {
      RenewLease: { Renewed: { id, timeout: instantFromMs(endsAt), ...(idle === undefined ? {} : { idle }) } },
    },
  });
  enqueue(() => {
    const peer = context.book.leases[id]?.peer;
    context.ports.report({
      level: "debug",
      event: "lease.renewed",
      message: `Renewed lease of ${peer}`,
      fields: { lease: id, peer },
    });
  });
}

/** How long the executor of a lease's job has not used its bridge, for a scheduler of ours; undefined where none runs. */
function idleSecondsOf({ context: { book }, self }: WorkerArgs, id: Uuid): number | undefined {
  if (book.leases[id]?.training === undefined) return undefined;
  const { children } = self.getSnapshot();
  const idle = jobsOfLease(book, id).flatMap(({ taskId }) => {
    const job = children[`job/${taskId}`] as ActorRefFrom<typeof jobMachine> | undefined;
    const ms = job?.getSnapshot().context?.bridge?.idleMs?.();
    return ms === undefined ? [] : [Math.floor(ms / 1_000)];
  });
  return idle.length === 0 ? undefined : Math.min(...idle);
}

/** Refuses a renewal by a member that does not hold the lease. */
export function answerRefused({ context, enqueue }: WorkerArgs, { id, exchange, peer }: Refused): void {
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: { RenewLease: "Failed" } });
  enqueue(() =>
    context.ports.report({
      level: "warn",
      event: "lease.refused",
      message: `Cannot renew lease for ${peer}: another member holds it`,
      fields: { lease: id, peer },
    })
  );
}

/** A lease is over: cancels its jobs. Its resources are free again with the last of them. */
export function closeLease(
  { context, enqueue }: WorkerArgs,
  { id, how, reason }: Extract<LeaseEvent, { type: "lease.over" }>,
): void {
  const lease = context.book.leases[id];
  enqueue.stopChild(`lease/${id}`);
  if (lease === undefined) return;
  const jobs = jobsOfLease(context.book, id);
  enqueue.assign({ book: endLease(context.book, id) });
  for (const { taskId } of jobs) {
    enqueue.sendTo<JobRef>(`job/${taskId}`, { type: "job.cancel", reason: `its lease is over: ${reason}` });
  }
  enqueue(() =>
    context.ports.report({
      level: how === "lapsed" ? "warn" : "info",
      event: how === "lapsed" ? "lease.lapsed" : "lease.ended",
      message: `Lease of ${lease.peer} is over: ${reason}`,
      fields: { lease: id, peer: lease.peer, reason, jobs: jobs.map(({ spec }) => spec.job_id) },
    })
  );
}
