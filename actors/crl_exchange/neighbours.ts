/**
 * The connected peers of a list exchange: what each told and was told, and how often it wasted our time.
 *
 * @module
 */
import { compareNumbers } from "../../pki/crl.ts";
import { type ConnectedMember, withConnected, withoutConnected } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText } from "../../transport/port.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";
import { crlNoticesMax } from "../../transport/protocols/mod.ts";
import { slotOf } from "./travelling_crls.ts";

/** Slots for which a peer's newest list is remembered. Most networks have two. */
export const slotsPerPeerMax = 64;
/** Useless lists after which a peer is not heard, and for how long, in milliseconds. */
export const strikesMax = 3;
export const deafMs = 3_600_000;
/** Peers whose strikes are remembered, connected or not. */
export const strikingPeersMax = 1_024;

/** How much a source is preferred: 0 before 1. */
export type SourceRank = 0 | 1 | 2;

interface Neighbour {
  members: readonly ConnectedMember[];
  /** A member of it is the CA of the node's own domain. */
  isCa: boolean;
  /** The newest list that it told, by slot. */
  readonly told: Map<string, CrlNotice>;
  /** SHA-256 of the list that it told last, and of the one that it was told last, by slot, since all were told everything. */
  readonly has: Map<string, string>;
  readonly announced: Map<string, string>;
  /** The list of each slot that it answered an announcement of, and what: only shown, nothing is decided by it. */
  readonly replies: Map<string, ListReply>;
  /** An announcement to it is not answered yet. */
  isAsked: boolean;
  /** It does not speak the protocol. */
  isUnable: boolean;
  failures: number;
}

interface ListReply {
  readonly sha256: string;
  readonly reply: "have" | "want";
}

/** What is known of a peer and a list: it said that it has it, was sent it, has another number, or said nothing. */
export interface PeerStanding {
  readonly peer: PeerText;
  readonly state: "has" | "sent" | "older" | "newer" | "unknown";
  /** The number of the list that it told last; null where it told none. */
  readonly number: string | null;
}

interface Strikes {
  readonly strikes: number;
  /** How many of them are for lists that did not arrive in time. */
  readonly late: number;
  readonly deafUntil: number;
}

/** The peers of one exchange. */
export class Neighbours {
  readonly #now: () => number;
  readonly #peers = new Map<PeerText, Neighbour>();
  readonly #records = new Map<PeerText, Strikes>();

  /** @param now Milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * A member is connected; `isCa`: the CA of the node's own domain. Each connection may be another process, which lost its lists while
   * the end of the former connection is not seen yet: the peer is told everything again.
   */
  established(identity: PeerIdentity, isCa = false): void {
    const { peer } = identity;
    const known = this.#peers.get(peer);
    if (known !== undefined) {
      known.members = withConnected(known.members, identity);
      known.isCa ||= isCa;
      known.has.clear();
      known.announced.clear();
      known.isUnable = false;
      known.failures = 0;
      return;
    }
    const members = withConnected([], identity);
    const fresh = {
      isCa,
      told: new Map(),
      has: new Map(),
      announced: new Map(),
      replies: new Map(),
      isAsked: false,
      isUnable: false,
      failures: 0,
    };
    this.#peers.set(peer, { members, ...fresh });
  }

  /** A member's last connection ended. Returns whether its peer is gone. */
  closed(identity: PeerIdentity): boolean {
    const known = this.#peers.get(identity.peer);
    if (known === undefined) return false;
    known.members = withoutConnected(known.members, identity);
    return known.members.length === 0 && this.#peers.delete(identity.peer);
  }

  /** This node has another key: all connections are another transport's. */
  clear(): void {
    this.#peers.clear();
  }

  isConnected(peer: PeerText): boolean {
    return this.#peers.has(peer);
  }

  /** The CA comes before gateways, these before others. */
  rankOf(peer: PeerText): SourceRank {
    const { members = [], isCa = false } = this.#peers.get(peer) ?? {};
    return isCa ? 0 : members.some(({ role }) => role === "gateway") ? 1 : 2;
  }

  // ── What they told ──

