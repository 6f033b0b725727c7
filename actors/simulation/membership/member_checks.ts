/**
 * Checks a run about membership: what nodes hold, whom they are linked with, what lies on their disks.
 *
 * @module
 */
import { Result } from "effect";
import { heldCrls } from "../../../pki/held_crls.ts";
import { keyMatches, parsePrivateKey } from "../../../pki/key.ts";
import type { TrustSnapshot } from "../../../pki/trust.ts";
import type { Session } from "../../../transport/core/session.ts";
import type { TransportFact } from "../../../transport/port.ts";
import { plainSerial } from "../../certutil/revocation_record.ts";
import { nextKeyPath } from "../../enrolment/enrolment_store.ts";
import { certificatesOf } from "../../enrolment/ca_trust.ts";
import { marksPath } from "../../files/state_directory.ts";
import type { Report } from "../../runtime/ports.ts";
import { contextOf, type Findings } from "../findings.ts";
import type { SimulatedNode } from "../node.ts";
import { nodePaths } from "../node_config.ts";
import type { Simulation, SimulationWatch } from "../simulation.ts";
import type { Ledger } from "./ledger.ts";
import { LinkChecks } from "./link_checks.ts";
import type { Member } from "./member.ts";
import { caUrl, type SimulatedCa } from "./simulated_ca.ts";
import type { VirtualWeb } from "./virtual_web.ts";

/** Figures, in milliseconds. */
const cutMs = 2_000;
const calmHopMs = 2_000;
const hopMs = 5_000;
const fetchedMs = 80_000;
const tornMs = 3_000;
/** A node is not held to figures for calm times until this long after a trouble of its own, in milliseconds. */
const calmAfterMs = 30_000;
/** What an attempt, its answer and the answer's advice may add to a wait, in milliseconds. */
const attemptMs = 75_000;

/** What the checks know of one node. */
interface Seen {
  incarnation: number;
  /** Serials that are established, by peer, with how many sessions say so. */
  readonly established: Map<string, { readonly peer: string; readonly serial: string }>;
  /** Numbers of the issuer's list in force, and since when. */
  number: bigint;
  numberAt: number;
  /** Since when a neighbour has had a newer list. */
  readonly behind: Map<string, number>;
  /** Since when, without a break, it could have renewed. */
  reachesSince: number | undefined;
  /** The longest such time in the last third of the certificate's life. */
  bestMs: number;
  leaf: { readonly serial: string; readonly from: number; readonly until: number } | undefined;
  tornSince: number | undefined;
  pair: { readonly cert: Uint8Array | undefined; readonly key: Uint8Array | undefined; isWhole: boolean };
  marks: Uint8Array | undefined;
  mark: bigint;
}

/** What the checks get. */
export interface MemberCheckInit {
  readonly sim: Simulation;
  readonly findings: Findings;
  readonly ledger: Ledger;
  readonly ca: SimulatedCa;
  readonly web: VirtualWeb;
  readonly members: ReadonlyMap<string, Member>;
}

const numbers = new WeakMap<TrustSnapshot, bigint>();

/** The number of the issuer's newest list in a snapshot. */
export function numberIn(snapshot: TrustSnapshot, issuer: string): bigint {
  const known = numbers.get(snapshot);
  if (known !== undefined) return known;
  const held = heldCrls(snapshot).held.filter(({ key, scope }) => key === issuer && scope === "all");
  const number = held.reduce((most, { number }) => BigInt(number) > most ? BigInt(number) : most, 0n);
  numbers.set(snapshot, number);
  return number;
}

/** Checks one run. */
export class MemberChecker implements SimulationWatch {
  readonly #init: MemberCheckInit;
  readonly #seen = new Map<SimulatedNode, Seen>();
  /** Troubles of a node, or of a link of its, end at this time. */
  readonly #disturbed = new Map<string, number>();
  /** Nodes whose lists do not travel: their gateway withholds them, or their state cannot be written. */
  readonly #excused = new Map<string, number>();
  /** Nodes that are cut off by an operator's act, or locked. */
  readonly gone = new Set<string>();
  readonly #published: { readonly number: bigint; readonly at: number }[] = [];

  readonly #links: LinkChecks;

