/**
 * The lists that a node wants, who said to have them, and which is pulled from whom.
 *
 * Announced numbers decide nothing: an announcement never displaces another peer's. Two pulls at once for each issuer, from different
 * peers, four in all. The CA comes first, then gateways, then others; among equals the peer that had the fewest turns without use.
 * A pull that holds up a better source, or that is slower than the least rate while another waits, gives its place up and goes on later.
 *
 * @module
 */
import type { PeerText } from "../../transport/port.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";
import type { SourceRank } from "./neighbours.ts";
import { slotOf } from "./travelling_crls.ts";

/** Pulls at once, in all and for one issuer. */
export const pullsMax = 4;
export const pullsPerIssuerMax = 2;
/** A pull gets this much time, in milliseconds, and in addition what its bytes take at the least rate, in bytes a millisecond. */
export const pullGraceMs = 5_000;
export const pullBytesPerMs = 262.144;
/** A pull may be slower than the least rate for this long, in milliseconds, while others wait. */
export const behindMs = 1_000;
/** Lists that are wanted from one peer at once; with more, the oldest of them is given up. */
export const wantsPerPeerMax = 8;

/** How a pull ended. `stopped`: it goes on later. `unstored`: it begins again later. `unanswered`: the request failed, which says nothing of the list. */
export type PullEnd = "whole" | "useless" | "unanswered" | "late" | "wrong" | "stopped" | "unstored";

/** A pull to begin. */
export interface NextPull {
  readonly notice: CrlNotice;
  readonly peer: PeerText;
  /** Bytes that are there already. */
  readonly offset: number;
  /** In milliseconds. */
  readonly deadlineMs: number;
}

interface Source {
  /** What this peer told of the list: its size and issuer are believed of its own bytes alone. */
  readonly notice: CrlNotice;
  /** Time of pulls that gave their place up, in milliseconds. */
  usedMs: number;
  isTried: boolean;
  isUnanswered: boolean;
}

interface Want {
  /** What the source of the bytes told. */
  notice: CrlNotice;
  readonly sources: Map<PeerText, Source>;
  /** Counts announcements. */
  readonly order: number;
  /** Bytes that arrived, and the peers that sent them. */
  offset: number;
  readonly givers: Set<PeerText>;
  /** Bytes of several peers made no list: from now on one peer sends all of them. */
  isAlone: boolean;
  running: { readonly peer: PeerText; readonly since: number; readonly from: number } | undefined;
  /** All bytes are there. */
  isWhole: boolean;
  /** A pull began: bytes may be in its file. */
  isBegun: boolean;
}

interface Candidate {
  readonly want: Want;
  readonly peer: PeerText;
  readonly source: Source;
  readonly rank: SourceRank;
}

/** How long a pull may take, in milliseconds. */
export const pullMs = (bytes: number): number => pullGraceMs + bytes / pullBytesPerMs;

/** The lists that one exchange wants, by SHA-256. */
export class Wants {
  readonly #now: () => number;
  readonly #rankOf: (peer: PeerText) => SourceRank;
  readonly #wants = new Map<string, Want>();
  /** Pulls of each peer since the last one that was of use. */
  readonly #turns = new Map<PeerText, number>();
  /** SHA-256 of lists that were given up, and whose bytes are not removed yet. */
  readonly #givenUp = new Set<string>();
  #announced = 0;

  /** @param now Milliseconds since the epoch. */
  constructor(now: () => number, rankOf: (peer: PeerText) => SourceRank) {
    this.#now = now;
    this.#rankOf = rankOf;
  }

  get size(): number {
    return this.#wants.size;
  }

