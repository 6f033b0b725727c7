/**
 * Real transports for tests: libp2p on loopback, the network's own gate, a PKI of the test's.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import { Result } from "effect";
import { createActor, setup } from "xstate";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { parseCertificate, type Role } from "../../pki/certificate.ts";
import { type PeerIdentity, verifyPath } from "../../pki/path.ts";
import { peerIdOf } from "../../pki/peer_id.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import type {
  AddressText,
  NodeIdentity,
  PeerText,
  ReplyTo,
  StreamChunk,
  StreamHandle,
  TransportAnswer,
  TransportAsk,
  TransportFact,
  TransportInput,
} from "../../transport/port.ts";
import { transportLogic } from "../../transport/libp2p/transport.ts";
import { awake } from "./awake.ts";
import type { TestNode, TestPki } from "./pki.ts";

/** An ask without its `replyTo`, which the test's transport fills in. */
type Question = TransportAsk extends infer A ? A extends { replyTo: ReplyTo<infer _> } ? Omit<A, "replyTo"> : never
  : never;

/** What a transport of a test is made with. */
export interface TestTransportOptions extends Partial<TransportInput> {
  readonly name: string;
  readonly pki: TestPki;
  /** In place of a fresh certificate of the PKI's. */
  readonly node?: TestNode;
  /** In place of production's, for a test that looks into the core. */
  readonly logic?: typeof transportLogic;
  /** Called when `start` was asked and nothing answered yet. */
  readonly early?: (send: (ask: TransportAsk) => void) => void;
}

/** A started transport. */
export interface TestTransport {
  readonly name: string;
  readonly peer: PeerText;
  readonly node: TestNode;
  readonly addresses: readonly AddressText[];
  readonly bound: readonly AddressText[];
  /** Everything it said unasked, in order. */
  readonly facts: TransportFact[];
  send(ask: TransportAsk): void;
  /** Asks and waits for the answer. */
  ask(question: Question): Promise<TransportAnswer>;
  /** The first fact, said already or within the deadline, that `select` picks. */
  fact<F>(select: (fact: TransportFact) => F | undefined | false, ms?: number): Promise<F>;
  /** Drains and stops. */
  stop(): Promise<void>;
}

