/**
 * Troubles of acts: a member that does whatever its role may not, and an operator's rule that denies a member what it was
 * allowed.
 *
 * @module
 */
import { peerIdFromString } from "@libp2p/peer-id";
import { prefixLength } from "../../transport/core/length_prefixed.ts";
import type { Rule } from "../../transport/authorization/authorize.ts";
import { kadProtocol, type StreamListener, type WireConnection, type WireStream } from "../../transport/core/wire.ts";
import { streamProtocols, type TransportFact } from "../../transport/port.ts";
import { encodeKadMessage } from "../../transport/protocols/kad_record.ts";
import { type ApiRequest, workerTopic } from "../../transport/protocols/messages.ts";
import { decodeMessage, encodeMessage, encodeWorkerRequest } from "../../transport/protocols/mod.ts";
import { SimulatedConnection } from "../../transport/simulated/connection.ts";
import { randomOf } from "../runtime/random.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import type { Bites } from "./bites.ts";
import type { Checker } from "./checker.ts";
import { contextsOf } from "./findings.ts";
import { type HostileMember, requestForWorkers } from "./hostile_member.ts";
import type { SimulatedNode } from "./node.ts";
import type { Simulation } from "./simulation.ts";
import { Result } from "effect";

/** A member that acts leaves after this, in milliseconds. */
const stayMs = 12_000;
/** What no longer is allowed has ended after this, in milliseconds. */
const endsMs = 1_000;
/** A lease is to be had within this, in milliseconds. */
const leasedMs = 6_000;

const api = "/hypha-api/0.0.1";
const progress = "/hypha-progress/0.0.1";

/** What they are made with. */
export interface ActingInit {
  readonly sim: Simulation;
  readonly checker: Checker;
  readonly bites: Bites;
  readonly member: (name: string, isListed?: boolean) => HostileMember | undefined;
}

/** Makes the troubles of acts. */
export class ActingTroubles {
  readonly #init: ActingInit;

  constructor(init: ActingInit) {
    this.#init = init;
  }

  // ── Whatever its role may not ──

  /** A member of one role does the acts of all others: requests, streams, gossip, records, circuits. */
  actOutOfRole(node: SimulatedNode, amount: number): void {
    const { sim, member: makeMember } = this.#init;
    const role = (["data", "worker", "gateway", "scheduler"] as const)[Math.floor(amount * 4)] ?? "data";
    const member = makeMember(`acting/${role}`, true);
    if (member === undefined) return;
    const { uuid } = randomOf(sim.seed, `acting/${node.name}/${sim.now}`);
    member.hostile.wire.serve(api);
    // An author of which only another member's word is there: the one that hands it on is a scheduler.
    const carrier = role === "scheduler" ? undefined : makeMember("acting/scheduler");
    let way: WireConnection | undefined;
    carrier?.dial(node.address, (connection) => way = connection);
    member.dial(node.address, (connection) => {
      for (let at = 200; at < stayMs - 2_000; at += 1_500) {
        sim.after(at, () => {
          if (!connection.isOpen) return;
          this.#actOn(member, connection, uuid);
          const bytes = encodeWorkerRequest(requestForWorkers(uuid(), sim.time.now));
          const message = { author: member.peer, bytes };
          member.gossip(connection, workerTopic, message);
          if (carrier !== undefined && way?.isOpen === true) carrier.gossip(way, workerTopic, message);
        });
      }
      if (role !== "data") this.#publish(node, member, connection);
      sim.after(1_000, () => this.#bringCircuit(node, member, connection));
    });
    sim.after(stayMs, () => [member, carrier].forEach((each) => each?.stop()));
  }

  #actOn({ hostile }: HostileMember, connection: WireConnection, uuid: () => string): void {
    const resources = { cpu: 1, gpu: 0, memory: 1, storage: 1 };
    const timeout = { secs_since_epoch: 0, nanos_since_epoch: 0 };
    const requests: readonly ApiRequest[] = [
      { WorkerOffer: { id: uuid(), request_id: uuid(), price: 0, resources, timeout } },
      { RenewLease: { id: uuid() } },
      { JobStatus: { task_id: uuid(), status: { type: "Finished" } } },
      { Data: { dataset: "digits" } },
    ];
    for (const request of requests) hostile.exchange(connection, api, encodeMessage(api, "request", request));
    hostile.exchange(connection, progress, encodeMessage(progress, "request", { job_id: uuid(), progress: "update" }));
    for (const protocol of streamProtocols) hostile.exchange(connection, protocol, Uint8Array.of(1, 2, 3));
  }

