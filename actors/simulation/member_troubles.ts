/**
 * Troubles that hostile members make: second certificates, crowds, silence, and two ways to one node.
 *
 * @module
 */
import type { ConnectionRow } from "../../transport/core/connection_table.ts";
import { kadProtocol, type WireConnection } from "../../transport/core/wire.ts";
import { streamsPerPeerMax } from "../../transport/core/stream_places.ts";
import { type PeerText, streamProtocols } from "../../transport/port.ts";
import { isMessageProtocol, messageProtocols, workerTopic } from "../../transport/protocols/messages.ts";
import { encodeMessage, encodeWorkerRequest } from "../../transport/protocols/mod.ts";
import type { StreamDataFrame } from "../../transport/simulated/frames.ts";
import { randomOf } from "../runtime/random.ts";
import { RuledMember, ruledName } from "./ruled_member.ts";
import { type Credential, peerOfCredential } from "./authority.ts";
import { ActingTroubles } from "./acting_troubles.ts";
import type { Bites } from "./bites.ts";
import type { Checker } from "./checker.ts";
import { ExpensiveMember } from "./expensive_member.ts";
import { Forger } from "./forger.ts";
import { HostileMember, requestForWorkers } from "./hostile_member.ts";
import { valueOf } from "./knobs.ts";
import { crowdSize } from "./member_credentials.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Partner, PartnerCredential } from "./partner_domain.ts";
import { floodByPartner } from "./partner_trouble.ts";
import type { ScenarioEvent } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";
import { Squatter, squatterRoles } from "./squatter.ts";

/** Hostile members leave after this, in milliseconds; a mute one stays. */
const stayMs = 18_000;
/** Connections of each member of a crowd, and the time between two of them, in milliseconds. */
const crowdEach = 3;
const crowdEveryMs = 25;
/** A crowd is one from this many connections on: more than two slices of a re-verification. */
const crowdMin = 40;
/** By then all streams that a mute member opened are over, in milliseconds. */
const muteOverMs = 14_000;
/** A stream that finds no place is reset within this, in milliseconds. */
const soonMs = 2_000;
/** This share of relayed nodes can be reached through a gateway only; the others are reached both ways. */
export const undialableShare = 0.6;

const api = "/hypha-api/0.0.1";
const health = "/hypha-health/0.0.1";

/** What they are made with. */
export interface MemberTroublesInit {
  readonly sim: Simulation;
  readonly checker: Checker;
  readonly oracle: Oracle;
  readonly credentials: ReadonlyMap<string, Credential>;
  /** A second trust domain, where the run has one. */
  readonly partner?: Partner | undefined;
  readonly bites: Bites;
  /** Starts a node's process. */
  readonly start: (node: SimulatedNode) => void;
}

/** Makes the troubles of hostile members. */
export class MemberTroubles {
  readonly #init: MemberTroublesInit;
  readonly #ruled: RuledMember;
  readonly #acting: ActingTroubles;
  readonly #newestMute = new Map<string, HostileMember>();
  #members = 0;
  #hasSquatter = false;

  constructor(init: MemberTroublesInit) {
    this.#init = init;
    this.#ruled = new RuledMember({ ...init, member: () => this.#member(ruledName) });
    this.#acting = new ActingTroubles({ ...init, member: (name, isListed) => this.#member(name, isListed) });
  }

