/**
 * Every act of the network, and the role that a member's certificate must name to do it. What no row names is refused.
 *
 * @module
 */
import type { MemberRole } from "../../pki/certificate.ts";

/** One act. */
export interface ActRow {
  /** Roles of nodes to which it may be done; `all`: to each. */
  readonly receivedBy: readonly MemberRole[] | "all";
  /** Roles that may do it; `member`: each of them. A certificate without a role stands for every role but `ca`. */
  readonly allowedTo: readonly MemberRole[] | "member";
  /** An operator's rule may only forbid it: allowing it to other roles would give away what the role exists for. */
  readonly closed?: true;
  /** What it is, for people. */
  readonly what: string;
}

/** The table of acts. */
export const acts = {
  "lease.renew": { receivedBy: ["worker"], allowedTo: ["scheduler"], what: "renew a lease" },
  "job.dispatch": { receivedBy: ["worker"], allowedTo: ["scheduler"], what: "start a job" },
  // Gateways hand it on.
  "worker.request": { receivedBy: ["worker", "gateway"], allowedTo: ["scheduler"], what: "ask for workers, by gossip" },
  "worker.offer": { receivedBy: ["scheduler"], allowedTo: ["worker"], what: "offer a worker" },
  "job.status": { receivedBy: ["scheduler"], allowedTo: ["worker"], what: "report how a job is" },
  "progress": { receivedBy: ["scheduler"], allowedTo: ["worker"], what: "report progress" },
  "training": {
    receivedBy: ["worker", "scheduler"],
    allowedTo: ["scheduler", "worker"],
    what: "end, release or judge a training's work",
  },
  "data.ask": { receivedBy: ["scheduler"], allowedTo: ["worker"], what: "ask for the next slice" },
  "slice.pull": { receivedBy: ["data", "scheduler"], allowedTo: ["worker"], what: "fetch a slice, or the model" },
  "file.push": { receivedBy: ["worker", "scheduler"], allowedTo: ["worker"], what: "send a job's file" },
  "record.put": { receivedBy: "all", allowedTo: ["data"], what: "publish a data set" },
  "kad.query": { receivedBy: "all", allowedTo: "member", what: "ask the DHT" },
  "relay.reserve": { receivedBy: ["gateway"], allowedTo: "member", what: "use this gateway as a relay" },
  "relay.connect": { receivedBy: "all", allowedTo: ["gateway"], closed: true, what: "bring a relayed connection" },
  "gateway": { receivedBy: "all", allowedTo: ["gateway"], closed: true, what: "be the gateway of this node" },
  "gossip": { receivedBy: "all", allowedTo: "member", what: "hand on gossip" },
  "health": { receivedBy: "all", allowedTo: "member", what: "ask whether a node is well" },
  "crl": { receivedBy: "all", allowedTo: "member", what: "announce and fetch revocation lists" },
  "audit": {
    receivedBy: "all",
    allowedTo: ["gateway", "ca"],
    what: "ask for proofs about the audit log, tell what a witness holds",
  },
  "identify": { receivedBy: "all", allowedTo: "member", what: "exchange addresses and protocols" },
  "ping": { receivedBy: "all", allowedTo: "member", what: "ping" },
  "dcutr": { receivedBy: "all", allowedTo: "member", what: "make a relayed connection direct" },
} as const satisfies Readonly<Record<string, ActRow>>;

/** The name of an act. */
export type Act = keyof typeof acts;

/** Every act. */
export const actNames = Object.keys(acts) as readonly Act[];

/** Whether a text names an act. */
export function isAct(text: string): text is Act {
  return Object.hasOwn(acts, text);
}

/** The row of an act. */
export function rowOf(act: Act): ActRow {
  return acts[act];
}