  /** A record is answered with itself where it is kept. */
  #publish(node: SimulatedNode, { hostile, peer }: HostileMember, connection: WireConnection): void {
    const key = new TextEncoder().encode("acted");
    const record = { key, value: Uint8Array.of(1), publisher: peerIdFromString(peer).toMultihash().bytes };
    const put = encodeKadMessage({ type: "PUT_VALUE", key, record, closer: [], providers: [] });
    hostile.exchange(connection, kadProtocol, prefixLength(put), ({ bytes }) => {
      if (bytes.length > 0) this.#init.checker.violate("act-only-by-role", node.name, `kept a record of ${peer}`);
    });
  }

  /** A circuit by a peer at which the node has no reservation. */
  #bringCircuit(node: SimulatedNode, member: HostileMember, connection: WireConnection): void {
    if (!(connection instanceof SimulatedConnection) || !connection.isOpen) return;
    connection.sendFrame({ type: "relay.incoming", circuit: 2_000_001, from: member.peer });
    this.#init.sim.after(endsMs, () => {
      for (const session of node.sessions) {
        for (const { connection: { relay } } of session.connections()) {
          if (relay !== member.peer) continue;
          this.#init.checker.violate("act-only-by-role", node.name, `took a circuit of ${relay}`);
        }
      }
    });
  }

  // ── Denied ──

  /** A scheduler leases a worker; then a rule denies it leases, whatever another rule allows. */
  deny(node: SimulatedNode): void {
    const { sim, bites, member: makeMember } = this.#init;
    const member = makeMember("acting/scheduler");
    if (member === undefined) return;
    const { uuid } = randomOf(sim.seed, `denied/${node.name}/${sim.now}`);
    const { hostile } = member;
    hostile.wire.serve(api);
    let lease: string | undefined;
    let way: WireConnection | undefined;
    const renew = () => {
      if (way === undefined || !way.isOpen || lease === undefined) return;
      hostile.exchange(way, api, encodeMessage(api, "request", { RenewLease: { id: lease } }));
    };
    hostile.onOffered = (connection, stream) =>
      answeringOffers(stream, (id) => {
        if (lease !== undefined) return;
        lease = id;
        way = connection;
        sim.after(0, renew);
      });
    member.dial(node.address, (connection) => {
      way = connection;
      for (let at = 200; at < leasedMs; at += 700) {
        sim.after(at, () => {
          if (lease !== undefined || !connection.isOpen) return;
          const bytes = encodeWorkerRequest(requestForWorkers(uuid(), sim.time.now));
          member.gossip(connection, workerTopic, { author: member.peer, bytes });
        });
      }
    });
    for (let at = leasedMs / 2; at < stayMs; at += 1_000) sim.after(at, renew);
    sim.after(leasedMs, () => {
      if (this.#leases(node, member) > 0) bites.note("denied");
      this.#applyRule(node, member);
    });
    sim.after(stayMs, () => member.stop());
  }

  #applyRule(node: SimulatedNode, member: HostileMember): void {
    const { sim, checker } = this.#init;
    const { peer } = member;
    // The rules end with the process.
    const { actor } = node;
    const rule = (effect: Rule["effect"], fits: Rule["fits"]): Rule => ({
      label: `authorization.rules[${effect}]`,
      effect,
      acts: ["lease.renew", "job.dispatch", "worker.request"],
      fits,
    });
    // It denies, whatever comes first.
    actor?.send({
      type: "rules.changed",
      // The rule allows this member only: acts of other hostile members remain forbidden.
      rules: [rule("allow", (who) => who.peer === peer), rule("deny", (who) => who.peer === peer)],
    });
    let isOver = false;
    sim.after(endsMs, () => {
      isOver = true;
      if (node.actor !== actor) return;
      const left = this.#leases(node, member);
      if (left > 0) {
        checker.violate("act-only-by-role", node.name, `${left} leases of a member that the rules deny them`);
      }
    });
    sim.watches.push({
      fact: (at: SimulatedNode, fact: TransportFact) => {
        if (!isOver || at !== node || node.actor !== actor || fact.type !== "request.received" || fact.peer !== peer) {
          return;
        }
        if (!("RenewLease" in fact.message)) return;
        checker.violate("act-only-by-role", node.name, "a renewal reached its role that the rules deny");
      },
    });
  }

  #leases(node: SimulatedNode, { peer }: HostileMember): number {
    return contextsOf<WorkerContext>(node).flatMap(({ book }) =>
      Object.values(book.leases).filter((lease) => lease.peer === peer && !lease.over)
    ).length;
  }
}

/** Reads one request. An offer is answered as a scheduler answers it, and told. */
function answeringOffers(stream: WireStream, offered: (id: string) => void): StreamListener {
  const pieces: number[] = [];
  return {
    data: (bytes) => void pieces.push(...bytes),
    ended: () => {
      const decoded = decodeMessage(api, "request", Uint8Array.from(pieces));
      const request = Result.getOrUndefined(decoded) as ApiRequest | undefined;
      if (request === undefined || !("WorkerOffer" in request)) return stream.end();
      stream.end(encodeMessage(api, "response", { WorkerOffer: {} }));
      offered(request.WorkerOffer.id);
    },
    closed: () => {},
  };
}
