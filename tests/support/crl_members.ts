/**
 * Members with a list exchange over real transports, and members that a test plays.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Result } from "effect";
import { createActor, setup, type SimulatedClock } from "xstate";
import { crlExchangeMachine } from "../../actors/crl_exchange/exchange.ts";
import { keptPath } from "../../actors/files/state_directory.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import type { TransportRef } from "../../actors/runtime/role.ts";
import type { Role } from "../../pki/certificate.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey, ownDomain } from "../../pki/crl_marks.ts";
import { type CrlRequest as ListTerms, issueCrlDer } from "../../pki/issue/issue_crl.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import { transportLogic } from "../../transport/libp2p/transport.ts";
import type { PeerText, TransportAsk, TransportFact } from "../../transport/port.ts";
import type { CrlNotice, CrlRequest, CrlResponse } from "../../transport/protocols/messages.ts";
import { makeTestPki, type TestNode, type TestPki } from "./pki.ts";
import { startTransport, type TestTransport, transportInputOf, until } from "./transports.ts";

export const crlProtocol = "/hypha-crl/1";

/** A list, and what peers are told about it. */
export interface TestList {
  readonly der: Uint8Array;
  readonly notice: CrlNotice;
}

/** A network's CA, whose intermediate and root are anchors of every member. */
export interface ListWorld {
  readonly pki: TestPki;
  readonly trustPem: string;
  /** A list of the intermediate; the root's with `byRoot`. */
  list(number: bigint, more?: Partial<ListTerms> & { readonly byRoot?: boolean }): Promise<TestList>;
  /** A snapshot with these lists. */
  snapshot(lists: readonly TestList[], generation: number): TrustSnapshot;
  member(name: string, role: Role, options?: MemberOptions): Promise<ListMember>;
  /** A member that a test plays. */
  played(name: string, role?: Role, node?: TestNode): Promise<PlayedMember>;
  stop(): Promise<void>;
}

/** How a member differs from the usual. */
export interface MemberOptions {
  readonly urls?: readonly string[];
  readonly stateDir?: string;
  readonly lists?: readonly TestList[];
  /** Its timers. */
  readonly clock?: SimulatedClock;
  /** How far its clock is ahead, in milliseconds. */
  readonly aheadMs?: () => number;
}

/** A member with an exchange. */
export interface ListMember {
  readonly name: string;
  readonly peer: PeerText;
  readonly address: string;
  readonly stateDir: string;
  readonly reports: Report[];
  readonly facts: TransportFact[];
  /** When each list was taken, by its SHA-256, in milliseconds since the epoch. */
  readonly taken: ReadonlyMap<string, number>;
  /** When the first round of fetching was over. */
  readonly fetched: () => boolean;
  /** Its operator puts lists in place. */
  give(...lists: readonly TestList[]): void;
  /** The trust store finds files of these lists lost. */
  lose(...sha256: readonly string[]): void;
  dial(other: { readonly address: string }): Promise<void>;
  send(ask: TransportAsk): void;
  counters(): Promise<{ readonly bytesReceived: number; readonly bytesSent: number }>;
  /** When it took a list; waits for less than the pause of an exchange, which is ten seconds. */
  has(list: TestList, withinMs?: number): Promise<number>;
  peers(): number;
  stop(): Promise<void>;
}

/** A member that a test plays: it answers by a function. */
export interface PlayedMember extends TestTransport {
  /** What it answers; undefined: nothing at all. */
  answer: (request: CrlRequest, peer: PeerText) => CrlResponse | undefined;
  readonly requests: CrlRequest[];
  request(peer: PeerText, request: CrlRequest): Promise<CrlResponse | string>;
}

