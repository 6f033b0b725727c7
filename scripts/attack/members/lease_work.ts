/**
 * The work of a scheduler with a worker, by hand: asking for offers, taking a lease, dispatching a job.
 *
 * @module
 */
import { base58btc } from "multiformats/bases/base58";
import { freshId } from "./fresh_id.ts";
import {
  type ApiRequest,
  type JobSpec,
  type WorkerRequest,
  workerTopic,
} from "../../../transport/protocols/messages.ts";
import { madeUpPeer } from "./foreign_messages.ts";
import type { HonestMember } from "./honest.ts";
import { aggregator, share } from "./world.ts";

const api = "/hypha-api/0.0.1";

/** A request for a worker. */
export function workerRequest({ bid = 20, parts = 1 } = {}): WorkerRequest {
  const { cpu, gpu, memory, storage } = share;
  const resources = { cpu: cpu * parts, gpu, memory: memory * parts, storage: storage * parts };
  const timeout = { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 };
  return { id: freshId(), spec: { resources, executor: [aggregator] }, timeout, bid };
}

/** A job that waits for updates of a worker, or of several. */
export function waitingJob(worker: string | readonly string[], results: string): JobSpec {
  const peers = (named: string | readonly string[]) => ({
    type: "peers" as const,
    peers: typeof named === "string" ? [named] : named,
    strategy: { type: "All" as const },
    resource: null,
  });
  return {
    job_id: freshId(),
    executor: {
      class: "aggregate",
      descriptor: { name: aggregator.name },
      config: { updates: peers(worker), results: peers(results), optimizer: { "learning-rate": 0.7, momentum: 0.9 } },
    },
  };
}

/** A member that a job may name and that never comes. */
export const absentPeer = (): string => base58btc.baseEncode(madeUpPeer());

/** Whether a worker granted what was asked: a renewal, or a dispatch. */
export async function isGranted(by: HonestMember, worker: string, message: ApiRequest): Promise<boolean> {
  const answer = await by.request(worker, api, message) ?? {};
  const [granted = "Failed"] = Object.values(answer);
  return granted !== "Failed";
}

/** Publishes a request; the offer for it, or for one of those that were asked before, within the time. */
export async function askForOffer(
  by: HonestMember,
  { request = workerRequest(), withinMs = 1_000, asked = new Set<string>() } = {},
): Promise<string | undefined> {
  asked.add(request.id);
  by.send({ type: "serve", protocol: api });
  await by.ask({ type: "publish", id: request.id, topic: workerTopic, message: request });
  const offered = await by.fact((fact) => {
    if (fact.type !== "request.received" || !("WorkerOffer" in fact.message)) return undefined;
    const offer = fact.message.WorkerOffer as { readonly id: string; readonly request_id?: string };
    return asked.has(offer.request_id ?? "") ? { offer, exchange: fact.exchange } : undefined;
  }, withinMs);
  if (offered === undefined) return undefined;
  asked.delete(offered.offer.request_id ?? "");
  by.send({ type: "respond", exchange: offered.exchange, message: { WorkerOffer: {} } });
  return offered.offer.id;
}

/** Asks until there is an offer, and takes the lease. */
export async function takeLease(by: HonestMember, worker: string, withinMs = 60_000): Promise<string> {
  const end = performance.now() + withinMs;
  // On a busy machine the offer for an earlier request comes late.
  const asked = new Set<string>();
  while (performance.now() < end) {
    const id = await askForOffer(by, { withinMs: 800, asked });
    if (id !== undefined && await isGranted(by, worker, { RenewLease: { id } })) return id;
  }
  throw new Error("Cannot lease: the worker makes no offer");
}
