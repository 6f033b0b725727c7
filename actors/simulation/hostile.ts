/**
 * Hostile peers: strangers with bad certificates, members that do what they may not, and honest nodes whose process an
 * attacker took over.
 *
 * @module
 */
import type { WireConnection } from "../../transport/core/wire.ts";
import { isStreamProtocol } from "../../transport/port.ts";
import { isMessageProtocol, type JobSpec } from "../../transport/protocols/messages.ts";
import { isHandshake, type StreamDataFrame } from "../../transport/simulated/frames.ts";
import type { Frame, Tamper } from "../../transport/simulated/network.ts";
import type { Commitments } from "../worker/commitments.ts";
import { Adversary } from "./adversary.ts";
import { type Credential, peerOfCredential } from "./authority.ts";
import { type Bites, hostileNetwork } from "./bites.ts";
import type { Checker } from "./checker.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import { requestForWorkers } from "./hostile_member.ts";
import { MemberTroubles } from "./member_troubles.ts";
import { NodeClock } from "./node_clock.ts";
import type { Partner } from "./partner_domain.ts";
import { randomOf, type RandomStream } from "../runtime/random.ts";
import type { FaultKind, ScenarioEvent } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";

/** What a flooding member sends: bursts, messages in each, and the time between them, in milliseconds. */
const floodBursts = 24;
const floodEach = 24;
const floodEveryMs = 100;
/** Answers that a garbling node remembers, to repeat them. */
const answersMax = 64;
/** The longest delay of a delaying gateway, in milliseconds. */
const delayMaxMs = 6_000;
/** After this, in milliseconds, a node closes a connection whose other end does not answer: libp2p's interval and our limit for a ping. */
const keepAliveMs = 30_000;
/** Everything that a node sent while it was taken over has arrived after this, in milliseconds. */
const lateMs = 10_000;
/** The resources that a lying worker claims. */
const lie = { gpu: 64, cpu: 512, storage: 100_000, memory: 4_096 } as const;

/** What hostile peers are created with. */
export interface HostileInit {
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

/** Makes them, and ends them. */
export class Hostile {
  readonly #init: HostileInit;
  /** Until when an attacker answers for a node, by name. */
  readonly #takenOver = new Map<string, number>();
  readonly #members: MemberTroubles;
  #adversaries = 0;

  constructor(init: HostileInit) {
    this.#init = init;
    this.#members = new MemberTroubles(init);
  }

  /** What a trouble does at the beginning of a run. */
  prepare(event: ScenarioEvent): void {
    this.#members.prepare(event);
  }

  make(event: ScenarioEvent, node: SimulatedNode): void {
    const { kind, forMs, amount } = event;
    switch (kind) {
      case "second-certificate":
      case "crowd":
      case "forger":
      case "mute":
      case "relayed":
      case "rules":
      case "wrong-role":
      case "denied":
      case "expensive":
      case "partner":
        return this.#members.make(event, node);
      case "half-open":
      case "flood":
        return this.#flood(kind, node, amount);
      case "intruder":
      case "nonsense":
        return this.#intrude(kind, node);
      case "flooding-member":
        return this.#floodWithin(node);
      case "lying-worker":
        return this.#lie(node, forMs);
      case "garbage-answers":
        return this.#takeOver(node, { kind, forMs }, garbling);
      case "dropping-gateway":
        return this.#takeOver(node, { kind, forMs }, dropping);
      case "delaying-gateway":
        return this.#takeOver(node, { kind, forMs }, delaying);
      default:
        return this.#impose(kind as FaultKind, node);
    }
  }

  #adversary(
    chain: readonly Uint8Array[],
    options: { proven: boolean; peer?: string; silent?: boolean; version?: string },
  ): Adversary {
    this.#adversaries += 1;
    const name = `adversary-${this.#adversaries}`;
    const address = `${hostileNetwork}${this.#adversaries}/tcp/666`;
    const { network, time, seed } = this.#init.sim;
    const { uuid } = randomOf(seed, `adversary/${name}`);
    return new Adversary({ name, network, clock: new NodeClock(time), address, uuid, chain, peer: "", ...options });
  }