  /** A peer told that it has a list. It is not told of it in turn. */
  noteTold(peer: PeerText, notice: CrlNotice): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    const { bytes: _bytes, ...kept } = notice;
    put(known.told, slotOf(notice), kept);
    put(known.has, slotOf(notice), notice.sha256);
  }

  /** What each peer that tells a list says of it. */
  toldOf(sha256: string): ReadonlyMap<PeerText, CrlNotice> {
    const told = new Map<PeerText, CrlNotice>();
    for (const [peer, each] of this.#peers) {
      for (const notice of each.told.values()) if (notice.sha256 === sha256) told.set(peer, notice);
    }
    return told;
  }

  /** The peers that have a list: they told it, or were told it. */
  holdersOf(notice: CrlNotice): readonly PeerText[] {
    const [slot, { sha256 }] = [slotOf(notice), notice];
    return [...this.#peers].flatMap(([peer, { has, announced, isUnable }]) =>
      !isUnable && (has.get(slot) === sha256 || announced.get(slot) === sha256) ? [peer] : []
    );
  }

  /** How each peer stands to a list. */
  standingsTo(notice: CrlNotice): readonly PeerStanding[] {
    const [slot, { sha256 }] = [slotOf(notice), notice];
    return [...this.#peers].map(([peer, { told, has, replies }]) => {
      const number = told.get(slot)?.number ?? null;
      const reply = replies.get(slot);
      const answered = reply?.sha256 === sha256 ? reply.reply : undefined;
      const isHeld = has.get(slot) === sha256 || answered === "have";
      if (isHeld) return { peer, number: notice.number, state: "has" };
      if (number !== null && compareNumbers(number, notice.number) > 0) return { peer, number, state: "newer" };
      if (answered === "want") return { peer, number, state: "sent" };
      return { peer, number, state: number === null ? "unknown" : "older" };
    });
  }

  // ── What they are told ──

  /** The lists that a peer is to be told now; none while an announcement is not answered. They count as told from here on. */
  announcementTo(peer: PeerText, lists: readonly CrlNotice[]): readonly CrlNotice[] {
    const known = this.#peers.get(peer);
    if (known === undefined || known.isAsked || known.isUnable) return [];
    const news: CrlNotice[] = [];
    // Each list that the node has is remembered: one that is forgotten is announced again, and another one is forgotten for it.
    const slotsMax = Math.max(slotsPerPeerMax, lists.length);
    for (const list of lists) {
      const slot = slotOf(list);
      if (known.announced.get(slot) === list.sha256) continue;
      // What it tells is no reason to tell it again what it was told: two peers that keep to different lists would never end.
      if (known.has.get(slot) === list.sha256) put(known.announced, slot, list.sha256, slotsMax);
      else if (news.length < crlNoticesMax) news.push(list);
    }
    for (const list of news) put(known.announced, slotOf(list), list.sha256, slotsMax);
    known.isAsked = news.length > 0;
    return news;
  }

  /** A peer answered an announcement of lists. */
  answered(peer: PeerText, lists: readonly CrlNotice[] = [], replies: readonly ("have" | "want")[] = []): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    for (const [index, list] of lists.entries()) {
      const reply = replies[index];
      if (reply !== undefined) put(known.replies, slotOf(list), { sha256: list.sha256, reply });
    }
    known.isAsked = false;
    known.failures = 0;
  }

  /**
   * An announcement failed: it is repeated, unless the peer does not speak the protocol. Where it spoke it before, another process has its
   * key, which may be a thief. Returns how often in a row.
   */
  failed(peer: PeerText, lists: readonly CrlNotice[], isUnable: boolean): number | undefined {
    const known = this.#peers.get(peer);
    if (known === undefined) return undefined;
    known.isAsked = false;
    known.isUnable ||= isUnable && known.told.size === 0 && known.replies.size === 0;
    known.failures += 1;
    for (const list of lists) {
      if (known.announced.get(slotOf(list)) === list.sha256) known.announced.delete(slotOf(list));
    }
    return known.isUnable ? undefined : known.failures;
  }

  /** All are told everything again. */
  forgetAnnouncements(): void {
    for (const { has, announced } of this.#peers.values()) {
      has.clear();
      announced.clear();
    }
  }

  peers(): Iterable<PeerText> {
    return this.#peers.keys();
  }

  // ── What they waste ──

  /** A longer wait than there is: the clock was ahead, and was set right. */
  #isOver({ deafUntil }: Strikes): boolean {
    const leftMs = deafUntil - this.#now();
    return leftMs <= 0 || leftMs > deafMs;
  }

  /** Whether a peer's announcements count. */
  isHeard(peer: PeerText): boolean {
    const record = this.#records.get(peer);
    return record === undefined || record.strikes < strikesMax || this.#isOver(record);
  }

  /**
   * A list of this peer was useless; `isLate`: it did not arrive in time. Returns whether the peer's announcements are ignored from now on.
   */
  strike(peer: PeerText, isLate = false): boolean {
    const known = this.#records.get(peer);
    const expired = known !== undefined && known.strikes >= strikesMax && this.#isOver(known);
    const before = known === undefined || expired ? { strikes: 0, late: 0 } : known;
    const strikes = before.strikes + 1;
    this.#records.delete(peer);
    this.#records.set(peer, { strikes, late: before.late + (isLate ? 1 : 0), deafUntil: this.#now() + deafMs });
    const [oldest] = this.#records.size > strikingPeersMax ? this.#records.keys() : [];
    if (oldest !== undefined) this.#records.delete(oldest);
    return strikes >= strikesMax;
  }

  /** The connection with this peer was lost: lists that did not arrive in time are no fault of the peer. */
  forgiveLate(peer: PeerText): void {
    const known = this.#records.get(peer);
    if (known === undefined) return;
    const strikes = known.strikes - known.late;
    if (strikes === 0) this.#records.delete(peer);
    else this.#records.set(peer, { ...known, strikes, late: 0 });
  }

  /** A list of this peer was of use. */
  forgive(peer: PeerText): void {
    this.#records.delete(peer);
  }
}

/** Puts the newest last; over the limit the oldest goes. */
function put<Value>(slots: Map<string, Value>, slot: string, value: Value, slotsMax = slotsPerPeerMax): void {
  slots.delete(slot);
  slots.set(slot, value);
  const [oldest] = slots.size > slotsMax ? slots.keys() : [];
  if (oldest !== undefined) slots.delete(oldest);
}
