/**
 * A network of nodes with audit logs and witnesses, in virtual time: the production machines of witnesses, real keys, certificates,
 * checkpoints and proofs. Connections, messages and disks are simulated.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { Effect, type Exit, Result } from "effect";
import { fromCallback, type InspectionEvent } from "xstate";
import type { PeerIdentity } from "../../pki/path.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import type { MemberRole } from "../../pki/certificate.ts";
import { type NodeIdentity, type TransportAsk, TransportError } from "../../transport/port.ts";
import type { AuditRequest, AuditResponse } from "../../transport/protocols/messages.ts";
import { decodeMessage, encodeMessage } from "../../transport/protocols/mod.ts";
import { originOf } from "../audit/checkpoint.ts";
import type { Report, Run } from "../runtime/ports.ts";
import { randomOf, type RandomStream } from "../runtime/random.ts";
import type { TransportRef } from "../runtime/role.ts";
import { superviseRoot } from "../runtime/supervise.ts";
import { makeIdentity } from "../trust/make_identity.ts";
import type { HeldLog } from "../witness/held_head.ts";
import { witnessMachine, type WitnessRef } from "../witness/witness.ts";
import { keyOf, organisationOf } from "./authority.ts";
import { KeptLog } from "./kept_log.ts";
import { NodeClock } from "./node_clock.ts";
import { startsAt } from "./simulation.ts";
import { Trace } from "./trace.ts";
import { VirtualTime } from "./virtual_time.ts";

const dayMs = 86_400_000;
const protocol = "/hypha-audit/1";

/** A node of the world. */
export interface WitnessNode {
  readonly name: string;
  readonly role: MemberRole;
  readonly origin: string;
  readonly peer: PeerIdentity;
  readonly identity: NodeIdentity;
  readonly reports: Report[];
  /** What its disk has: it survives the process. */
  readonly disk: Map<string, HeldLog>;
  /** So many times its disk cannot be read. */
  failingReads: number;
  /** Whether its process knows the protocol. */
  isServing: boolean;
  /** Its log, as it shows it to a peer. */
  logFor: (asker: string) => KeptLog;
  /** One machine for each log that it shows. */
  readonly machines: Map<KeptLog | undefined, WitnessRef & { stop(): unknown }>;
  clock: NodeClock;
}

/** What a node is made with. */
export interface WitnessNodeInit {
  readonly name: string;
  readonly role: MemberRole;
  /** Whether it witnesses the logs of others; gateways and CAs do. */
  readonly isWitness?: boolean;
}

/** Options of a world. */
export interface WitnessWorldInit {
  readonly seed: number | string;
  readonly everyMs: number;
  readonly keepTrace?: boolean;
  /** The part of messages that is lost. */
  readonly loss?: number;
  /** Sees every event of the machines. */
  readonly inspect?: ((event: InspectionEvent) => void) | undefined;
}

/** The world. */
export class WitnessWorld {
  readonly time: VirtualTime = new VirtualTime(startsAt);
  readonly nodes = new Map<string, WitnessNode>();
  readonly trace: Trace;
  readonly #init: WitnessWorldInit;
  readonly #links = new Set<string>();
  readonly #latency: RandomStream;
  readonly #snapshot: TrustSnapshot;
  readonly #exchanges = new Map<
    string,
    { readonly node: string; readonly answer: (response: AuditResponse | undefined) => void }
  >();
  #count = 0;
  #results: { readonly id: number; readonly deliver: () => void }[] = [];
  #working = 0;

  private constructor(init: WitnessWorldInit, snapshot: TrustSnapshot) {
    this.#init = init;
    this.#snapshot = snapshot;
    this.#latency = randomOf(init.seed, "witness/latency");
    this.trace = new Trace(init.keepTrace === true);
  }

  static async make(init: WitnessWorldInit): Promise<WitnessWorld> {
    const { trustPem } = await organisationOf(init.seed, periodOfAuthority);
    const made = makeTrustSnapshot({ trustPem, policy: defaultPolicy, generation: 1, at: new Date(startsAt) });
    return new WitnessWorld(init, Result.getOrThrow(made).snapshot);
  }

  /** Milliseconds since the start. */
  get now(): number {
    return this.time.now - startsAt;
  }