const passed = ["peer.established", "peer.reconnected", "peer.closed", "request.received"];
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Makes a world with a PKI of its own. */
export async function makeListWorld(): Promise<ListWorld> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-lists-"));
  const pki = await makeTestPki();
  const trustPem = pki.intermediate.certPem + pki.root.certPem;
  const running = new Set<() => Promise<void>>();
  /** Each is stopped once. */
  const stopping = (stop: () => Promise<void>) => {
    const once = async () => {
      if (running.delete(once)) await stop();
    };
    running.add(once);
    return once;
  };
  let members = 0;
  const snapshot = (lists: readonly TestList[], generation: number) =>
    Result.getOrThrow(makeTrustSnapshot({
      trustPem,
      ...(lists.length === 0 ? {} : { crlsPem: new Uint8Array(lists.flatMap(({ der }) => [...der])) }),
      policy: defaultPolicy,
      generation,
      at: new Date(),
    })).snapshot;
  const world: ListWorld = {
    pki,
    trustPem,
    snapshot,
    list: (number, more = {}) => makeList(pki, number, more),
    member: async (name, role, options = {}) => {
      const stateDir = options.stateDir ?? join(folder, `${name}-${++members}`);
      const member = await startMember(world, { name, role, stateDir, ...options });
      return { ...member, stop: stopping(member.stop) };
    },
    played: async (name, role, node) => {
      const member = await playMember(world, name, role, node);
      return Object.assign(member, { stop: stopping(member.stop) });
    },
    stop: async () => {
      for (const stop of [...running].toReversed()) await stop();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  return world;
}

async function makeList(pki: TestPki, number: bigint, more: Partial<ListTerms> & { readonly byRoot?: boolean }) {
  const { byRoot = false, ...terms } = more;
  const issuer = byRoot ? pki.root : pki.intermediate;
  const request = {
    issuer,
    revoked: [],
    number,
    thisUpdate: new Date(Date.now() - 60_000),
    nextUpdate: new Date(Date.now() + 3_600_000),
    ...terms,
  };
  const der = await issueCrlDer(request);
  const notice = {
    issuer: markKey(Result.getOrThrow(parseCertificate(issuer.der))),
    scope: "all",
    number: String(number),
    base: terms.base === undefined ? null : String(terms.base),
    sha256: hashOf(der),
    size: der.length,
    updated: Math.floor(request.thisUpdate.getTime() / 1_000),
  };
  return { der, notice };
}

async function startMember(
  world: ListWorld,
  { name, role, stateDir, urls = [], lists = [], clock, aheadMs = () => 0 }: MemberOptions & {
    readonly name: string;
    readonly role: Role;
    readonly stateDir: string;
  },
): Promise<ListMember> {
  const { pki } = world;
  const node = await pki.node(name, { role });
  const input = transportInputOf({ pki, node, role, snapshot: world.snapshot([], 1) });
  const reports: Report[] = [];
  const taken = new Map<string, number>();
  const facts: TransportFact[] = [];
  let isFetched = false;
  const real = makePorts((report) => {
    reports.push(report);
    if (report.event === "crl.taken") taken.set(String(report.fields?.["sha256"]), Date.now());
  });
  const ports = { ...real, now: () => real.now() + aheadMs() };
  const parent = createActor(
    setup({
      types: { events: {} as TransportFact | { readonly type: "crls.fetched" } },
      actors: { transport: transportLogic, exchange: crlExchangeMachine },
    }).createMachine({
      invoke: [
        { id: "transport", src: "transport", input: () => input },
        { id: "exchange", src: "exchange", input: ({ self }) => ({ parent: self, ports, stateDir, urls }) },
      ],
      on: {
        "crls.fetched": { actions: () => void (isFetched = true) },
        "*": {
          actions: ({ event, self }) => {
            const fact = event as TransportFact;
            facts.push(fact);
            const { exchange } = self.getSnapshot().children as { exchange?: { send(fact: unknown): void } };
            if (passed.includes(fact.type)) exchange?.send(fact);
          },
        },
      },
    }),
    clock === undefined ? {} : { clock },
  );
  parent.subscribe({ error: (error) => console.error(`member ${name}`, error) });
  parent.start();
  const { transport, exchange } = parent.getSnapshot().children as unknown as {
    readonly transport: TransportRef;
    readonly exchange: { send(event: unknown): void };
  };
  const ask = <Answer>(question: object) =>
    new Promise<Answer>((resolve) => transport.send({ ...question, replyTo: { send: resolve } } as never));
  const started = await ask<{ readonly type: string; readonly addresses: readonly string[] }>({ type: "start" });
  if (started.type !== "listening") throw new Error(`Cannot start ${name}: ${JSON.stringify(started)}`);
  exchange.send({ type: "transport.changed", transport });
  transport.send({ type: "serve", protocol: crlProtocol });
  let generation = 1;
  const give = (...given: readonly TestList[]) => {
    for (const { der, notice: { issuer: key, scope, base } } of given) {
      const path = keptPath(stateDir, { domain: ownDomain, key, scope, kind: base === null ? "complete" : "delta" });
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, der);
    }
    exchange.send({ type: "trust.changed", snapshot: world.snapshot(given, ++generation) });
  };
  give(...lists);
  return {
    name,
    peer: input.identity.peer,
    address: started.addresses.find((each) => each.includes("127.0.0.1")) ?? "",
    stateDir,
    reports,
    facts,
    taken,
    fetched: () => isFetched,
    give,
    lose: (...sha256) => exchange.send({ type: "crls.lost", sha256, torn: [] }),
    send: (event) => transport.send(event),
    dial: async ({ address }) => {
      const answer = await ask<{ readonly type: string }>({
        type: "dial",
        id: crypto.randomUUID(),
        target: { address },
      });
      if (answer.type !== "dial.done") throw new Error(`Cannot dial: ${JSON.stringify(answer)}`);
    },
    counters: async () =>
      (await ask<{ counters: { bytesReceived: number; bytesSent: number } }>({ type: "counters" })).counters,
    has: ({ notice }, withinMs = 9_000) =>
      until(`list ${notice.number} at ${name}`, () => taken.get(notice.sha256), withinMs),
    peers: () =>
      facts.filter(({ type }) => type === "peer.established").length -
      facts.filter(({ type }) => type === "peer.closed").length,
    stop: async () => {
      await ask({ type: "drain" });
      parent.stop();
      await ports.dispose();
    },
  };
}

