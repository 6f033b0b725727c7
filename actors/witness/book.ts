/**
 * What a witness knows: the logs that it holds states of, the connected nodes that keep logs, and what other witnesses hold and were told.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText } from "../../transport/port.ts";
import { originOfNames } from "../audit/key_binding.ts";
import type { ToldHead } from "./check.ts";
import type { HeldLog, OpenedHead } from "./held_head.ts";

/** Logs of gateways and CAs, and of other nodes, that a witness holds states of. */
export const sharedLogsMax = 256;
export const otherLogsMax = 1_024;
/** A log whose state is so old may make place for another one, in milliseconds. */
export const staleMs = 30 * 86_400_000;
/** The time of a state that does not change is kept after this, in milliseconds. */
export const provenAgainMs = 86_400_000;
/** States of one log that wait to be compared. */
export const toldMax = 4;

/** A connected node that may keep a log, or be a witness. */
interface Neighbour {
  readonly identity: PeerIdentity;
  /** When it is asked next. */
  dueAt: number;
  /** It does not know the protocol, or is no witness: it is left alone until it connects again. */
  isDeaf: boolean;
  /** Notes that it was told. */
  readonly told: Set<string>;
  /** The states of each log that it told since a time. */
  readonly toldAt: Map<string, { readonly at: number; readonly notes: Set<string> }>;
  isTelling: boolean;
}

/** A check to begin. */
export interface NextCheck {
  readonly origin: string;
  readonly peer: PeerText;
  readonly from: string;
  readonly held: OpenedHead | undefined;
  readonly told: readonly ToldHead[];
}

const isWitnessRole = ({ role }: PeerIdentity): boolean => role === "gateway" || role === "ca";
/** A member's certificate name and PeerID. */
export const nameOf = ({ name, peer }: PeerIdentity): string => `${name} ${peer}`;

/** The book of one witness. It changes nothing but itself. */
export class WitnessBook {
  readonly logs = new Map<string, HeldLog>();
  readonly #everyMs: number;
  readonly #neighbours = new Map<string, Neighbour>();
  readonly #told = new Map<string, ToldHead[]>();
  readonly #queue = new Set<string>();
  readonly #running = new Set<string>();

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** What an earlier run held. */
  restore(logs: readonly HeldLog[]): void {
    for (const log of logs) if (!this.logs.has(log.head.origin)) this.logs.set(log.head.origin, log);
  }

  // ── Neighbours ──