/** Waits until `look` gives something, with a deadline in milliseconds of the time that this process gets. */
export async function until<T>(what: string, look: () => T | undefined | false, ms = 20_000): Promise<T> {
  const clock = awake();
  try {
    for (;;) {
      const found = look();
      if (found !== undefined && found !== false) return found;
      if (clock.ms() > ms) throw new Error(`Cannot see ${what} within ${ms} ms`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } finally {
    clock.stop();
  }
}

/** A trust snapshot of a PKI's root, or of other PEM. */
export function snapshotOf(
  pki: TestPki,
  options: { readonly trustPem?: string; readonly crlsPem?: string; readonly generation?: number } = {},
): TrustSnapshot {
  const made = makeTrustSnapshot({
    trustPem: options.trustPem ?? pki.trustPem,
    ...(options.crlsPem === undefined ? {} : { crlsPem: options.crlsPem }),
    policy: defaultPolicy,
    generation: options.generation ?? 1,
    at: new Date(),
  });
  return Result.getOrThrow(made).snapshot;
}

/** The identity that a node of a test's PKI has. */
export function identityOf(node: TestNode): NodeIdentity {
  return {
    peer: Result.getOrThrow(peerIdOf(Result.getOrThrow(parseCertificate(node.der, 0)))),
    chain: node.chain,
    certPem: node.chainPem,
    keyPem: node.keyPem,
    generation: 1,
    name: node.name,
    notAfter: new Date(Date.now() + 86_400_000),
  };
}

/** What a node's certificate proves to its peers. */
export function provenOf(pki: TestPki, node: TestNode): PeerIdentity {
  return Result.getOrThrow(verifyPath(node.chain, snapshotOf(pki), { at: new Date() })).identity;
}

/** A handshake is over within this, in milliseconds: a busy machine stands still for seconds in the middle of one. */
export const patientHandshakeMs = 30_000;

/** What a transport of a test is made with. */
export function transportInputOf(
  { pki, node, ...rest }: Partial<TransportInput> & { readonly pki: TestPki; readonly node: TestNode },
): TransportInput {
  const ports = { now: Date.now, report: () => {} };
  return {
    role: "worker" as Role,
    identity: identityOf(node),
    snapshot: snapshotOf(pki),
    makeGate: makeGateFactory({ ports }),
    listenAddresses: ["/ip4/127.0.0.1/tcp/0"],
    externalAddresses: [],
    gatewayAddresses: [],
    excludeCidr: [],
    rotation: { drain: "expiry", drainMs: 60_000 },
    relay: "off",
    keyExchange: "hybrid",
    handshakeTimeoutMs: patientHandshakeMs,
    limits: { ...defaultLimits, handshakesPerSecond: 10_000, handshakesBurst: 10_000 },
    now: Date.now,
    random: Math.random,
    uuid: randomUUID,
    ...rest,
  };
}

/** Starts a transport on loopback. */
export async function startTransport(options: TestTransportOptions): Promise<TestTransport> {
  const { name, pki, node = await pki.node(name), early, logic = transportLogic, ...rest } = options;
  const input = transportInputOf({ pki, node, ...rest });
  const facts: TransportFact[] = [];
  const parent = createActor(
    setup({
      types: { events: {} as TransportFact },
      actors: { transport: logic },
      actions: { keep: ({ event }) => void facts.push(event) },
    }).createMachine({
      invoke: { id: "transport", src: "transport", input: () => input },
      on: { "*": { actions: "keep" } },
    }),
  );
  parent.subscribe({ error: (error) => console.error(`transport ${name}`, error) });
  parent.start();
  const child = parent.getSnapshot().children["transport"] as { send(ask: TransportAsk): void };
  const send = (ask: TransportAsk) => child.send(ask);
  const ask = (question: Question) =>
    new Promise<TransportAnswer>((resolve) => send({ ...question, replyTo: { send: resolve } } as TransportAsk));
  const starting = ask({ type: "start" });
  early?.(send);
  const started = await starting;
  if (started.type !== "listening") throw new Error(`Cannot start ${name}: ${JSON.stringify(started)}`);
  return {
    name,
    peer: input.identity.peer,
    node,
    addresses: started.addresses,
    bound: started.bound,
    facts,
    send,
    ask,
    fact: (select, ms) => until(`the fact at ${name}`, () => firstOf(facts, select), ms),
    stop: async () => {
      await ask({ type: "drain" });
      parent.stop();
    },
  };
}

function firstOf<F>(facts: readonly TransportFact[], select: (fact: TransportFact) => F | undefined | false) {
  for (const fact of facts) {
    const found = select(fact);
    if (found !== undefined && found !== false) return found as F;
  }
  return undefined;
}

/** Picks facts of one type. */
export function of<T extends TransportFact["type"]>(type: T, where: (fact: Fact<T>) => boolean = () => true) {
  return (fact: TransportFact): Fact<T> | undefined =>
    fact.type === type && where(fact as Fact<T>) ? fact as Fact<T> : undefined;
}
type Fact<T> = Extract<TransportFact, { type: T }>;

/** Open sockets of this process. Deno opens its caches when it likes, so other descriptors say nothing. */
export function descriptors(): number {
  let sockets = 0;
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:")) sockets += 1;
    } catch {
      // the descriptor of the listing itself
    }
  }
  return sockets;
}

/** Reads a stream to its end. */
export async function readAll(
  stream: StreamHandle,
  run: (effect: StreamHandle["read"]) => Promise<StreamChunk>,
): Promise<{ bytes: number; outcome: "whole" | "broken"; pieces: Uint8Array[] }> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const chunk = await run(stream.read);
    if (chunk.type === "end") return { bytes, outcome: chunk.outcome, pieces };
    bytes += chunk.bytes.byteLength;
    pieces.push(chunk.bytes);
  }
}