  #impose(kind: FaultKind, node: SimulatedNode): void {
    const { sim, credentials } = this.#init;
    const credential = credentials.get(kind === "malformed" ? "old-tls" : kind);
    const chain = credential === undefined ? [] : [credential.der, sim.authority.intermediate.der];
    // Cut short: it does not parse.
    if (kind === "malformed") chain[0] = (chain[0] as Uint8Array).slice(0, -9);
    const version = kind === "old-tls" ? { version: "TLSv1.2" } : {};
    const adversary = this.#adversary(chain, { proven: kind !== "stolen-certificate", ...version });
    for (let dial = 0; dial < 3; dial++) sim.after(dial * 700, () => adversary.dial(node.address));
    sim.after(8_000, () => adversary.stop());
  }

  #flood(kind: "half-open" | "flood", node: SimulatedNode, amount: number): void {
    const { sim } = this.#init;
    const adversary = this.#adversary([], { proven: false, silent: kind === "half-open" });
    const dials = 20 + Math.floor(amount * 40);
    for (let dial = 0; dial < dials; dial++) sim.after(dial * (5 + amount * 40), () => adversary.dial(node.address));
    sim.after(25_000, () => adversary.stop());
  }

  // ── Members ──

  #insider(): { readonly adversary: Adversary; readonly peer: string } | undefined {
    const { sim, credentials } = this.#init;
    const insider = credentials.get("insider");
    if (insider === undefined) return undefined;
    const peer = peerOfCredential(insider);
    const adversary = this.#adversary([insider.der, sim.authority.intermediate.der], { proven: true, peer });
    return { adversary, peer };
  }

  /** A member that uses the leases of others, or sends nonsense. */
  #intrude(kind: "intruder" | "nonsense", node: SimulatedNode): void {
    const { sim, checker, bites } = this.#init;
    const insider = this.#insider();
    if (insider === undefined) return;
    const { adversary, peer } = insider;
    const random = randomOf(sim.seed, `intruder/${node.name}/${this.#adversaries}`);
    adversary.onAnswer = (answer) => {
      if ("RenewLease" in answer || "DispatchJob" in answer) bites.note(kind);
      if (sim.now < (this.#takenOver.get(node.name) ?? 0)) return; // it may send the answer for another peer
      const renewed = "RenewLease" in answer && typeof answer.RenewLease === "object";
      if (renewed) checker.violate("one-holder", node.name, "a stranger renewed a lease");
      const took = "DispatchJob" in answer && typeof answer.DispatchJob === "object";
      if (took) checker.violate("one-holder", node.name, "a stranger's job was taken");
    };
    adversary.onAdmitted = (connection) => {
      for (let time = 0; time < 12; time++) {
        sim.after(200 + time * 900, () => {
          if (!connection.isOpen) return;
          if (kind === "nonsense") {
            adversary.request(connection, "/hypha-api/0.0.1", undefined);
            adversary.request(connection, "/hypha-progress/0.0.1", { job_id: random.uuid(), progress: "updated" });
            adversary.push(connection, random.bytes(32));
            return;
          }
          for (const id of promisesToOthers(node, peer)) {
            adversary.request(connection, "/hypha-api/0.0.1", { RenewLease: { id } });
          }
          for (const spec of specsOf(node)) {
            adversary.request(connection, "/hypha-api/0.0.1", { DispatchJob: { id: random.uuid(), spec } });
          }
          adversary.push(connection, random.bytes(32));
        });
      }
    };
    adversary.dial(node.address);
    sim.after(14_000, () => adversary.stop());
  }

  /** A member that sends requests of every kind without pause. */
  #floodWithin(node: SimulatedNode): void {
    const { sim } = this.#init;
    const insider = this.#insider();
    if (insider === undefined) return;
    const { adversary } = insider;
    const random = randomOf(sim.seed, `flooding/${node.name}/${this.#adversaries}`);
    adversary.onAdmitted = (connection) => {
      this.#init.bites.note("flooding-member");
      for (let burst = 0; burst < floodBursts; burst++) {
        sim.after(burst * floodEveryMs, () => {
          for (let each = 0; each < floodEach && connection.isOpen; each++) {
            floodOnce(adversary, connection, { random, now: sim.time.now });
          }
        });
      }
    };
    adversary.dial(node.address);
    sim.after(20_000, () => adversary.stop());
  }

  // ── Honest nodes ──

  /** It claims resources that it lacks: jobs that use them are killed. */
  #lie(node: SimulatedNode, forMs: number): void {
    const { sim, start } = this.#init;
    const restart = (claims: typeof lie | undefined) => {
      node.crash(true);
      node.claims = claims;
      node.habit = claims === undefined ? "honest" : "starving";
      start(node);
    };
    restart(lie);
    sim.after(forMs + 5_000, () => restart(undefined));
  }

  /** An attacker takes over the node's process and key, and changes what the node sends above the handshake. */
  #takeOver(
    node: SimulatedNode,
    { kind, forMs }: Pick<ScenarioEvent, "kind" | "forMs">,
    make: (random: RandomStream) => Tamper,
  ): void {
    const { sim } = this.#init;
    const tamper = make(randomOf(sim.seed, `taken over/${node.name}/${sim.now}`));
    sim.network.tamper(node.name, (frame, remote) => {
      if (isHandshake(frame)) return [{ frame, laterMs: 0 }];
      const sent = tamper(frame, remote);
      if (sent[0]?.frame !== frame || sent[0].laterMs > 0) this.#init.bites.note(kind);
      return sent;
    });
    this.#takenOver.set(node.name, sim.now + forMs + lateMs);
    sim.after(forMs, () => sim.network.tamper(node.name, undefined));
  }
}

