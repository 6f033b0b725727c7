/**
 * Checks what members cost a node: the work that it does for each, the streams that it lets it open, and the bytes that it holds
 * for it.
 *
 * All of it is seen at the wire, and prices and limits stand here once more: nothing is asked of the core. Only work that was done
 * counts: a request and a question of Kademlia at their answer. So the sum is never above what the core had to charge.
 *
 * @module
 */
import { kadProtocol } from "../../transport/core/wire.ts";
import type { PeerText, TransportFact } from "../../transport/port.ts";
import { isMessageProtocol } from "../../transport/protocols/messages.ts";
import type { WireWork } from "../../transport/simulated/wire.ts";
import type { CheckInit, Findings } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";

/** Prices in microseconds (`docs/security.md`, "What a member may cost"): of a stream, an answer, and a KiB that is read or decoded. */
const streamUs = 300;
const requestUs = 400;
const questionUs = 120;
const readKibUs = 1;
const decodedKibUs = 10;
/** What a member may cost: in the long run, at once, and the last piece of work of each of its streams, in microseconds. */
const perMsUs = 100;
const atOnceUs = 1_000_000;
const lastUs = 200_000;
/** Streams that it may have open, of Kademlia and others; bytes that are held for it, and the piece that goes beyond. */
const streamsMax = 128;
const questionStreamsMax = 64;
const heldMax = 33_554_432;
const pieceMax = 262_144;

/** What one member costs one wire of a node. */
interface Account {
  /** Work that its allowance has not covered yet, in microseconds. */
  us: number;
  at: number;
  /** The open streams that it opened, with the bytes that were read of each since its last answer. */
  readonly streams: Map<object, number>;
  questionStreams: number;
  heldBytes: number;
}

/** Checks the costs of all members. */
export class CostChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #oracle: Oracle;
  /** By wire: a restarted process has a new one, without entries. */
  readonly #accounts = new WeakMap<object, Map<PeerText, Account>>();

  constructor({ sim, findings, oracle }: CheckInit & { readonly oracle: Oracle }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#oracle = oracle;
  }

  /** A peer made a node do something. */
  worked(node: SimulatedNode, work: WireWork): void {
    const account = this.#accountOf(work);
    this.#spend(account, work);
    this.#count(account, work);
    const names = () => this.#oracle.namesOf(work.peer).join(", ") || work.peer;
    if (account.us > atOnceUs + lastUs) {
      this.#violate(node, `works ${Math.round(account.us / 1_000)} ms more for ${names()} than its allowance`);
    }
    const others = account.streams.size - account.questionStreams;
    if (others > streamsMax || account.questionStreams > questionStreamsMax) {
      this.#violate(node, `has ${others} and ${account.questionStreams} streams of ${names()} open`);
    }
    if (account.heldBytes > heldMax + pieceMax) {
      this.#violate(node, `holds ${account.heldBytes} bytes for ${names()}`);
    }
  }

  /** No honest member costs too much. */
  fact(node: SimulatedNode, fact: TransportFact): void {
    if (fact.type !== "peer.refused" || fact.refusal.code !== "too-expensive" || fact.peer === undefined) return;
    const honest = this.#oracle.namesOf(fact.peer.id).find((name) => this.#sim.nodes.has(name));
    if (honest !== undefined) this.#violate(node, `refused ${honest}: ${fact.refusal.message}`);
  }

  #violate(node: SimulatedNode, detail: string): void {
    this.#findings.violate("cost-bounded", node.name, detail);
  }

  #accountOf({ wire, peer }: WireWork): Account {
    const accounts = this.#accounts.get(wire) ?? new Map<PeerText, Account>();
    this.#accounts.set(wire, accounts);
    const known = accounts.get(peer);
    if (known !== undefined) return known;
    const account = { us: 0, at: this.#sim.time.now, streams: new Map(), questionStreams: 0, heldBytes: 0 };
    accounts.set(peer, account);
    return account;
  }

  /** What was done within any time is at most what may be done at once, and the time's allowance. */
  #spend(account: Account, work: WireWork): void {
    const { now } = this.#sim.time;
    account.us = Math.max(0, account.us - (now - account.at) * perMsUs) + priceOf(account, work);
    account.at = now;
  }

  #count(account: Account, { stream, what, bytes }: WireWork): void {
    const { streams } = account;
    const held = streams.get(stream);
    const step = stream.protocol === kadProtocol ? 1 : 0;
    if (what === "taken") {
      streams.set(stream, 0);
      account.questionStreams += step;
    } else if (held !== undefined && what === "over") {
      streams.delete(stream);
      account.questionStreams -= step;
      account.heldBytes -= held;
    } else if (held !== undefined && isRead(stream.protocol)) {
      const now = what === "read" ? held + bytes : 0;
      streams.set(stream, now);
      account.heldBytes += now - held;
    }
  }
}

/** Whether the core reads messages from streams of a protocol: it hands others over. */
function isRead(protocol: string): boolean {
  return protocol === kadProtocol || isMessageProtocol(protocol);
}

function priceOf({ streams }: Account, { stream, what, bytes }: WireWork): number {
  switch (what) {
    case "offered":
      return streamUs;
    case "read":
      return readKibUs * bytes / 1_024;
    case "answered": {
      if (!isRead(stream.protocol)) return 0;
      const eachUs = stream.protocol === kadProtocol ? questionUs : requestUs;
      return eachUs + decodedKibUs * (streams.get(stream) ?? 0) / 1_024;
    }
    default:
      return 0;
  }
}