  constructor(init: MemberCheckInit) {
    this.#init = init;
    this.#links = new LinkChecks(init);
  }

  get #now(): number {
    return this.#init.sim.time.now;
  }

  // ── What the driver tells ──

  /** A node, or a link of it, has a trouble for so long. */
  disturb(name: string, forMs: number): void {
    this.#disturbed.set(name, Math.max(this.#disturbed.get(name) ?? 0, this.#now + forMs));
  }

  /** Lists do not reach a node for so long. */
  excuse(name: string, forMs: number): void {
    this.disturb(name, forMs);
    this.#excused.set(name, Math.max(this.#excused.get(name) ?? 0, this.#now + forMs));
  }

  /** A node's disk lost its marks: it is as new. */
  lostMarks(node: SimulatedNode): void {
    this.#of(node).mark = 0n;
  }

  /** The number of the list that a node has in force. */
  numberOf(node: SimulatedNode): bigint {
    return this.#of(node).number;
  }

  /** A list was published. */
  published(number: bigint): void {
    if (number <= (this.#published.at(-1)?.number ?? 0n)) return;
    this.#published.push({ number, at: this.#now });
  }

  // ── What is observed ──

  crash(node: SimulatedNode, error: unknown): void {
    this.#init.findings.violate("no-crash", node.name, String(error));
  }

  report(node: SimulatedNode, report: Report): void {
    this.#links.report(node, report);
  }

  fact(node: SimulatedNode, fact: TransportFact, _session: Session | undefined): void {
    this.#links.fact(node, fact);
    const { established } = this.#of(node);
    if (fact.type === "peer.established" || fact.type === "peer.closed") {
      const { peer, serial } = fact.identity;
      const key = `${peer} ${serial}`;
      if (fact.type === "peer.closed") return void established.delete(key);
      established.set(key, { peer, serial: plainSerial(serial) });
      return;
    }
    if (fact.type === "peer.refused") this.#checkRefusal(node, fact);
  }

  /** A learned list refuses only members that it revokes. */
  #checkRefusal(node: SimulatedNode, { peer, refusal }: Extract<TransportFact, { type: "peer.refused" }>): void {
    const { code } = refusal;
    const detail = `${peer?.name ?? "a peer"} was refused: ${refusal.message}`;
    const isOptional = this.#init.members.get(node.name)?.plan.crls === "optional";
    if (isOptional && (code.startsWith("crl-") || code === "revocation-unknown")) {
      return this.#init.findings.violate("learned-only-revokes", node.name, detail);
    }
    if (code !== "certificate-revoked" || !("certificate" in refusal)) return;
    const serial = (refusal.certificate as { readonly serial?: string }).serial ?? "";
    if (this.#init.ledger.revocationOf(serial) === undefined) {
      this.#init.findings.violate("learned-only-revokes", node.name, detail);
    }
  }

  // ── Looks ──

  /** Every half second. */
  look(): void {
    const nodes = [...this.#init.members.values()].map(({ node }) => node);
    for (const node of nodes) this.#lookAt(node);
    for (const node of nodes) this.#lookAtNeighbours(node, nodes);
  }

  #of(node: SimulatedNode): Seen {
    const known = this.#seen.get(node);
    if (known !== undefined && known.incarnation === node.incarnation) return known;
    const seen: Seen = {
      incarnation: node.incarnation,
      established: new Map(),
      number: 0n,
      numberAt: this.#now,
      behind: new Map(),
      reachesSince: known?.reachesSince,
      bestMs: known?.bestMs ?? 0,
      leaf: known?.leaf,
      tornSince: undefined,
      pair: known?.pair ?? { cert: undefined, key: undefined, isWhole: true },
      marks: undefined,
      mark: known?.mark ?? 0n,
    };
    this.#seen.set(node, seen);
    return seen;
  }

  #isCalm(name: string): boolean {
    return this.#now >= (this.#disturbed.get(name) ?? -Infinity) + calmAfterMs;
  }

  #lookAt(node: SimulatedNode): void {
    const seen = this.#of(node);
    this.#checkPair(node, seen);
    this.#checkMark(node, seen);
    this.#checkRenewal(node, seen);
    if (!node.isRunning) return;
    const { snapshot } = contextOf<{ readonly snapshot?: TrustSnapshot }>(node.actor) ?? {};
    if (snapshot === undefined) return;
    this.#checkNumber(node, seen, numberIn(snapshot, this.#issuer));
    this.#checkEstablished(node, seen);
    this.#checkFetched(node, seen);
  }

  #issuerId = "";
  get #issuer(): string {
    this.#issuerId = this.#init.ca.issuerId || this.#issuerId;
    return this.#issuerId;
  }

  #checkNumber(node: SimulatedNode, seen: Seen, number: bigint): void {
    if (number === seen.number) return;
    if (number < seen.number) {
      this.#init.findings.violate("list-number-kept", node.name, `list ${seen.number} was followed by ${number}`);
    }
    seen.number = number;
    seen.numberAt = this.#now;
  }

  #checkMark(node: SimulatedNode, seen: Seen): void {
    const file = node.disk.read(marksPath(nodePaths.state));
    if (file === seen.marks) return;
    seen.marks = file;
    const mark = Object.values(node.marks).find(({ key, scope }) => key === this.#issuer && scope === "all");
    const number = BigInt(mark?.number ?? "0");
    if (number < seen.mark) {
      this.#init.findings.violate("list-number-kept", node.name, `mark ${seen.mark} was followed by ${number}`);
    }
    seen.mark = number;
  }

  /** Whom its lists revoke is not established. */
  #checkEstablished(node: SimulatedNode, seen: Seen): void {
    const peers = new Set(node.peers);
    for (const { peer, serial } of seen.established.values()) {
      const revoked = this.#init.ledger.revoked.get(serial);
      if (revoked === undefined || seen.number < revoked.number || !peers.has(peer)) continue;
      if (this.#now - Math.max(seen.numberAt, revoked.at) <= cutMs) continue;
      const who = this.#init.ledger.identityOf(serial);
      const detail = `${who} is established ${this.#now - seen.numberAt} ms after list ${seen.number}`;
      this.#init.findings.violate("revoked-not-established", node.name, detail);
    }
  }

  /** A node that fetches has what was published. */
  #checkFetched(node: SimulatedNode, seen: Seen): void {
    const { members, web } = this.#init;
    const canFetch = members.get(node.name)?.plan.fetches === true && web.reaches(node.name, caUrl) &&
      this.#isCalm(node.name) && !this.#isExcused(node.name);
    if (!canFetch) {
      seen.behind.set(caUrl, this.#now);
      return;
    }
    const since = Math.max(seen.behind.get(caUrl) ?? node.startedAt, node.startedAt);
    const due = this.#published.findLast(({ at }) => Math.max(at, since) + fetchedMs < this.#now);
    if (due === undefined || seen.number >= due.number) return;
    const detail = `has list ${seen.number}, not ${due.number}, which was published ${this.#now - due.at} ms ago`;
    this.#init.findings.violate("list-reaches", node.name, detail);
  }

  #isExcused(name: string): boolean {
    return this.#now <= (this.#excused.get(name) ?? -Infinity) + calmAfterMs;
  }

  /**
   * What one has, its neighbours have soon. What is sent to a node that is to be revoked, or asked of it, may go to the thief who has its pair.
   */
  #lookAtNeighbours(node: SimulatedNode, nodes: readonly SimulatedNode[]): void {
    if (this.gone.has(node.name)) return;
    const seen = this.#of(node);
    for (const other of nodes) {
      const theirs = this.#of(other);
      const isLinked = this.#init.sim.areConnected(node, other) && !this.gone.has(other.name) &&
        !this.#isExcused(node.name) && !this.#isExcused(other.name);
      if (!isLinked || theirs.number <= seen.number) {
        seen.behind.delete(other.name);
        continue;
      }
      const since = seen.behind.get(other.name) ?? this.#now;
      seen.behind.set(other.name, since);
      const isCalm = this.#isCalm(node.name) && this.#isCalm(other.name);
      const lateMs = this.#now -
        Math.max(since, this.#disturbed.get(node.name) ?? 0, this.#disturbed.get(other.name) ?? 0);
      if (lateMs <= (isCalm ? calmHopMs : hopMs)) continue;
      const detail = `has list ${seen.number} ${lateMs} ms after ${other.name} has ${theirs.number}`;
      this.#init.findings.violate("list-reaches", node.name, detail);
    }
  }

  // ── The pair ──

  /** Certificate and key belong together, or the key is where a start finds it. */
  #checkPair(node: SimulatedNode, seen: Seen): void {
    const { sim, findings, members } = this.#init;
    const cert = node.disk.read(nodePaths.cert), key = node.disk.read(nodePaths.key);
    if (cert !== seen.pair.cert || key !== seen.pair.key) {
      seen.pair = { cert, key, isWhole: isWhole(cert, key) };
      this.#noteLeaf(seen, cert);
    }
    // With its identity in a token, a node gets another pair where certificate and key do not belong together.
    if (seen.pair.isWhole || cert === undefined || members.get(node.name)?.identity !== undefined) {
      seen.tornSince = undefined;
      return;
    }
    const spare = node.disk.read(nextKeyPath(nodePaths.state));
    if (spare === undefined || !isKept(cert, spare)) {
      return findings.violate("pair-usable", node.name, "the key of its certificate is nowhere on its disk");
    }
    const isUp = (node.isRunning || members.get(node.name)?.isJoining === true) && this.#isCalm(node.name);
    seen.tornSince = isUp ? seen.tornSince ?? sim.time.now : undefined;
    if (seen.tornSince !== undefined && sim.time.now - seen.tornSince > tornMs) {
      findings.violate("pair-usable", node.name, `its key has not lain beside its certificate for ${tornMs} ms`);
    }
  }

  #noteLeaf(seen: Seen, cert: Uint8Array | undefined): void {
    const [leaf] = cert === undefined ? [] : certificatesOf(new TextDecoder().decode(cert));
    if (leaf !== undefined && plainSerial(leaf.serial) === seen.leaf?.serial) return;
    seen.bestMs = 0;
    seen.leaf = leaf === undefined
      ? undefined
      : { serial: plainSerial(leaf.serial), from: +leaf.period.notBefore, until: +leaf.period.notAfter };
    // Its clock may be behind, the CA's ahead: the wait is counted from here.
    if (leaf !== undefined) seen.reachesSince = undefined;
  }

  /** No certificate ends while the CA was there. */
  #checkRenewal(node: SimulatedNode, seen: Seen): void {
    const { web, ledger, findings } = this.#init;
    const { leaf } = seen;
    if (leaf === undefined || this.gone.has(node.name) || ledger.revoked.has(leaf.serial)) return;
    const lifeMs = leaf.until - leaf.from;
    const begin = leaf.until - lifeMs / 3;
    const isUp = node.isRunning && this.#isCalm(node.name) && web.reaches(node.name, caUrl) && this.#init.ca.canIssue;
    if (!isUp || this.#now < begin) seen.reachesSince = undefined;
    else seen.reachesSince ??= this.#now;
    if (seen.reachesSince !== undefined && this.#now <= leaf.until) {
      seen.bestMs = Math.max(seen.bestMs, this.#now - seen.reachesSince);
    }
    const waitMs = lifeMs / 48 + attemptMs;
    if (this.#now <= leaf.until || seen.bestMs <= waitMs) return;
    const detail = `its certificate ended although it could renew for ${Math.round(seen.bestMs / 1_000)} s`;
    findings.violate("renewed-in-time", node.name, detail);
  }

  // ── The end ──

  conclude(): void {
    this.look();
    this.#links.conclude(this.gone);
  }
}

function isWhole(cert: Uint8Array | undefined, key: Uint8Array | undefined): boolean {
  if (cert === undefined || key === undefined) return false;
  return isKeyOf(new TextDecoder().decode(cert), new TextDecoder().decode(key));
}

function isKept(cert: Uint8Array, spare: Uint8Array): boolean {
  try {
    const { key_pem } = JSON.parse(new TextDecoder().decode(spare)) as { readonly key_pem: string };
    return isKeyOf(new TextDecoder().decode(cert), key_pem);
  } catch {
    return false;
  }
}

function isKeyOf(certPem: string, keyPem: string): boolean {
  const [leaf] = certificatesOf(certPem);
  const key = parsePrivateKey(keyPem);
  return leaf !== undefined && Result.isSuccess(key) && keyMatches(leaf, key.success);
}
