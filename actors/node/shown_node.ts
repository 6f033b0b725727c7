/**
 * What a node's operator is shown of it: `GET /status` of the admin socket. Read from the snapshots of its actors; times are RFC 3339.
 *
 * @module
 */
import { Result } from "effect";
import type { StateValue } from "xstate";
import { toHex } from "../../pki/bytes.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { scopeKey, scopeName } from "../../pki/crl_scope.ts";
import { type RefusalCode, refusalCodes } from "../../pki/refusal.ts";
import { domainsOf, type TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import type { CrlBook } from "../crl_exchange/book.ts";
import type { PeerStanding } from "../crl_exchange/neighbours.ts";
import type { EnrolmentContext } from "../enrolment/enrolment.ts";
import type { RefusalLogContext } from "../trust/refusal_log.ts";
import type { WitnessContext } from "../witness/witness_setup.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import { exchangeId, witnessId } from "./facts.ts";
import { lacking, type NodeContext, rolesOf } from "./node_setup.ts";
import type { OpenConnection } from "./open_connections.ts";

/** Peers that are shown. */
export const shownPeersMax = 1_000;

/** A node at one moment. */
export interface ShownNode {
  readonly role: string;
  /** The name in its certificate; null before one was read. */
  readonly name: string | null;
  readonly peer: string | null;
  readonly version: string;
  readonly started: string;
  /** `loading`, `listening`, `joining`, `ready`, `rekeying`, `draining`, … */
  readonly state: string;
  /** The same as the node's machine has it. */
  readonly machine: StateValue;
  /** Gates of connections that have not ended, by the state that each is in. */
  readonly gates: Readonly<Record<string, number>>;
  /** What a node that is not ready still waits for. */
  readonly waitsFor: readonly string[];
  readonly certificate: ShownCertificate | null;
  /** Null where the node renews nothing by itself. */
  readonly renewal: ShownRenewal | null;
  readonly trust:
    | { readonly generation: number; readonly anchors: number; readonly lists: readonly ShownList[] }
    | null;
  readonly gateways: readonly { readonly address: string; readonly linked: boolean }[];
  readonly connections: { readonly open: number; readonly max: number };
  /** The newest connections, at most {@linkcode shownPeersMax}. */
  readonly peers: readonly ShownPeer[];
  /** Null where the node takes no part in witnessing. */
  readonly audit: ShownAudit | null;
  /** The newest list of each issuer, scope and kind that the node tells its peers, and which of them have it. */
  readonly travels: readonly ShownTravel[];
  /** The codes that occurred, the most frequent first. */
  readonly refusals: readonly ShownRefusal[];
  /** Of a worker. */
  readonly leases?: readonly ShownLease[];
  readonly jobs?: readonly ShownJob[];
}

/** The node's own certificate. */
export interface ShownCertificate {
  readonly serial: string | null;
  readonly notBefore: string | null;
  /** The end of what is sent: of the leaf, or of an intermediate that it needs. */
  readonly notAfter: string;
  /** Grows with each change of the pair. */
  readonly generation: number;
}

/** How the renewal of the certificate stands. */
export interface ShownRenewal {
  /** `resting`, `renewing`, `waiting`, `failed`, … */
  readonly state: string;
  readonly due: string | null;
  /** Attempts that failed since the last one that did not. */
  readonly failures: number;
  readonly error: string | null;
}

/** A revocation list that counts. */
export interface ShownList {
  /** The trust domain; null for the node's own. */
  readonly domain: string | null;
  readonly issuer: string;
  /** The certificates that it covers: `all`, `users`, `cas`. */
  readonly scope: string;
  readonly number: string | null;
  /** Of the delta, where one counts. */
  readonly thisUpdate: string;
  readonly nextUpdate: string;
  readonly ageSeconds: number;
  readonly entries: number;
}

/** Audit logs of which the node holds states. */
export interface ShownAudit {
  readonly logs: number;
  /** Logs that shrank, were rewritten or are kept twice. */
  readonly forked: readonly {
    readonly origin: string;
    readonly problem: string;
    /** Records of the two states. */
    readonly records: readonly [held: number, other: number];
    readonly from: string;
    readonly at: string;
  }[];
}

/** How far a revocation list has come among the connected peers. */
export interface ShownTravel {
  /** SHA-256 of the issuer's key, hexadecimal. */
  readonly issuer: string;
  readonly issuerName: string;
  readonly scope: string;
  readonly kind: "complete" | "delta";
  readonly number: string;
  readonly peers: readonly PeerStanding[];
}

/** A connection. */
export interface ShownPeer {
  readonly name: string;
  readonly role: string | null;
  readonly peer: string;
  readonly direction: "inbound" | "outbound";
  readonly relayed: boolean;
  readonly address: string;
  readonly since: string;
  /** Serial and end of the certificate that the peer showed. */
  readonly serial: string;
  readonly notAfter: string;
}

/** Refusals of one code since the start. */
export interface ShownRefusal {
  readonly code: RefusalCode;
  readonly count: number;
  readonly last: {
    readonly at: string;
    readonly address: string | null;
    readonly name: string | null;
    readonly message: string;
    readonly hint: string;
  } | null;
}

/** A lease that a worker has given. */
export interface ShownLease {
  readonly id: string;
  readonly scheduler: string;
  readonly resources: Readonly<Record<string, number>>;
  readonly ends: string;
}

/** A job that a worker runs. */
export interface ShownJob {
  readonly id: string;
  readonly lease: string;
  readonly scheduler: string;
}

/** The parts of a node's snapshot that are read. */
export interface NodeLooks {
  readonly value: StateValue;
  readonly context: NodeContext;
  readonly children: Readonly<Record<string, unknown>>;
}

/** What is shown besides the node's own actors. */
export interface ShownWith {
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly now: number;
  readonly open: readonly OpenConnection[];
  readonly gates: Readonly<Record<string, number>>;
}

const timeOf = (ms: number): string => new Date(ms).toISOString();

/** All of a node. */
export function showNode(looks: NodeLooks, { version, startedAt, now, open, gates }: ShownWith): ShownNode {
  const { value, context, children } = looks;
  const { config, identity, snapshot, refusalLog, linked } = context;
  return {
    role: config.role,
    name: identity?.name ?? null,
    peer: identity?.peer ?? null,
    version,
    started: timeOf(startedAt),
    state: phaseOf(value),
    machine: value,
    gates,
    waitsFor: phaseOf(value) === "joining" ? lacking(context) : [],
    certificate: identity === undefined ? null : showCertificate(identity),
    renewal: showRenewal(children["enrolment"]),
    trust: snapshot === undefined ? null : showTrust(snapshot, now),
    gateways: config.gatewayAddresses.map((address) => ({ address, linked: linked.includes(address) })),
    connections: { open: open.length, max: config.limits.connectionsMax },
    peers: open.slice(-shownPeersMax).map(showPeer),
    audit: showAudit(children[witnessId]),
    travels: showTravels(children[exchangeId]),
    refusals: showRefusals(refusalLog.getSnapshot().context),
    ...(config.role === "worker" ? showWork(rolesOf(context, children)) : {}),
  };
}

/** The state in one word: that below `running` where the node runs. */
export function phaseOf(value: StateValue): string {
  if (typeof value === "string") return value;
  const [[name, below] = ["", ""]] = Object.entries(value);
  return name === "running" && below !== undefined ? phaseOf(below) : name;
}

function showCertificate({ chain: [leaf], notAfter, generation }: NodeIdentity): ShownCertificate {
  const parsed = leaf === undefined ? undefined : Result.getOrUndefined(parseCertificate(leaf));
  return {
    serial: parsed?.serial ?? null,
    notBefore: parsed?.period.notBefore.toISOString() ?? null,
    notAfter: notAfter.toISOString(),
    generation,
  };
}

/** What a child is asked for. */
type Child<Context> = { getSnapshot(): { readonly value: StateValue; readonly context: Context } } | undefined;

function showRenewal(child: unknown): ShownRenewal | null {
  const enrolment = (child as Child<EnrolmentContext>)?.getSnapshot();
  if (enrolment === undefined) return null;
  const { value, context: { pair, renewAt, failures, error, membership } } = enrolment;
  return {
    state: phaseOf(value),
    due: pair === undefined || !membership.renew ? null : timeOf(renewAt),
    failures,
    error: error?.message ?? null,
  };
}

function showAudit(child: unknown): ShownAudit | null {
  const witness = (child as Child<WitnessContext>)?.getSnapshot();
  if (witness === undefined) return null;
  const logs = [...witness.context.book.logs.values()];
  const forked = logs.flatMap(({ head: { origin }, fork }) => {
    if (fork === undefined) return [];
    const { problem, held, other, from, at } = fork;
    return [{ origin, problem, records: [held.size, other.size] as const, from, at: timeOf(at) }];
  });
  return { logs: logs.length, forked };
}

function showTravels(child: unknown): readonly ShownTravel[] {
  const book = (child as Child<{ readonly book?: CrlBook }>)?.getSnapshot().context.book;
  return (book?.standings() ?? []).map(({ notice: { issuer, scope, base, number }, issuerName, peers }) => ({
    ...{ issuer, issuerName, scope, number },
    kind: base === null ? "complete" : "delta",
    peers: peers.slice(0, shownPeersMax),
  }));
}

/** Of lists of one key and scope the newest counts, with its delta's dates where it has one. */
function showTrust(snapshot: TrustSnapshot, now: number): NonNullable<ShownNode["trust"]> {
  const domains = domainsOf(snapshot);
  const lists = domains.flatMap(({ name, revocation }) => {
    const newest = new Map<string, ShownList>();
    for (const list of revocation?.lists ?? []) { // the newest first
      const { issuer, authorityKeyId = "", scope, delta, entryCount } = list;
      const key = `${toHex(issuer.der)} ${authorityKeyId} ${scopeKey(scope)}`;
      if (newest.has(key)) continue;
      const { number, thisUpdate, nextUpdate } = delta ?? list;
      newest.set(key, {
        domain: name ?? null,
        issuer: issuer.text,
        scope: scopeName(scope),
        number: number ?? null,
        thisUpdate: thisUpdate.toISOString(),
        nextUpdate: nextUpdate.toISOString(),
        ageSeconds: Math.round((now - thisUpdate.getTime()) / 1_000),
        entries: entryCount + (delta?.entryCount ?? 0),
      });
    }
    return [...newest.values()];
  });
  return { generation: snapshot.generation, anchors: domains.flatMap(({ anchors }) => anchors).length, lists };
}

function showPeer({ identity, direction, address, since }: OpenConnection): ShownPeer {
  const { name, role, peer, serial, notAfter } = identity;
  return {
    name,
    role: role ?? null,
    peer,
    direction,
    relayed: /\/p2p-circuit(\/|$)/.test(address),
    address,
    since: timeOf(since),
    serial,
    notAfter: notAfter.toISOString(),
  };
}

function showRefusals({ counts, lasts }: RefusalLogContext): readonly ShownRefusal[] {
  return refusalCodes.filter((code) => counts[code] !== undefined)
    .map((code): ShownRefusal => {
      const last = lasts.get(code);
      return {
        code,
        count: counts[code] ?? 0,
        last: last === undefined ? null : {
          at: timeOf(last.at),
          address: last.address ?? null,
          name: last.name ?? null,
          message: last.refusal.message,
          hint: last.refusal.hint,
        },
      };
    })
    .toSorted((one, other) => other.count - one.count);
}

function showWork(roles: readonly unknown[]): Pick<ShownNode, "leases" | "jobs"> {
  const books = (roles as readonly NonNullable<Child<Partial<WorkerContext>>>[])
    .map((role) => role.getSnapshot().context.book);
  return {
    leases: books.flatMap((book) => Object.values(book?.leases ?? {})).filter(({ over }) => !over)
      .map(({ id, peer, resources, endsAt }) => ({
        id,
        scheduler: peer,
        resources: { ...resources },
        ends: timeOf(endsAt),
      })),
    jobs: books.flatMap((book) => Object.values(book?.jobs ?? {}))
      .map(({ taskId, leaseId, scheduler }) => ({ id: taskId, lease: leaseId, scheduler })),
  };
}