  async add({ name, role, isWitness = role === "gateway" || role === "ca" }: WitnessNodeInit): Promise<WitnessNode> {
    const authority = await organisationOf(this.#init.seed, periodOfAuthority);
    const period = { notBefore: new Date(startsAt - dayMs), notAfter: new Date(startsAt + 365 * dayMs) };
    const { chainPem: certPem, keyPem } = await authority.node(name, { role, ...period });
    const identity = Result.getOrThrow(makeIdentity({ certPem, keyPem }, { at: new Date(startsAt) }));
    const { identity: peer } = Result.getOrThrow(
      verifyPath(identity.chain, this.#snapshot, { at: new Date(startsAt) }),
    );
    const id = peer.names.find((each) => each.startsWith("URI:"))?.slice("URI:".length) ?? name;
    const log = new KeptLog(originOf(id), keyOf(this.#init.seed, `audit/${name}`));
    const node: WitnessNode = {
      ...{ name, role, origin: originOf(id), peer, identity, reports: [], disk: new Map(), machines: new Map() },
      failingReads: 0,
      isServing: true,
      logFor: () => log,
      clock: new NodeClock(this.time),
    };
    this.nodes.set(name, node);
    this.#start(node, log, isWitness);
    return node;
  }

  /** A node shows this log to some: another machine answers for it. */
  show(node: WitnessNode, log: KeptLog): void {
    if (!node.machines.has(log)) this.#start(node, log, false);
  }

  #start(node: WitnessNode, log: KeptLog, isWitness: boolean): void {
    const { name, clock, disk } = node;
    const random = randomOf(this.#init.seed, `witness/${name}/${node.machines.size}`);
    const heads = {
      read: () => {
        if (node.failingReads === 0) return Promise.resolve({ logs: [...disk.values()], damaged: [] });
        node.failingReads -= 1;
        return Promise.reject(new Error("EMFILE: too many open files, scandir"));
      },
      write: (held: HeldLog) => Promise.resolve(void disk.set(held.head.origin, held)),
      remove: (origin: string) => Promise.resolve(void disk.delete(origin)),
    };
    const report = (line: Report) => {
      node.reports.push(line);
      this.#note(name, "report", `${line.event} ${line.message}`);
    };
    const ports = { now: () => clock.now(), random: random.next, uuid: random.uuid, report, run: this.#run(clock) };
    const onError = (error: unknown) => {
      throw error;
    };
    const machine = superviseRoot(witnessMachine, {
      id: name,
      clock: clock.machine,
      input: { ports, log, heads: isWitness ? heads : undefined, everyMs: this.#init.everyMs },
      onError,
      ...(this.#init.inspect === undefined ? {} : { inspect: this.#init.inspect }),
    });
    node.machines.set(log, machine);
    machine.send({ type: "trust.changed", snapshot: this.#snapshot });
    machine.send({ type: "identity.changed", identity: node.identity });
    const transport = superviseRoot(
      fromCallback<TransportAsk>(({ receive }) => receive((ask) => this.#ask(node, ask))),
      { id: `transport of ${name}`, input: undefined, onError },
    );
    machine.send({ type: "transport.changed", transport: transport as unknown as TransportRef });
  }

  /** A witness's process ends and starts again, with what its disk has. */
  restart(node: WitnessNode): void {
    const [log] = [...node.machines.keys()];
    for (const machine of node.machines.values()) machine.stop();
    node.clock.stop();
    node.machines.clear();
    node.clock = new NodeClock(this.time);
    const linked = [...this.nodes.values()].filter((other) => this.isLinked(node.name, other.name));
    for (const other of linked) this.cut(node.name, other.name);
    if (log !== undefined) this.#start(node, log, node.role === "gateway" || node.role === "ca");
    for (const other of linked) this.connect(node.name, other.name);
  }

  // ── Connections ──

  isLinked(one: string, other: string): boolean {
    return this.#links.has(linkOf(one, other));
  }

  connect(one: string, other: string): void {
    if (this.isLinked(one, other)) return;
    this.#links.add(linkOf(one, other));
    this.#tell(one, other, "peer.established");
  }

  cut(one: string, other: string): void {
    if (!this.#links.delete(linkOf(one, other))) return;
    this.#tell(one, other, "peer.closed");
  }

  /** The nodes have another connection before the former one has ended. */
  reconnect(one: string, other: string): void {
    this.#tell(one, other, "peer.reconnected");
  }

  #tell(one: string, other: string, type: "peer.established" | "peer.reconnected" | "peer.closed"): void {
    this.#note(one, "state", `${type} ${other}`);
    for (const [at, about] of [[one, other], [other, one]] as const) {
      const { peer: identity } = this.nodes.get(about)!;
      const fact = type === "peer.closed"
        ? { type, peer: identity.peer, identity, reason: { type: "by-them" } as const }
        : { type, peer: identity.peer, identity } as const;
      for (const machine of this.nodes.get(at)!.machines.values()) machine.send(fact);
    }
  }

  // ── Messages ──

  /** Sends a request that no machine made. */
  tell(from: WitnessNode, to: WitnessNode, request: AuditRequest): void {
    this.#later(() => this.#deliver(from, to, { request: recode("request", request), answer: () => {} }));
  }

  #ask(from: WitnessNode, ask: TransportAsk): void {
    if (ask.type === "respond" || ask.type === "decline") {
      const waiting = this.#exchanges.get(ask.exchange);
      this.#exchanges.delete(ask.exchange);
      return waiting?.answer(ask.type === "respond" ? recode("response", ask.message as AuditResponse) : undefined);
    }
    if (ask.type !== "request") return;
    const { id, peer, message, replyTo, timeoutMs } = ask;
    const to = [...this.nodes.values()].find((node) => node.peer.peer === peer);
    let isOver = false;
    const fail = (code: "not-connected" | "timed-out" | "no-answer" | "unsupported") => {
      if (isOver) return;
      isOver = true;
      replyTo.send({ type: "request.failed", id, error: new TransportError({ code, detail: "" }) });
    };
    if (to === undefined || !this.isLinked(from.name, to.name)) return this.time.soon(() => fail("not-connected"));
    if (!to.isServing) return this.time.soon(() => fail("unsupported"));
    this.time.schedule(timeoutMs, () => fail("timed-out"));
    const answer = (response: AuditResponse | undefined) =>
      this.#later(() => {
        if (!this.isLinked(from.name, to.name)) return fail("not-connected");
        if (response === undefined) return fail("no-answer");
        if (isOver) return;
        isOver = true;
        replyTo.send({ type: "response", id, message: response });
      });
    this.#later(() => this.#deliver(from, to, { request: recode("request", message as AuditRequest), answer }));
  }

  #deliver(from: WitnessNode, to: WitnessNode, { request, answer }: {
    readonly request: AuditRequest;
    readonly answer: (response: AuditResponse | undefined) => void;
  }): void {
    if (!this.isLinked(from.name, to.name)) return;
    const exchange = String(this.#count++);
    this.#exchanges.set(exchange, { node: to.name, answer });
    this.#note(to.name, "frame", JSON.stringify(Object.keys(request)));
    const [first] = to.machines.values();
    const machine = "Prove" in request ? to.machines.get(to.logFor(from.name)) : first;
    const { peer: identity } = from;
    machine?.send({ type: "request.received", exchange, peer: identity.peer, identity, protocol, message: request });
  }

  #later(task: () => void): void {
    const isLost = this.#latency.chance(this.#init.loss ?? 0);
    const delay = 1 + this.#latency.whole(0, 200);
    if (!isLost) this.time.schedule(delay, task);
  }

  #note(node: string, kind: "report" | "state" | "frame", text: string): void {
    this.trace.add({ at: this.now, node, kind, text });
  }

  // ── Time ──

  /** Runs an Effect: its result comes at the end of a step, in the order of starts. */
  #run(clock: NodeClock): Run {
    return (effect, onExit) => {
      const id = this.#count++;
      let isStopped = false;
      this.#working += 1;
      void Effect.runPromiseExit(effect as Effect.Effect<never>).then((exit) => {
        this.#working -= 1;
        const deliver = () => {
          if (!isStopped) onExit(exit as Exit.Exit<never, never>);
        };
        this.#results.push({ id, deliver: () => clock.soon(deliver) });
      });
      return () => {
        isStopped = true;
      };
    };
  }

  /** Plays up to a time, in milliseconds since the start. */
  async playTo(ms: number): Promise<void> {
    do {
      while (this.#working > 0) await setImmediate();
      const results = this.#results.toSorted((one, other) => one.id - other.id);
      this.#results = [];
      for (const { deliver } of results) deliver();
    } while (this.time.step(startsAt + ms) || this.#working > 0 || this.#results.length > 0);
  }

  /** Ends all machines. */
  stop(): void {
    for (const { machines, clock } of this.nodes.values()) {
      clock.stop();
      for (const machine of machines.values()) machine.stop();
    }
  }
}

const periodOfAuthority = { from: new Date(startsAt - dayMs), to: new Date(startsAt + 3_650 * dayMs) };
const linkOf = (one: string, other: string): string => [one, other].toSorted().join(" ");

interface AuditMessages {
  readonly request: AuditRequest;
  readonly response: AuditResponse;
}

/** A message as it arrives: encoded and decoded. */
function recode<D extends keyof AuditMessages>(direction: D, message: AuditMessages[D]): AuditMessages[D] {
  const bytes = encodeMessage(protocol, direction, message);
  return Result.getOrThrow(decodeMessage(protocol, direction, bytes));
}
