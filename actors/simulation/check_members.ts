/**
 * Checks what a node believes of members: whom it was told of, as whom requests and messages count, and which connections of
 * previous certificates it keeps.
 *
 * @module
 */
import { type Member, memberOf } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Session } from "../../transport/core/session.ts";
import type { PeerText, RecordAnswer, TransportFact } from "../../transport/port.ts";
import type { SimulatedConnection } from "../../transport/simulated/connection.ts";
import { ActChecks } from "./check_acts.ts";
import { type CheckInit, type Findings, trainingContextsOf } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";

/** How many slices forged records name. */
export const forgedSlices = 911;
/** Connections of a previous pair have this long to end once their time is over, in milliseconds. */
const endMs = 3_000;

/** The bytes of a stream that a node received last. */
interface Received {
  at: number;
  protocol: string;
  from: SimulatedConnection;
}

/** The newest pair that a session's connections were made with. */
interface Pair {
  generation: number;
  since: number;
}

/** Checks the members of all nodes. */
export class MemberChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #oracle: Oracle;
  readonly #received = new Map<SimulatedNode, Received>();
  /** Members that each session told of. */
  readonly #told = new WeakMap<Session, Set<Member>>();
  /** Sessions whose members did not match at the last look. */
  readonly #astray = new WeakSet<Session>();
  readonly #pairs = new WeakMap<Session, Pair>();
  readonly #acts: ActChecks;

  constructor({ sim, findings, oracle }: CheckInit & { readonly oracle: Oracle }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#oracle = oracle;
    this.#acts = new ActChecks({ sim, findings, oracle });
  }

  /** Bytes above the gate were delivered. What they make a transport tell is told in the same step. */
  received(node: SimulatedNode, from: SimulatedConnection, protocol: string): void {
    const at = this.#sim.time.now;
    const last = this.#received.get(node);
    if (last === undefined) return void this.#received.set(node, { at, protocol, from });
    last.at = at;
    last.protocol = protocol;
    last.from = from;
  }

  fact(node: SimulatedNode, fact: TransportFact, session: Session | undefined): void {
    switch (fact.type) {
      case "peer.established":
        return void this.#toldOf(session)?.add(keyFor(fact.identity));
      case "peer.closed":
        return void this.#toldOf(session)?.delete(keyFor(fact.identity));
      case "request.received":
      case "stream.received":
        return this.#checkIdentity(node, fact);
      case "published":
        this.#acts.published(node, fact.from);
        return this.#checkAuthor(node, fact.from);
    }
  }

  #toldOf(session: Session | undefined): Set<Member> | undefined {
    if (session === undefined) return undefined;
    const known = this.#told.get(session) ?? new Set<Member>();
    this.#told.set(session, known);
    return known;
  }

  #checkIdentity(
    node: SimulatedNode,
    fact: Extract<TransportFact, { type: "request.received" | "stream.received" }>,
  ): void {
    const { protocol, identity } = fact;
    const last = this.#received.get(node);
    if (last === undefined || last.at !== this.#sim.time.now || last.protocol !== protocol) return;
    if (last.from.peer !== fact.peer) return; // a stream of another peer was opened in the same moment
    const [leaf] = last.from.chain;
    if (leaf !== undefined) this.#acts.received(node, fact, leaf);
    const shown = this.#oracle.standingOf(last.from.chain[0])?.credential;
    if (shown === undefined || shown.serial === identity.serial) return;
    const detail = `${protocol} of ${shown.name} (${shown.serial}) counts as ${identity.name} (${identity.serial})`;
    this.#findings.violate("identity-of-connection", node.name, detail);
  }

  #checkAuthor(node: SimulatedNode, author: PeerText): void {
    const why = this.#oracle.mustRefusePeer(node, author, this.#sim.time.now);
    if (why === undefined) return;
    this.#findings.violate("verified-only", node.name, `a message of ${author} counted: ${why}`);
  }

  /** A look-up found a record. */
  asked(node: SimulatedNode, answer: unknown): void {
    const { type, key, value, publisher } = answer as Partial<Extract<RecordAnswer, { type: "record" }>>;
    if (type !== "record" || publisher === undefined) return;
    const why = this.#oracle.mustRefusePeer(node, publisher, this.#sim.time.now);
    if (why !== undefined) this.#findings.violate("record-owner", node.name, `found ${key} of ${publisher}: ${why}`);
    const isForged = new TextDecoder().decode(value).includes(`${forgedSlices}`);
    if (isForged) this.#findings.violate("record-owner", node.name, `found a forged ${key} of ${publisher}`);
  }

  /** Looks at every session of a node. */
  look(node: SimulatedNode): void {
    for (const session of node.sessions) {
      if (session.isStopped) continue;
      this.#lookAt(node, session);
    }
    this.#acts.look(node);
    if (node.role === "scheduler") this.#checkProvider(node);
  }

  #lookAt(node: SimulatedNode, session: Session): void {
    const told = this.#told.get(session) ?? new Set();
    const there = new Set<Member>();
    let oldest = Number.POSITIVE_INFINITY;
    let newest = 0;
    for (const { established, gate: { identity }, generation } of session.connections()) {
      if (!established || identity === undefined) continue;
      there.add(keyFor(identity));
      if (generation < oldest) oldest = generation;
      if (generation > newest) newest = generation;
    }
    if (oldest < newest) this.#checkPairs(node, session, { oldest, newest });
    const isRight = told.size === there.size && [...there].every((member) => told.has(member));
    if (isRight) return void this.#astray.delete(session);
    if (!this.#astray.has(session)) return void this.#astray.add(session);
    const wrong = [...there].filter((member) => !told.has(member)).map((member) => `not told of ${member}`);
    const gone = [...told].filter((member) => !there.has(member)).map((member) => `not told of the end of ${member}`);
    this.#findings.violate("members-told", node.name, [...wrong, ...gone].join(", "));
  }

  /** Only where certificates drain by time: elsewhere connections may last as long as their certificate. */
  #checkPairs(
    node: SimulatedNode,
    session: Session,
    { oldest, newest }: { readonly oldest: number; readonly newest: number },
  ): void {
    const drainMs = node.options.knobs?.rotationDrainMs;
    const now = this.#sim.time.now;
    const pair = this.#pairs.get(session);
    if (pair?.generation !== newest) return void this.#pairs.set(session, { generation: newest, since: now });
    if (drainMs === undefined || now - pair.since < drainMs + endMs) return;
    const detail = `a connection of pair ${oldest} is open ${Math.round(now - pair.since)} ms after pair ${newest}`;
    this.#findings.violate("previous-pair-ends", node.name, detail);
  }

  /** The data set's provider is a data node. */
  #checkProvider(node: SimulatedNode): void {
    for (const { dataset } of trainingContextsOf(node)) {
      if (dataset === undefined) continue;
      const names = this.#oracle.namesOf(dataset.provider);
      const isData = names.some((name) => this.#sim.nodes.get(name)?.role === "data");
      if (isData) continue;
      const detail = `the data set is ${names.join(", ") || "a stranger"}'s (${dataset.provider})`;
      this.#findings.violate("record-owner", node.name, detail);
    }
  }
}

const members = new WeakMap<PeerIdentity, Member>();

function keyFor(identity: PeerIdentity): Member {
  const known = members.get(identity);
  if (known !== undefined) return known;
  const member = memberOf(identity);
  members.set(identity, member);
  return member;
}
