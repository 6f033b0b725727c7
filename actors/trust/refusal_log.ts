/**
 * Counts every refusal by code, logs it and records it.
 *
 * Anyone can cause refusals before a certificate is seen, as fast as packets arrive: they are summarised per host and
 * minute, for a bounded number of hosts. Every other refusal is one line and one record; admission
 * (`handshakes_per_second` and `handshakes_burst`) limits how many of them a host can cause, since further attempts end
 * before a certificate.
 *
 * ```
 * resting ── peer.refused (early) ──▶ gathering ── a minute, refusals.flush ──▶ resting
 * ```
 *
 * A member's act that its certificate does not allow (`act.refused`) is a line and a record each; the transport bounds them.
 *
 * Every state handles `peer.refused`, `act.refused` and `refusals.flush`, its only events; the counters are in the context (`counts`). The sink never changes a verdict.
 *
 * @module
 */
import { assign, setup } from "xstate";
import { describeRefusal, type Refusal, type RefusalCode, refusalCodes } from "../../pki/refusal.ts";
import { refusalTable } from "../../pki/refusal_table.ts";
import { moreOf } from "../../transport/core/rare_reports.ts";
import type { TransportFact } from "../../transport/port.ts";
import { type AuditEntry, type AuditSink, logAlone, type SteadySink, steadySink } from "./audit.ts";
import type { Ports } from "../runtime/ports.ts";

/** The transport's fact about a refusal. */
export type PeerRefused = Extract<TransportFact, { readonly type: "peer.refused" }>;

/** The transport's fact about an act that a member may not do; bounded where it is told. */
export type ActRefused = Extract<TransportFact, { readonly type: "act.refused" }>;

/** Input of the refusal log. */
export interface RefusalLogInput {
  readonly ports: Pick<Ports, "now" | "report">;
  /** The log alone by default. */
  readonly sink?: AuditSink | undefined;
}

/** Events of the refusal log: a refusal, and the command to write its summaries now (the node stops). */
export type RefusalLogEvent = PeerRefused | ActRefused | { readonly type: "refusals.flush" };

type Counts = Readonly<Partial<Record<RefusalCode, number>>>;

/** Early refusals of one host within the present minute; times in milliseconds since the epoch. */
export interface Gathered {
  readonly counts: Counts;
  readonly firstAt: number;
  readonly lastAt: number;
  /** The first of each code: the summary quotes it for all. */
  readonly firsts: Readonly<Partial<Record<RefusalCode, Refusal>>>;
}

/** The newest refusal of a code; `at` in milliseconds since the epoch. */
export interface LastRefusal {
  readonly at: number;
  /** The address of the peer; undefined for an act of a connected member. */
  readonly address: string | undefined;
  /** The name in its certificate, once one was seen. */
  readonly name: string | undefined;
  readonly refusal: Pick<Refusal, "message" | "hint">;
}

/** Context of the refusal log: counters since the node started, and the summaries of the current minute. */
export interface RefusalLogContext {
  readonly ports: RefusalLogInput["ports"];
  readonly sink: SteadySink;
  readonly counts: Counts;
  /** Changed in place, as is `gathered`. */
  readonly lasts: Map<RefusalCode, LastRefusal>;
  /** Changed in place: a copy of the table for each attempt of a flood would cost more than the attempt. */
  readonly gathered: Map<string, Gathered>;
}

/**
 * Codes of refusals before a certificate was seen: one summary per address and minute. Where one of them comes later (a
 * peer with too many connections, or one that fell silent after its certificate), the peer is known and gets a line.
 */
export const earlyCodes: ReadonlySet<RefusalCode> = new Set(
  refusalCodes.filter((code) => "logged" in refusalTable[code]),
);
/** How long early refusals are gathered, in milliseconds. */
export const gatherMs = 60_000;
/** Hosts that are told apart within a minute: about 200 kB of table. All others share one row. */
export const hostsMax = 1_024;
/** The row of the hosts beyond {@linkcode hostsMax}. */
export const otherHosts = "*";