async function playMember(
  { pki }: ListWorld,
  name: string,
  role: Role = "worker",
  known?: TestNode,
): Promise<PlayedMember> {
  const transport = await startTransport({ name, pki, node: known ?? await pki.node(name, { role }), role });
  transport.send({ type: "serve", protocol: crlProtocol });
  const requests: CrlRequest[] = [];
  const played: PlayedMember = {
    ...transport,
    requests,
    answer: () => undefined,
    request: async (peer, message) => {
      const answer = await transport.ask({
        type: "request",
        id: crypto.randomUUID(),
        peer,
        protocol: crlProtocol,
        message,
        timeoutMs: 20_000,
      });
      if (answer.type === "response") return answer.message as CrlResponse;
      return answer.type === "request.failed" ? answer.error.code : answer.type;
    },
  };
  const { push } = transport.facts;
  transport.facts.push = (...facts) => {
    for (const fact of facts) {
      if (fact.type !== "request.received" || fact.protocol !== crlProtocol) continue;
      requests.push(fact.message as CrlRequest);
      const message = played.answer(fact.message as CrlRequest, fact.peer);
      const { exchange } = fact;
      if (message !== undefined) queueMicrotask(() => transport.send({ type: "respond", exchange, message }));
    }
    return push.apply(transport.facts, facts);
  };
  return played;
}

/** Answers of a peer that has these lists and wants none. */
export function honestAnswers(lists: readonly TestList[]): PlayedMember["answer"] {
  return (request) => {
    if ("Announce" in request) return { Announced: request.Announce.map(() => "have" as const) };
    const { sha256, offset } = request.Pull;
    const list = lists.find(({ notice }) => notice.sha256 === sha256);
    return { Piece: list?.der.subarray(offset, offset + 262_144) ?? new Uint8Array(0) };
  };
}