const dropping = (random: RandomStream): Tamper => (frame) => {
  if (!random.chance(0.6)) return [{ frame, laterMs: 0 }];
  // The keep-alive of a circuit's end finds that the other is gone.
  return frame.type === "relay.end" ? [{ frame, laterMs: keepAliveMs }] : [];
};

const delaying = (random: RandomStream): Tamper => (frame) => [{ frame, laterMs: random.next() * delayMaxMs }];

/** Answers with what does not decode, or with the answer for another peer; garbles half of what it streams. */
function garbling(random: RandomStream): Tamper {
  const earlier: Answer[] = [];
  return (frame) => [{ frame: frame.type === "stream.data" ? garbled(frame, random, earlier) : frame, laterMs: 0 }];
}

/** An answer that a garbling node sent. */
interface Answer {
  readonly protocol: string;
  readonly bytes: Uint8Array;
}

function garbled(frame: Frame, random: RandomStream, earlier: Answer[]): Frame {
  const { protocol, bytes, isReply } = frame as StreamDataFrame;
  const withBytes = (other: Uint8Array) => ({ ...frame, bytes: other, size: other.length });
  if (bytes.length === 0) return frame;
  if (isStreamProtocol(protocol)) return random.chance(0.5) ? withBytes(random.bytes(bytes.length)) : frame;
  if (!isReply || !isMessageProtocol(protocol)) return frame;
  const known = earlier.filter((answer) => answer.protocol === protocol);
  if (earlier.length < answersMax) earlier.push({ protocol, bytes });
  if (random.chance(0.4)) return frame;
  const isNonsense = random.chance(0.5) || known.length === 0;
  return withBytes(isNonsense ? random.bytes(bytes.length) : random.pick(known).bytes);
}

function floodOnce(
  adversary: Adversary,
  connection: WireConnection,
  { random, now }: { readonly random: RandomStream; readonly now: number },
): void {
  const id = random.uuid();
  switch (random.whole(0, 6)) {
    case 0:
      return adversary.request(connection, "/hypha-health/0.0.1", {});
    case 1:
      return adversary.request(connection, "/hypha-api/0.0.1", { RenewLease: { id } });
    case 2:
      return adversary.request(connection, "/hypha-api/0.0.1", { Data: { dataset: id } });
    case 3:
      return adversary.request(connection, "/hypha-progress/0.0.1", { job_id: id, progress: "updated" });
    case 4:
      return adversary.push(connection, random.bytes(16));
    default: {
      return adversary.publish(requestForWorkers(id, now));
    }
  }
}

function bookOf(node: SimulatedNode): Commitments | undefined {
  return (node.roleActor?.getSnapshot() as { context: { book?: Commitments } } | undefined)?.context.book;
}

/**
 * The ids of a worker's offers and leases; they are no secrets. Without those that the worker made to the intruder's own key
 * (a flood used the same certificate): the intruder may take these.
 */
function promisesToOthers(node: SimulatedNode, peer: string): readonly string[] {
  const book = bookOf(node);
  if (book === undefined) return [];
  const offers = Object.values(book.offers).filter(({ to }) => to !== peer);
  const leases = Object.values(book.leases).filter((lease) => lease.peer !== peer);
  return [...offers, ...leases].map(({ id }) => id).slice(0, 8);
}

function specsOf(node: SimulatedNode): readonly JobSpec[] {
  const book = bookOf(node);
  return book === undefined ? [] : Object.values(book.jobs).map(({ spec }) => spec).slice(0, 2);
}