  /** A member is connected. Only a SPIFFE ID names one node alone. */
  established(identity: PeerIdentity, dueAt: number): void {
    const origin = originOfNames(identity.names);
    if (origin === undefined) return;
    this.#neighbours.set(origin, {
      identity,
      dueAt,
      isDeaf: false,
      told: new Set(),
      toldAt: new Map(),
      isTelling: false,
    });
  }

  /** A member has a further connection, perhaps of another process, which knows other protocols and was told nothing. */
  reconnected({ names, peer }: PeerIdentity): void {
    const neighbour = this.#neighbours.get(originOfNames(names) ?? "");
    if (neighbour?.identity.peer !== peer) return;
    neighbour.isDeaf = false;
    neighbour.told.clear();
  }

  /** A member is gone. */
  closed({ names, peer }: Pick<PeerIdentity, "names" | "peer">): void {
    const origin = originOfNames(names);
    if (origin === undefined || this.#neighbours.get(origin)?.identity.peer !== peer) return;
    this.#neighbours.delete(origin);
    this.#queue.delete(origin);
    this.#told.delete(origin);
  }

  /** The node has another transport, with connections of its own. */
  clear(): void {
    this.#neighbours.clear();
    this.#queue.clear();
    this.#told.clear();
  }

  /** A node does not take part. */
  deaf(origin: string): void {
    const neighbour = this.#neighbours.get(origin);
    if (neighbour !== undefined) neighbour.isDeaf = true;
  }

  // ── Checks ──

  /** The nodes whose turn it is are asked. */
  takeDue(now: number): void {
    for (const [origin, neighbour] of this.#neighbours) {
      const { dueAt, isDeaf } = neighbour;
      // A clock that goes back must not silence the witness.
      if (isDeaf || (dueAt > now && dueAt - now <= this.#everyMs)) continue;
      neighbour.dueAt = now + this.#everyMs * dueShare;
      if (this.logs.get(origin)?.fork === undefined) this.#queue.add(origin);
    }
  }

  /** The next check; it counts as running from here on. */
  next(): NextCheck | undefined {
    for (const origin of this.#queue) {
      if (this.#running.has(origin)) continue;
      this.#queue.delete(origin);
      const neighbour = this.#neighbours.get(origin);
      if (neighbour === undefined) continue;
      this.#running.add(origin);
      const told = this.#told.get(origin) ?? [];
      this.#told.delete(origin);
      const { identity } = neighbour;
      return { origin, peer: identity.peer, from: nameOf(identity), held: this.logs.get(origin)?.head, told };
    }
    return undefined;
  }

  /** Checks that run. */
  get running(): number {
    return this.#running.size;
  }

  /** A check is over. */
  ended(origin: string): void {
    this.#running.delete(origin);
  }

  /** Whether the log's node is a gateway or a CA. */
  isShared(origin: string): boolean {
    const neighbour = this.#neighbours.get(origin);
    return neighbour === undefined ? this.logs.get(origin)?.isShared === true : isWitnessRole(neighbour.identity);
  }

  /**
   * Takes the state of a log.
   *
   * @returns A log that made place for it; `full` where none could, and the state is not held.
   */
  hold(log: HeldLog): string | "full" | undefined {
    const { origin } = log.head;
    let left: string | undefined;
    if (!this.logs.has(origin)) {
      const alike = [...this.logs].filter(([, { isShared }]) => isShared === log.isShared);
      if (alike.length >= (log.isShared ? sharedLogsMax : otherLogsMax)) {
        const [oldest] = alike.filter(([, { fork, at }]) => fork === undefined && log.at - at > staleMs)
          .toSorted(([, a], [, b]) => a.at - b.at);
        if (oldest === undefined) return "full";
        left = oldest[0];
        this.logs.delete(left);
      }
    }
    this.logs.set(origin, log);
    return left;
  }

  // ── Other witnesses ──

  /**
   * Another witness told the state of a log.
   *
   * @returns `judge`: it is compared now, without the log's node; `asked`: the node is asked; `passed over`.
   */
  takeTold(teller: PeerIdentity, head: OpenedHead, now: number): "judge" | "asked" | "passed over" {
    const { origin, note, size, binding } = head;
    const held = this.logs.get(origin);
    const toldAt = this.#neighbours.get(originOfNames(teller.names) ?? "")?.toldAt;
    if (toldAt === undefined || held === undefined || !held.isShared) return "passed over";
    if (held.fork !== undefined || held.head.note === note) return "passed over";
    // A witness that repeats itself must not make the node prove the same over and over.
    let recent = toldAt.get(origin);
    if (recent === undefined || Math.abs(now - recent.at) >= this.#everyMs * againShare) {
      recent = { at: now, notes: new Set() };
      toldAt.set(origin, recent);
    }
    if (recent.notes.has(note) || recent.notes.size >= toldAgainMax) return "passed over";
    recent.notes.add(note);
    if (held.head.size === size || held.head.binding.key !== binding.key) return "judge";
    const waiting = this.#told.get(origin) ?? [];
    if (waiting.length >= toldMax || !this.#neighbours.has(origin)) return "passed over";
    this.#told.set(origin, [...waiting, { head, from: nameOf(teller) }]);
    this.#queue.add(origin);
    return "asked";
  }

  /** Everything is told again: an earlier word may have been passed over. */
  forgetTold(): void {
    for (const { told } of this.#neighbours.values()) told.clear();
  }

  /** Witnesses that can be told something now. */
  *tellable(): Generator<{ readonly origin: string; readonly peer: PeerText }> {
    for (const [origin, { identity, isDeaf, isTelling }] of this.#neighbours) {
      if (isWitnessRole(identity) && !isDeaf && !isTelling) yield { origin, peer: identity.peer };
    }
  }

  /** What a witness was not told yet, at most so many; it counts as told from here on. */
  tell(witness: string, max: number): readonly OpenedHead[] {
    const neighbour = this.#neighbours.get(witness);
    if (neighbour === undefined) return [];
    const heads = [...this.logs].filter(([origin, { isShared }]) => isShared && origin !== witness)
      .flatMap(([, { head, fork }]) => fork === undefined ? [head] : [fork.held, fork.other])
      .filter(({ note }) => !neighbour.told.has(note)).slice(0, max);
    for (const { note } of heads) neighbour.told.add(note);
    neighbour.isTelling = heads.length > 0;
    return heads;
  }

  /** The witness answered, or did not. Returns whether it can be told more at once. */
  toldEnded(witness: string, outcome: "taken" | "failed"): boolean {
    const neighbour = this.#neighbours.get(witness);
    if (neighbour === undefined) return false;
    neighbour.isTelling = false;
    if (outcome === "failed") neighbour.told.clear();
    return outcome === "taken";
  }
}

/** A node is asked after this part of the period, so that what was found reaches other witnesses within one. */
const dueShare = 0.75;
/** A witness may tell so many states of a log within this part of the period: one, and the two of a fork that it finds right after. */
const toldAgainMax = 3;
const againShare = 0.05;
