/**
 * What a list exchange knows: lists that it has, keys whose lists it takes, peers, wanted lists, lists that arrived.
 *
 * @module
 */
import { compareNumbers } from "../../pki/crl.ts";
import { isOwnCa } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { heldCrls } from "../../pki/held_crls.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { PeerText } from "../../transport/port.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";
import { crlInlineBytesMax } from "../../transport/protocols/mod.ts";
import type { CrlIssuer, LearnedCrl } from "../files/arriving_crls.ts";
import { Neighbours, type PeerStanding } from "./neighbours.ts";
import {
  effectiveOf,
  hashesOf,
  isNameable,
  issuersOf,
  newestOf,
  offeredAs,
  offeredBy,
  type OfferedList,
  slotOf,
} from "./travelling_crls.ts";
import { Wants } from "./wants.ts";

/** Bytes of a list that is taken from a peer or by HTTP: 1.2 million entries. */
export const crlTakenBytesMax = 64 * 1024 * 1024;
/** Of a larger complete list `hypha-ca` also issues a base and a delta list, which nodes request instead; in bytes. */
export const wholeBytesMax = 32_768;
/** Lists from the future that are kept aside; with more, the oldest of them is dropped. */
export const aheadMax = 8;
/** Lists that contradict others, of which the SHA-256 is remembered until the trust store has read them. */
export const othersMax = 64;
/** Lists that came along with announcements and wait to be verified; with more, the next ones are pulled. */
export const arrivalsMax = 64;

/** Files whose look is remembered. */
export const signaturesMax = 256;

/** A list whose bytes are there. */
export interface Arrival {
  readonly issuer: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** The peer that brought the bytes along with its announcement; undefined: the bytes were pulled or fetched. */
  readonly peer: PeerText | undefined;
  /** Where they were fetched, into a file of their own; undefined: they came from peers. */
  readonly urls?: readonly string[] | undefined;
  /** They are not in the file yet. */
  readonly bytes?: Uint8Array | undefined;
}

/** A list whose bytes lie in their place. */
export interface SeenList {
  readonly sha256: string;
  /** What its file looks like. */
  readonly signature: string;
  /** Of a small list. */
  readonly bytes: Uint8Array | undefined;
}

/** How far a list has come. */
export interface ListStandings {
  readonly notice: CrlNotice;
  readonly issuerName: string;
  readonly peers: readonly PeerStanding[];
}

interface Ahead {
  readonly arrival: Arrival;
  readonly until: number;
}

/** The book of one exchange. It changes nothing but itself. */
export class CrlBook {
  readonly neighbours: Neighbours;
  readonly wants: Wants;
  readonly #now: () => number;
  readonly #stateDir: string;
  #snapshot: TrustSnapshot | undefined;
  /** Lists that came through this exchange, by slot: the trust store may not have read them yet. */
  readonly #learned = new Map<string, OfferedList>();
  /** SHA-256 of lists that came and contradict others: they are not offered. */
  readonly #others = new Set<string>();
  /** Lists whose bytes were seen in their place, by SHA-256; the bytes of small ones. No others are offered. */
  readonly #seen = new Map<string, Uint8Array | undefined>();
  /** SHA-256 of lists in force whose files were torn, or are gone: they are wanted again, from any peer. */
  readonly #lost = new Set<string>();
  #newest: ReadonlyMap<string, OfferedList> = new Map();
  #known: ReadonlySet<string> = new Set();
  #issuers: ReadonlyMap<string, CrlIssuer> = new Map();
  readonly #ahead = new Map<string, Ahead>();
  readonly #arrivals: Arrival[] = [];
  /** What the files of lists looked like when they were hashed, by SHA-256. */
  readonly signatures = new Map<string, string>();
  #ids = 0;

  /** @param now Milliseconds since the epoch. */
  constructor({ now, stateDir }: { readonly now: () => number; readonly stateDir: string }) {
    this.#now = now;
    this.#stateDir = stateDir;
    this.neighbours = new Neighbours(now);
    this.wants = new Wants(now, (peer) => this.neighbours.rankOf(peer));
  }

