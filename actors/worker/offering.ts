/**
 * A worker's actions around requests, offers and leases.
 *
 * @module
 */
import type { RequestAnswer } from "../../transport/port.ts";
import type { ApiRequest, Uuid } from "../../transport/protocols/messages.ts";
import { leaseLifeMs } from "./lease.ts";
import { answerAs } from "../runtime/role.ts";
import { instantFromMs } from "../runtime/instant.ts";
import { offerLifeMs, planOffers } from "./requests.ts";
import {
  acceptOffer,
  addOffer,
  availableResources,
  dropOffer,
  endLease,
  jobsOfLease,
  renewLease,
} from "./worker_book.ts";
import { type WorkerContext, type WorkerEvent, workerSetup } from "./worker_setup.ts";

/** The window is over: offers to those that are worth it. */
export const offer = workerSetup.enqueueActions(({ context, self, enqueue }) => {
  const { config, ports, transport } = context;
  const available = availableResources(context.book, config.resources);
  let { book } = context;
  for (const { to, request, resources, price } of planOffers(context.window, available, config)) {
    const id = ports.uuid();
    book = addOffer(book, { id, to, resources, price, descriptors: request.spec.executor });
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
        fields: { peer: to, offer: id, request: request.id, price, resources },
      })
    );
  }
  enqueue.assign({ book, window: [] });
});

/** An offer that its scheduler did not take, or never got, is off: its resources are free again. */
export const withdrawOffer = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type === "offer.answered" && event.answer.type === "response") return;
  if (event.type !== "offer.answered" && event.type !== "offer.lapsed") return;
  enqueue.cancel(`offer/${event.id}`);
  enqueue.assign({ book: dropOffer(context.book, event.id) });
});

/** `RenewLease`: takes an offer, or renews a lease; a stranger's is refused. */
export const answerRenewal = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "request.received" || !("RenewLease" in (event.message as ApiRequest))) return;
  const { exchange, peer, identity } = event;
  const { id } = (event.message as { readonly RenewLease: { readonly id: Uuid } }).RenewLease;
  const taken = context.book.offers[id];
  if (context.book.leases[id]?.over === false) {
    enqueue.sendTo(`lease/${id}`, { type: "lease.renew", peer, exchange });
    return;
  }
  if (taken === undefined || taken.to !== peer || !mayHold(identity.role)) {
    enqueue.sendTo(context.transport, { type: "respond", exchange, message: { RenewLease: "Failed" } });
    return;
  }
  const lifeMs = context.leaseLifeMs ?? leaseLifeMs;
  const endsAt = context.ports.now() + lifeMs;
  enqueue.cancel(`offer/${id}`);
  enqueue.assign({ book: acceptOffer(context.book, id, endsAt) });
  enqueue.spawnChild("lease", {
    id: `lease/${id}`,
    input: { id, holder: peer, lifeMs, now: context.ports.now },
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
      fields: { lease: id, peer, price: taken.price, resources: taken.resources, class: taken.descriptors[0]?.class },
    })
  );
});

/** Only schedulers lease: a certificate that names another role doesn't. */
export function mayHold(role: string | undefined): boolean {
  return role === undefined || role === "scheduler";
}

/** What a lease said of a renewal, passed on to whoever asked. */
export const passRenewal = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "lease.renewed" && event.type !== "lease.refused") return;
  const { id, exchange } = event;
  if (event.type === "lease.renewed") {
    enqueue.assign({ book: renewLease(context.book, id, event.endsAt) });
    enqueue.sendTo(context.transport, {
      type: "respond",
      exchange,
      message: { RenewLease: { Renewed: { id, timeout: instantFromMs(event.endsAt) } } },
    });
  } else {
    enqueue.sendTo(context.transport, { type: "respond", exchange, message: { RenewLease: "Failed" } });
  }
  enqueue(() => reportRenewal(context, event));
});

function reportRenewal({ ports, book }: WorkerContext, event: WorkerEvent): void {
  if (event.type === "lease.renewed") {
    const peer = book.leases[event.id]?.holder;
    ports.report({
      level: "debug",
      event: "lease.renewed",
      message: `Renewed lease of ${peer}`,
      fields: { lease: event.id, peer },
    });
  } else if (event.type === "lease.refused") {
    ports.report({
      level: "warn",
      event: "lease.refused",
      message: `Cannot renew lease for ${event.peer}: another peer holds it`,
      fields: { lease: event.id, peer: event.peer },
    });
  }
}

/** A lease is over: its jobs are cancelled, its resources come back with the last of them. */
export const closeLease = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "lease.over") return;
  const { id, how, reason } = event;
  const lease = context.book.leases[id];
  enqueue.stopChild(`lease/${id}`);
  if (lease === undefined) return;
  const jobs = jobsOfLease(context.book, id);
  enqueue.assign({ book: endLease(context.book, id) });
  for (const { taskId } of jobs) {
    enqueue.sendTo(`job/${taskId}`, { type: "job.cancel", reason: `its lease is over: ${reason}` });
  }
  enqueue(() =>
    context.ports.report({
      level: how === "lapsed" ? "warn" : "info",
      event: how === "lapsed" ? "lease.lapsed" : "lease.ended",
      message: `Lease of ${lease.holder} is over: ${reason}`,
      fields: { lease: id, peer: lease.holder, reason, jobs: jobs.map(({ spec }) => spec.job_id) },
    })
  );
});