  /** What a trouble does at the beginning of a run. */
  prepare({ kind }: ScenarioEvent): void {
    if (kind !== "forger" || this.#hasSquatter) return;
    this.#hasSquatter = true;
    const { sim } = this.#init;
    const role = randomOf(sim.seed, "forger/squatter").pick(squatterRoles);
    const member = this.#member(`forger/squatter/${role}`, true);
    const stranger = this.#init.credentials.get("forger/stranger");
    if (member === undefined || stranger === undefined) return;
    new Squatter({ ...this.#init, member, stranger: peerOfCredential(stranger) }).begin();
  }

  make(event: ScenarioEvent, node: SimulatedNode): void {
    const { kind, forMs, amount } = event;
    switch (kind) {
      case "second-certificate":
        return this.#comeTwice(node, amount < 0.4 ? "second/role" : "second/serial", amount);
      case "crowd":
        return this.#crowd(node);
      case "forger":
        return new Forger({ ...this.#init, member: (name) => this.#member(name, true) }).begin(node);
      case "mute":
        return amount > 0.5 && (node.role === "worker" || node.role === "data")
          ? this.#silence(node, forMs)
          : this.#keepSilent(node, amount < 0.25);
      case "rules":
        return this.#ruled.begin(node, event);
      case "wrong-role":
        return this.#acting.actOutOfRole(node, amount);
      case "denied":
        return this.#acting.deny(node);
      case "expensive":
        return this.#makeExpensive(node, event);
      case "partner":
        return this.#floodByPartner(node, event);
      case "relayed":
        return amount < undialableShare ? undefined : this.#comeBothWays(node);
    }
  }

  #member(name: string, isListed = false): HostileMember | undefined {
    const credential = this.#init.credentials.get(name);
    this.#members += 1;
    const { sim } = this.#init;
    return credential && new HostileMember({ sim, credential, number: this.#members, isListed });
  }

  #makeExpensive(node: SimulatedNode, event: ScenarioEvent): void {
    const member = this.#member("expensive");
    if (member !== undefined) new ExpensiveMember({ sim: this.#init.sim, member }).begin(node, event);
  }

  #floodByPartner(node: SimulatedNode, event: ScenarioEvent): void {
    const { sim, partner } = this.#init;
    if (partner === undefined) return;
    const member = ({ credential, above }: PartnerCredential) => {
      this.#members += 1;
      return new HostileMember({ sim, credential, above, number: this.#members });
    };
    floodByPartner({ ...this.#init, partner, member }, node, event);
  }

  // ── A second certificate ──

  /** The same key with another certificate connects beside the first, acts with both, and one of them leaves or is revoked. */
  #comeTwice(node: SimulatedNode, name: string, amount: number): void {
    const { sim, credentials, bites } = this.#init;
    const member = this.#member("second/first");
    const second = credentials.get(name);
    if (member === undefined || second === undefined) return;
    const connections: WireConnection[] = [];
    member.dial(node.address, (connection) => connections.push(connection));
    sim.after(500, () => {
      member.show(second);
      member.dial(node.address, (connection) => {
        connections.push(connection);
        if (member.open.length > 1) bites.note("second-certificate");
      });
    });
    const { uuid } = randomOf(sim.seed, `second/${node.name}/${sim.now}`);
    for (let at = 1_200; at < stayMs; at += 800) {
      sim.after(at, () => {
        for (const connection of member.open) {
          member.hostile.exchange(connection, api, encodeMessage(api, "request", { RenewLease: { id: uuid() } }));
          member.hostile.exchange(connection, streamProtocols[0], Uint8Array.of(1, 2, 3));
        }
      });
    }
    // One leaves before the list can come, or after it.
    sim.after(amount % 0.2 < 0.1 ? 1_900 : 12_000, () => connections.at(amount % 0.4 < 0.2 ? 0 : -1)?.close("now", ""));
    sim.after(stayMs, () => member.stop());
  }

  // ── Many connections ──

  /** More connections than two slices of a re-verification; the members that connect last are revoked. */
  #crowd(node: SimulatedNode): void {
    const { sim, bites, checker } = this.#init;
    const members = Array.from({ length: crowdSize }, (_, nth) => this.#member(`crowd/${nth + 1}`));
    const [greedy] = members;
    const max = valueOf(node.options.knobs ?? {}, "connectionsPerPeerMax");
    for (const [nth, member] of members.entries()) {
      const times = member === greedy ? max + crowdEach : crowdEach;
      for (let time = 0; time < times; time++) {
        sim.after((nth * crowdEach + time) * crowdEveryMs, () => member?.dial(node.address));
      }
    }
    sim.after(crowdSize * crowdEach * crowdEveryMs + 1_500, () => {
      const open = members.map((member) => member?.open.length ?? 0);
      if (open.reduce((sum, count) => sum + count, 0) > crowdMin) bites.note("crowd");
      const of = greedy?.peer ?? "";
      const held = [...node.sessions].map((session) => countOf(session.connections(), of));
      if (Math.max(0, ...held) > max) {
        checker.violate("bounded", node.name, `${held} connections of one peer, of ${max}`);
      }
    });
    sim.after(stayMs, () => members.forEach((member) => member?.stop()));
  }

  // ── Silence ──

  /** Half of a request, half of a head, or nothing, on a stream of each protocol. Nothing is read. It stays connected. */
  #keepSilent(node: SimulatedNode, isGreedy: boolean): void {
    const { sim, bites } = this.#init;
    const member = this.#member("mute");
    if (member !== undefined) this.#newestMute.set(node.name, member);
    const question = encodeMessage(api, "request", { Data: { dataset: "digits" } });
    const half = question.subarray(0, question.length >> 1);
    member?.dial(node.address, (connection) => {
      bites.note("mute");
      for (const protocol of messageProtocols) {
        member.hostile.open(connection, protocol).send(half);
        const unread = member.hostile.open(connection, protocol);
        unread.pause();
        unread.end(protocol === health ? encodeMessage(health, "request", {}) : question);
      }
      for (const protocol of streamProtocols) member.hostile.open(connection, protocol).send(Uint8Array.of(0));
      member.hostile.open(connection, kadProtocol).send(Uint8Array.of(200, 1, 8));
      member.hostile.open(connection, kadProtocol);
      // A worker that answers with an offer waits for an answer of its own.
      sim.after(500, () => this.#askForWorkers(member));
      if (!isGreedy) return;
      for (let nth = 0; nth < streamsPerPeerMax + 20; nth++) {
        member.hostile.open(connection, health).send(Uint8Array.of(0xbf));
      }
      sim.after(muteOverMs, () => this.#askAgain(node, member, connection));
    });
  }

  /** It has no stream open now. One that is reset at once found no place. */
  #askAgain(node: SimulatedNode, member: HostileMember, connection: WireConnection): void {
    const { sim, checker } = this.#init;
    const askedAt = sim.time.now;
    member.askHealth(connection, ({ how }) => {
      if (how !== "reset" || sim.time.now - askedAt > soonMs) return;
      // A node that stops resets its streams too, and then its connections.
      sim.after(soonMs, () => {
        // Mute members share a key, and its places: while a later one holds them, the earlier one has none.
        const isNewest = this.#newestMute.get(node.name) === member;
        if (connection.isOpen && isNewest) {
          checker.violate("places-return", node.name, "refused a member's only stream");
        }
      });
    });
  }

  /** An attacker in a node's process: it answers no request. */
  #silence(node: SimulatedNode, forMs: number): void {
    const { sim: { network }, sim, bites } = this.#init;
    const tamper: Parameters<typeof network.tamper>[1] = (frame) => {
      const { type, isReply, protocol } = frame as StreamDataFrame;
      if (type !== "stream.data" || !isReply || !isMessageProtocol(protocol)) return [{ frame, laterMs: 0 }];
      bites.note("mute");
      return [];
    };
    network.tamper(node.name, tamper);
    sim.after(forMs, () => {
      if (network.tamperOf(node.name) === tamper) network.tamper(node.name, undefined);
    });
  }

  // ── Two ways ──

  /** A member comes through a gateway and directly: what the node opens to it must take the direct way. */
  #comeBothWays(node: SimulatedNode): void {
    const { sim, bites, checker } = this.#init;
    const gateway = [...sim.nodes.values()].find(({ role, isRunning }) => role === "gateway" && isRunning);
    const member = this.#member("relayed");
    if (gateway === undefined || member === undefined) return;
    let both: WireConnection | undefined;
    member.hostile.onOffered = (connection, { protocol }) => {
      if (connection.relay !== undefined && both?.isOpen === true) {
        checker.violate("direct-first", node.name, `opened ${protocol} over a relay`);
      }
      return undefined;
    };
    member.dial(circuitTo(gateway, node.peer), (relayed) => {
      bites.note("relayed");
      // What the node opened before the direct connection was established there is on its way for a while.
      member.dial(node.address, (direct) =>
        sim.after(2_000, () => {
          if (relayed.isOpen && direct.isOpen) both = direct;
        }));
    });
    for (let at = 3_500; at < stayMs - 4_000; at += 2_500) {
      sim.after(at, () => this.#askForWorkers(member));
    }
    sim.after(stayMs, () => member.stop());
  }

  #askForWorkers({ hostile: { wire } }: HostileMember): void {
    const { sim } = this.#init;
    const { uuid } = randomOf(sim.seed, `wanted/${this.#members}/${sim.now}`);
    wire.serve(api);
    wire.publish(workerTopic, encodeWorkerRequest(requestForWorkers(uuid(), sim.time.now)), () => {});
  }
}

function circuitTo({ address, peer }: SimulatedNode, to: PeerText): string {
  return `${address}/p2p/${peer}/p2p-circuit/p2p/${to}`;
}

function countOf(rows: Iterable<ConnectionRow>, peer: PeerText): number {
  let count = 0;
  for (const { established, gate: { identity } } of rows) if (established && identity?.peer === peer) count += 1;
  return count;
}