  /** A number of its own for a request or a child. */
  id(): string {
    return String(++this.#ids);
  }

  // ── Lists ──

  /** Trust changed: the lists that are held, and the keys whose lists are taken. */
  trustChanged(snapshot: TrustSnapshot): void {
    this.#snapshot = snapshot;
    this.refresh();
  }

  get isTrustKnown(): boolean {
    return this.#snapshot !== undefined;
  }

  /** The signature of a list may have been verified meanwhile, on a peer's path. */
  refresh(): void {
    if (this.#snapshot === undefined) return;
    const held = offeredBy(this.#snapshot, this.#stateDir);
    for (const { notice } of held) {
      const learned = this.#learned.get(slotOf(notice));
      if (learned !== undefined && compareNumbers(notice.number, learned.notice.number) > 0) {
        this.#learned.delete(slotOf(notice));
      }
    }
    this.#newest = newestOf([...this.#learned.values(), ...held]);
    const offered = new Set([...this.#newest.values()].map(({ notice }) => notice.sha256));
    for (const sha256 of this.#seen.keys()) if (!offered.has(sha256)) this.#seen.delete(sha256);
    for (const sha256 of this.#lost) if (!offered.has(sha256)) this.#lost.delete(sha256);
    const learned = [...this.#learned.values()].map(({ notice }) => notice.sha256);
    const known = [...hashesOf(this.#snapshot), ...learned, ...this.#others];
    this.#known = new Set(known.filter((sha256) => !this.#lost.has(sha256)));
    this.#issuers = issuersOf(this.#snapshot);
  }

  /** A list is in its place. */
  learned(crl: LearnedCrl, bytes: Uint8Array | undefined): void {
    const { notice, path } = offeredAs(crl);
    if (crl.kind === "other") {
      this.#others.add(crl.sha256);
      const [oldest] = this.#others.size > othersMax ? this.#others : [];
      if (oldest !== undefined) this.#others.delete(oldest);
    } else {
      this.#learned.set(slotOf(notice), { notice, path });
      this.#seen.set(crl.sha256, bytes);
      this.#lost.delete(crl.sha256);
    }
    this.refresh();
  }

  /** Lists in force whose bytes were not seen in their place: the keeper of lists may not have written them yet. */
  unseen(): readonly OfferedList[] {
    return [...this.#newest.values()].filter(({ notice }) => !this.#seen.has(notice.sha256));
  }

  /** The bytes of a list were seen in its place. */
  seen({ sha256, signature, bytes }: SeenList): void {
    this.#seen.set(sha256, bytes);
    this.noteSignature(sha256, signature);
    if (this.#lost.delete(sha256)) this.refresh();
  }

  /** Whether the bytes of a list in force were seen in their place. */
  isSeen(sha256: string): boolean {
    return this.#seen.has(sha256);
  }

  /** Whether any of these lists is one that peers are told. */
  areOffered(lost: LostLists): boolean {
    return [...this.#newest.values()].some((list) => isAmong(list, lost));
  }

  /** Lists whose files were torn, or are gone: those that have them are asked again. */
  lost(lost: LostLists): void {
    for (const list of this.#newest.values()) {
      const { sha256 } = list.notice;
      if (!isAmong(list, lost)) continue;
      this.#lost.add(sha256);
      this.#seen.delete(sha256);
      this.signatures.delete(sha256);
    }
    this.refresh();
    for (const { notice } of this.#newest.values()) {
      if (!this.#lost.has(notice.sha256)) continue;
      for (const peer of this.neighbours.holdersOf(notice)) if (this.neighbours.isHeard(peer)) this.#want(peer, notice);
    }
  }

  /** The lists that peers are told, with as many bytes as one announcement may bring along. */
  notices(): readonly CrlNotice[] {
    let inline = 0;
    const announced = [...this.#newest.values()].filter(({ notice }) =>
      isNameable(notice) && this.#seen.has(notice.sha256)
    );
    return announced.map(({ notice }) => {
      const bytes = this.#seen.get(notice.sha256);
      inline += bytes?.length ?? 0;
      return bytes === undefined || inline > crlInlineBytesMax ? notice : { ...notice, bytes };
    });
  }

  /** The lists in force that peers are told, and how each connected peer stands to them. */
  standings(): readonly ListStandings[] {
    return [...this.#newest.values()].filter(({ notice }) => isNameable(notice)).map(({ notice }) => ({
      notice,
      issuerName: this.#issuers.get(notice.issuer)?.certificate.subject.text ?? notice.issuer,
      peers: this.neighbours.standingsTo(notice),
    }));
  }

  /** Where a list that the node has lies. */
  pathOf(sha256: string): string | undefined {
    return [...this.#newest.values()].find(({ notice }) => notice.sha256 === sha256)?.path;
  }

  /** The number of the newest list that the node has of a slot. */
  numberOf(slot: Pick<CrlNotice, "issuer" | "scope" | "base">): string | undefined {
    return this.#newest.get(slotOf(slot))?.notice.number;
  }

  /** The number of the delta that is in force on the complete list; undefined where none fits it, or a file of the two is lost. */
  effectiveNumberOf(slot: Pick<CrlNotice, "issuer" | "scope">): string | undefined {
    return effectiveOf(this.#newest, slot, this.#lost);
  }

  /** The same of what lies in its place: of a list that was lost there, the number below it, if any, so that it fits again. */
  placedNumberOf(slot: Pick<CrlNotice, "issuer" | "scope" | "base">): string | undefined {
    const notice = this.#newest.get(slotOf(slot))?.notice;
    if (notice === undefined || !this.#lost.has(notice.sha256)) return notice?.number;
    const number = BigInt(notice.number);
    return number === 0n ? undefined : String(number - 1n);
  }

  /** Whether the node has this list, and its bytes were not lost. */
  isHeld(sha256: string): boolean {
    return !this.#lost.has(sha256) && (this.#others.has(sha256) || this.pathOf(sha256) !== undefined);
  }

  /** The SHA-256 of the newest list of an issuer that covers all certificates; undefined where its bytes were lost. */
  heldOf(issuer: string, kind: "complete" | "delta"): string | undefined {
    const slot = slotOf({ issuer, scope: "all", base: kind === "delta" ? "" : null });
    const sha256 = this.#newest.get(slot)?.notice.sha256;
    return sha256 !== undefined && this.#lost.has(sha256) ? undefined : sha256;
  }

  /** The file of this list looks so; undefined: it holds another list now. */
  noteSignature(sha256: string, signature: string | undefined): void {
    if (signature === undefined) this.signatures.delete(sha256);
    else this.signatures.set(sha256, signature);
    const [oldest] = this.signatures.size > signaturesMax ? this.signatures.keys() : [];
    if (oldest !== undefined) this.signatures.delete(oldest);
  }

  /** Whether lists that were in force before are missing, or older than they were. */
  get isLacking(): boolean {
    return this.#snapshot !== undefined && heldCrls(this.#snapshot).lacking.length > 0;
  }

  issuerOf(key: string): CrlIssuer | undefined {
    return this.#issuers.get(key);
  }

  /** The keys of the node's own domain whose lists are fetched. */
  issuersOf(domain: string): readonly CrlIssuer[] {
    return [...this.#issuers.values()].filter((issuer) => issuer.domain === domain);
  }

  // ── Announcements ──

  /** A member is connected. */
  established(identity: PeerIdentity): void {
    this.neighbours.established(identity, this.#snapshot !== undefined && isOwnCa(identity, this.#snapshot));
    this.refresh();
  }

  /**
   * Whether the node wants an announced list. Only what the announcer says of its own list may keep that list away: an older number,
   * or a size over the limit.
   */
  isWanted(notice: CrlNotice): boolean {
    const { issuer, sha256, size, number, base, scope } = notice;
    if (size < 1 || size > crlTakenBytesMax || !this.#issuers.has(issuer)) return false;
    if (this.#lost.has(sha256)) return true;
    if (this.#known.has(sha256) || this.#ahead.has(sha256)) return false;
    const held = this.numberOf(notice);
    if (held !== undefined && compareNumbers(number, held) < 0) return false;
    if (base === null && number === this.effectiveNumberOf(notice)) return false;
    if (base !== null || size <= wholeBytesMax || held === undefined) return true;
    const delta = this.numberOf({ issuer, scope, base: held });
    return delta === undefined || compareNumbers(number, delta) > 0;
  }

  /** A peer announced lists. Returns for each whether it is wanted. It is requested only from a peer that is heard. */
  announced(peer: PeerText, notices: readonly CrlNotice[]): readonly ("have" | "want")[] {
    const isHeard = this.neighbours.isHeard(peer);
    return notices.map((notice) => {
      const isWanted = this.isWanted(notice);
      this.neighbours.noteTold(peer, notice);
      if (isWanted && isHeard) this.#want(peer, notice);
      return isWanted ? "want" : "have";
    });
  }

  #want(peer: PeerText, notice: CrlNotice): void {
    const { issuer, sha256, size, bytes } = notice;
    const isThere = bytes?.length === size && this.#bytesCame({ issuer, sha256, sizeBytes: size, peer, bytes });
    if (!isThere) this.wants.add(peer, notice);
  }

  // ── Arrivals ──

  /** A list was pulled or fetched. There are as many as lists that are wanted, which are bounded for each peer. */
  arrived(arrival: Arrival): void {
    const { sha256, urls } = arrival;
    // One that could not be stored waits through several rounds of fetching.
    const isThere = this.#arrivals.some((each) => each.sha256 === sha256 && each.urls?.join() === urls?.join());
    if (urls === undefined || !isThere) this.#arrivals.push(arrival);
  }

  /** Bytes came along with an announcement. Returns whether they are looked at. */
  #bytesCame(arrival: Arrival): boolean {
    const isThere = this.#arrivals.some(({ sha256 }) => sha256 === arrival.sha256);
    if (!isThere && this.#arrivals.length >= arrivalsMax) return false;
    if (!isThere) this.#arrivals.push(arrival);
    return true;
  }

  /** Those that tell a list are asked for it. */
  wantFrom(sha256: string, peers: Iterable<PeerText>): void {
    const told = this.neighbours.toldOf(sha256);
    for (const peer of peers) this.announced(peer, [told.get(peer)].filter((notice) => notice !== undefined));
  }

  get nextArrival(): Arrival | undefined {
    return this.#arrivals[0];
  }

  /** The first arrival was dealt with. */
  arrivalDone(): void {
    this.#arrivals.shift();
  }

  /** The first arrival could not be stored: the others come first. */
  postponeArrival(): void {
    this.#arrivals.push(...this.#arrivals.splice(0, 1));
  }

  /** A list is kept aside until its time. */
  keepAhead(arrival: Arrival, until: number): void {
    const { bytes: _bytes, ...kept } = arrival;
    this.#ahead.set(arrival.sha256, { arrival: kept, until });
    const [oldest] = this.#ahead.size > aheadMax ? this.#ahead.keys() : [];
    if (oldest === undefined) return;
    this.#ahead.delete(oldest);
    this.wants.giveUp(oldest);
  }

  /** Lists that were given up and whose bytes nothing else needs. */
  unneeded(): readonly string[] {
    const isNeeded = (sha256: string) =>
      this.#ahead.has(sha256) || this.#arrivals.some((arrival) => arrival.sha256 === sha256);
    return this.wants.givenUp().filter((sha256) => !isNeeded(sha256));
  }

  /** Lists whose time has come arrive now. Returns how long until the next one's, in milliseconds. */
  takeDue(): number | undefined {
    for (const [sha256, { arrival, until }] of this.#ahead) {
      if (until > this.#now()) continue;
      this.#ahead.delete(sha256);
      this.arrived(arrival);
    }
    const next = Math.min(...[...this.#ahead.values()].map(({ until }) => until));
    return Number.isFinite(next) ? Math.max(0, next - this.#now()) : undefined;
  }

  /** Lists that are wanted no longer: the node has them, or newer ones. Returns those that are being pulled. */
  dropUnwanted(): readonly string[] {
    const unwanted = this.wants.notices().filter((notice) => !this.isWanted(notice));
    return unwanted.flatMap(({ sha256 }) => this.wants.remove(sha256) ? [sha256] : []);
  }
}

/** Lists by their SHA-256, and by the files in which they were. */
interface LostLists {
  readonly sha256: readonly string[];
  readonly torn: readonly string[];
}

const isAmong = ({ notice, path }: OfferedList, { sha256, torn }: LostLists) =>
  sha256.includes(notice.sha256) || torn.includes(path);