/**
 * The part of a multiaddr that stays the same from one connection to the next: the host without its port; for a relayed
 * connection, the relay.
 */
export function hostOf(address: string): string {
  const [, kind, host, ...rest] = address.split("/");
  if (kind === undefined || host === undefined) return address;
  const relay = rest.indexOf("p2p-circuit");
  const through = relay > 1 && rest[relay - 2] === "p2p" ? `/p2p/${rest[relay - 1]}/p2p-circuit` : "";
  return `/${kind}/${host}${through}`;
}

const plus = (counts: Counts, code: RefusalCode, more: number): Counts => ({
  ...counts,
  [code]: (counts[code] ?? 0) + more,
});

function gather(gathered: Map<string, Gathered>, { address, refusal }: PeerRefused, at: number): void {
  const host = hostOf(address);
  const row = gathered.has(host) || gathered.size < hostsMax ? host : otherHosts;
  const { counts, firstAt, firsts } = gathered.get(row) ?? { counts: {}, firstAt: at, firsts: {} };
  gathered.set(row, {
    counts: plus(counts, refusal.code, 1),
    firstAt,
    lastAt: at,
    firsts: refusal.code in firsts ? firsts : { ...firsts, [refusal.code]: refusal },
  });
}

function summariesOf(gathered: ReadonlyMap<string, Gathered>): AuditEntry[] {
  return [...gathered].map(([host, { counts, firstAt, lastAt }]) => ({
    type: "refusal.summary",
    from: new Date(firstAt).toISOString(),
    to: new Date(lastAt).toISOString(),
    host,
    counts,
  }));
}

function entryOf({ address, direction, peer, refusal, untold = 0 }: PeerRefused, at: number): AuditEntry {
  const { data } = describeRefusal(refusal);
  const { code, message, hint } = refusal;
  const time = new Date(at).toISOString();
  const who = { name: peer?.name, peer: peer?.id };
  return { type: "refusal", time, code, address, direction, ...who, message, hint, data, count: untold + 1 };
}

function lineOf({ address, direction, peer, refusal, untold }: PeerRefused) {
  const { code, message, hint } = refusal;
  const who = peer === undefined ? {} : { name: peer.name, peer: peer.id };
  return {
    level: "warn",
    event: "peer.refused",
    message: `${message}${moreOf(untold ?? 0)}`,
    fields: { code, address, direction, ...who, ...(untold === undefined ? {} : { untold }), hint },
  } as const;
}

function actEntryOf({ act, peer, identity: { serial }, refusal, untold }: ActRefused, at: number): AuditEntry {
  const { code, name, role, rule, message, hint } = refusal;
  const time = new Date(at).toISOString();
  return { type: "act.refused", time, code, act, name, role, serial, peer, rule, count: untold + 1, message, hint };
}

function actLineOf({ act, peer, identity: { serial }, refusal, untold }: ActRefused) {
  const { code, name, role, rule, message, hint } = refusal;
  return {
    level: "warn",
    event: "act.refused",
    message: `${message}${moreOf(untold)}`,
    fields: { code, act, role, name, peer, serial, rule, untold, hint },
  } as const;
}

/** The codes of a row, the most frequent first. */
function ranked(counts: Counts): readonly (readonly [RefusalCode, number])[] {
  const entries = Object.entries(counts) as [RefusalCode, number][];
  return entries.toSorted(([, left], [, right]) => right - left);
}

/** Such as "5,312 more of `rate-limited`, 3 of `handshake-timeout`". */
function writeCounts(counts: readonly (readonly [RefusalCode, number])[]): string {
  return counts.filter(([, count]) => count > 0)
    .map(([code, count], index) => `${count.toLocaleString("en-US")}${index === 0 ? " more" : ""} of \`${code}\``)
    .join(", ");
}