  /** A peer has a list that is wanted. What it had in the same slot before, it has no longer. */
  add(peer: PeerText, notice: CrlNotice): void {
    this.#withdraw(peer, notice);
    const known = this.#wants.get(notice.sha256);
    const { bytes: _bytes, ...kept } = notice;
    const source = { notice: kept, usedMs: 0, isTried: false, isUnanswered: false };
    if (known !== undefined) {
      if (!known.sources.has(peer)) known.sources.set(peer, source);
      return;
    }
    this.#wants.set(notice.sha256, {
      notice: kept,
      sources: new Map([[peer, source]]),
      order: this.#announced++,
      offset: 0,
      givers: new Set(),
      isAlone: false,
      running: undefined,
      isWhole: false,
      isBegun: false,
    });
  }

  #withdraw(peer: PeerText, notice: CrlNotice): void {
    const of = [...this.#wants.values()].filter((want) =>
      want.sources.has(peer) && want.running?.peer !== peer && want.notice.sha256 !== notice.sha256
    );
    const oldest = of.length >= wantsPerPeerMax ? of.slice(0, 1) : [];
    const slot = slotOf(notice);
    for (
      const want of of.filter(({ sources }) => slotOf(sources.get(peer)?.notice ?? notice) === slot).concat(oldest)
    ) {
      want.sources.delete(peer);
      if (want.sources.size === 0 && !want.isWhole) this.#giveUp(want);
    }
  }

  /** The list is there, or no longer wanted. Returns whether it is being pulled. */
  remove(sha256: string): boolean {
    const want = this.#wants.get(sha256);
    if (want !== undefined) this.#giveUp(want);
    return want?.running !== undefined;
  }

  #giveUp(want: Want): void {
    const { sha256 } = want.notice;
    this.#wants.delete(sha256);
    // A pull that runs may still write.
    if (want.isBegun && want.running === undefined) this.giveUp(sha256);
  }

  /** The bytes of a list that is not wanted are not needed. */
  giveUp(sha256: string): void {
    this.#givenUp.add(sha256);
  }

  /** SHA-256 of lists whose bytes are to be removed. Until then they are not pulled. */
  givenUp(): readonly string[] {
    return [...this.#givenUp];
  }

  /** The bytes of lists were removed. */
  dropped(lists: readonly string[]): void {
    for (const sha256 of lists) this.#givenUp.delete(sha256);
  }

  /** The peers that sent bytes of a list. */
  giversOf(sha256: string): readonly PeerText[] {
    return [...this.#wants.get(sha256)?.givers ?? []];
  }

  /** The peers whose last pull of a list ended because they did not answer. */
  unansweredBy(sha256: string): readonly PeerText[] {
    const sources = this.#wants.get(sha256)?.sources ?? [];
    return [...sources].flatMap(([peer, { isUnanswered }]) => isUnanswered ? [peer] : []);
  }

  /** The wanted lists. */
  notices(): readonly CrlNotice[] {
    return [...this.#wants.values()].map(({ notice }) => notice);
  }

  /** A peer is gone. A pull from it fails by itself. */
  left(peer: PeerText): void {
    this.#turns.delete(peer);
    for (const want of this.#wants.values()) {
      if (want.running?.peer === peer) continue;
      want.sources.delete(peer);
      if (want.sources.size === 0 && !want.isWhole) this.#giveUp(want);
    }
  }

  // ── Pulls ──

  /** The next pull, where there is a place for one. It counts as running from here on. */
  next(): NextPull | undefined {
    const [best] = this.#candidates().filter((each) => this.#hasPlace(each));
    if (best === undefined) return undefined;
    const { want, peer, source } = best;
    const { size, issuer } = source.notice;
    const isOther = size !== want.notice.size || issuer !== want.notice.issuer;
    if (isOther || (want.isAlone && !want.givers.has(peer))) this.#restart(want);
    want.notice = source.notice;
    want.isBegun = true;
    want.running = { peer, since: this.#now(), from: want.offset };
    this.#turns.set(peer, (this.#turns.get(peer) ?? 0) + 1);
    const deadlineMs = Math.max(1, pullMs(want.notice.size) - source.usedMs);
    return { notice: want.notice, peer, offset: want.offset, deadlineMs };
  }

  /** A running pull that is to give its place up to one that waits. */
  toStop(): string | undefined {
    const [best] = this.#candidates();
    if (best === undefined || this.#hasPlace(best)) return undefined;
    const running = this.#running();
    const issuers = running.filter(({ notice }) => notice.issuer === best.source.notice.issuer);
    const blocking = issuers.length >= pullsPerIssuerMax || issuers.some((each) => each.running?.peer === best.peer)
      ? issuers
      : running;
    const worst = blocking.toSorted((a, b) => this.#rank(b) - this.#rank(a));
    const given = worst.find((each) => this.#rank(each) > best.rank) ?? worst.find((each) => this.#isBehind(each));
    return given?.notice.sha256;
  }

  /** Whether a list waits for a place. */
  get areWaiting(): boolean {
    return this.#candidates().length > 0;
  }

  /** More bytes arrived. */
  progressed(sha256: string, offset: number): void {
    const want = this.#wants.get(sha256);
    if (want?.running === undefined) return;
    want.offset = offset;
    want.givers.add(want.running.peer);
  }

  /**
   * A pull ended.
   *
   * @returns `unserved` where no source is left: the list is given up.
   */
  ended(sha256: string, end: PullEnd): "unserved" | undefined {
    const want = this.#wants.get(sha256);
    const peer = want?.running?.peer;
    const source = want?.sources.get(peer ?? "");
    if (want === undefined) this.giveUp(sha256);
    if (want === undefined || want.running === undefined || peer === undefined) return undefined;
    const tookMs = this.#now() - want.running.since;
    want.running = undefined;
    if (end === "whole") {
      want.isWhole = true;
      this.#turns.delete(peer);
      return undefined;
    }
    if (source !== undefined) {
      source.usedMs += Math.max(0, tookMs);
      const goesOn = end === "stopped" || end === "unstored";
      source.isTried = !goesOn || source.usedMs >= pullMs(want.notice.size);
      source.isUnanswered = end === "unanswered";
    }
    // What could not be stored may be because what was there is gone.
    if (end === "wrong" || end === "unstored") this.#restart(want);
    return this.#isUnserved(want) ? "unserved" : undefined;
  }

  /**
   * The bytes that arrived are not the list.
   *
   * @returns The peer that sent all of them; undefined where several did, so that none is to blame.
   */
  wasWrong(sha256: string): PeerText | undefined {
    const want = this.#wants.get(sha256);
    if (want === undefined) return undefined;
    const [giver, ...more] = want.givers;
    want.isWhole = false;
    want.isAlone = true;
    this.#restart(want);
    if (more.length > 0 || giver === undefined) return undefined;
    want.sources.delete(giver);
    this.#isUnserved(want);
    return giver;
  }

  /** The bytes that arrived are there no longer. */
  wasLost(sha256: string): void {
    const want = this.#wants.get(sha256);
    if (want?.isWhole !== true) return;
    want.isWhole = false;
    this.#restart(want);
    this.#isUnserved(want);
  }

  #isUnserved(want: Want): boolean {
    if ([...want.sources.values()].some(({ isTried }) => !isTried)) return false;
    this.#giveUp(want);
    return true;
  }

  #restart(want: Want): void {
    want.offset = 0;
    want.givers.clear();
  }

  #running(): readonly Want[] {
    return [...this.#wants.values()].filter(({ running }) => running !== undefined);
  }

  #candidates(): readonly Candidate[] {
    const all = [...this.#wants.values()]
      .filter(({ notice, running, isWhole }) => running === undefined && !isWhole && !this.#givenUp.has(notice.sha256))
      .flatMap((want) =>
        [...want.sources].filter(([, { isTried }]) => !isTried)
          .map(([peer, source]): Candidate => ({ want, peer, source, rank: this.#rankOf(peer) }))
      );
    const turnsOf = ({ peer }: Candidate) => this.#turns.get(peer) ?? 0;
    return all.toSorted((a, b) => a.rank - b.rank || turnsOf(a) - turnsOf(b) || a.want.order - b.want.order);
  }

  #hasPlace({ source: { notice }, peer }: Candidate): boolean {
    const running = this.#running();
    const issuers = running.filter((each) => each.notice.issuer === notice.issuer);
    return running.length < pullsMax && issuers.length < pullsPerIssuerMax &&
      issuers.every((each) => each.running?.peer !== peer);
  }

  #rank({ running }: Want): SourceRank {
    return running === undefined ? 2 : this.#rankOf(running.peer);
  }

  #isBehind({ running, offset }: Want): boolean {
    if (running === undefined) return false;
    const lateMs = this.#now() - running.since - behindMs;
    return lateMs > 0 && offset - running.from < lateMs * pullBytesPerMs;
  }
}