/** The message of the most frequent refusal, and the numbers of the others. */
function summaryLineOf(host: string, { counts, firsts, firstAt, lastAt }: Gathered) {
  const [[code, count] = ["internal", 0] as const, ...others] = ranked(counts);
  const first = firsts[code];
  const from = host === otherHosts ? "other hosts" : host.replace(/^\/(?:ip[46]|dns[46]?)\//, "");
  const more = writeCounts([[code, count - 1], ...others]);
  return {
    level: "warn",
    event: "peers.refused",
    message: more === "" ? `${first?.message} (from ${from})` : `${first?.message}; and ${more} from ${from}`,
    fields: { code, host, refused: counts, seconds: Math.round((lastAt - firstAt) / 1_000), hint: first?.hint },
  } as const;
}

const refusalLog = setup({
  types: {
    input: {} as RefusalLogInput,
    context: {} as RefusalLogContext,
    events: {} as RefusalLogEvent,
  },
  guards: {
    early: (_, { fact }: { fact: PeerRefused }) => fact.peer === undefined && earlyCodes.has(fact.refusal.code),
  },
  actions: {
    count: assign(({ context }, { fact }: { fact: PeerRefused }) => ({
      counts: plus(context.counts, fact.refusal.code, 1 + (fact.untold ?? 0)),
    })),
    noteLast: ({ context: { lasts, ports } }, { fact: { address, peer, refusal } }: { fact: PeerRefused }) =>
      void lasts.set(refusal.code, { at: ports.now(), address, name: peer?.name, refusal }),
    noteLastAct: ({ context: { lasts, ports } }, { refusal }: ActRefused) =>
      void lasts.set(refusal.code, { at: ports.now(), address: undefined, name: refusal.name, refusal }),
    gather: ({ context }, { fact }: { fact: PeerRefused }) => gather(context.gathered, fact, context.ports.now()),
    report: ({ context }, { fact }: { fact: PeerRefused }) => context.ports.report(lineOf(fact)),
    record: ({ context }, { fact }: { fact: PeerRefused }) => context.sink.record(entryOf(fact, context.ports.now())),
    countAct: assign(({ context }, { refusal, untold }: ActRefused) => ({
      counts: plus(context.counts, refusal.code, untold + 1),
    })),
    reportAct: ({ context }, fact: ActRefused) => context.ports.report(actLineOf(fact)),
    recordAct: ({ context }, fact: ActRefused) => context.sink.record(actEntryOf(fact, context.ports.now())),
    sumUp: ({ context: { gathered, ports, sink } }) => {
      for (const [host, row] of gathered) ports.report(summaryLineOf(host, row));
      for (const entry of summariesOf(gathered)) sink.record(entry);
      gathered.clear();
    },
  },
  delays: { gatherMs },
});

const fact = ({ event }: { event: PeerRefused }) => ({ fact: event });
const isEarly = { type: "early", params: fact } as const;
const countAndGather = [
  { type: "count", params: fact },
  { type: "noteLast", params: fact },
  { type: "gather", params: fact },
] as const;

/**
 * Counts, logs and records refusals. Read the counters from the snapshot: `context.counts`, by code, since the start.
 */
export const refusalLogMachine = refusalLog.createMachine({
  id: "refusalLog",
  context: ({ input: { ports, sink } }) => ({
    ports,
    sink: steadySink(sink ?? logAlone, ports),
    counts: {},
    lasts: new Map(),
    gathered: new Map(),
  }),
  initial: "resting",
  on: {
    "peer.refused": [
      { guard: isEarly, actions: countAndGather },
      {
        actions: [
          { type: "count", params: fact },
          { type: "noteLast", params: fact },
          { type: "report", params: fact },
          { type: "record", params: fact },
        ],
      },
    ],
    "act.refused": {
      actions: [
        { type: "countAct", params: ({ event }) => event },
        { type: "noteLastAct", params: ({ event }) => event },
        { type: "reportAct", params: ({ event }) => event },
        { type: "recordAct", params: ({ event }) => event },
      ],
    },
    "refusals.flush": { actions: "sumUp" },
  },
  states: {
    /** An early refusal begins a minute; the root handles everything else. */
    resting: {
      on: { "peer.refused": { guard: isEarly, target: "gathering", actions: countAndGather } },
    },
    gathering: {
      after: { gatherMs: { target: "resting", actions: "sumUp" } },
    },
  },
});
