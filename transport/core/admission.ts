/**
 * Limits on connection attempts, decided before a byte of the peer is read. All of them are counted per source: an
 * IPv4 address, an IPv6 /64, or, for a relayed connection, the peer that the relay names. A relay can name whom it likes: all
 * that come through it are counted together too.
 *
 * @module
 */
import { Result } from "effect";
import { RateLimited, TooManyConnections } from "../../pki/refusal.ts";
import { networkOfIp6, plainAddress } from "../ip_ranges.ts";
import type { AddressText, TransportLimits } from "../port.ts";

/**
 * The limits that hold where the configuration names none.
 *
 * A handshake costs about a millisecond of CPU at each end (measured, `docs/performance.md`), so 256 pending ones are a
 * quarter of a second of work. libp2p's own limits (10 pending, 5 a second from one host, 300 connections) are set out
 * of the way: they refuse without a reason and without a trace.
 */
export const defaultLimits: TransportLimits = {
  pendingMax: 256,
  pendingPerAddressMax: 64,
  connectionsMax: 6_144,
  connectionsPerAddressMax: 512,
  connectionsPerPeerMax: 8,
  handshakesPerSecond: 50,
  handshakesBurst: 200,
};

/** Reservations that a relay grants: one to each member that may be connected by default. Existing gateways grant 128. */
export const reservationsMax: number = defaultLimits.connectionsMax;
/** For how long a relay grants a reservation, in milliseconds, as existing gateways do. It keeps that of a peer that leaves. */
export const reservationTtlMs = 3_600_000;

/** How many sources are remembered. Above it, sources at rest are forgotten, and new ones refused when none is. */
export const sourcesMax = 16_384;
/** A relay carries many peers: it has so many times the limits of an address. */
export const relayFactor = 16;
/** How many sources are looked at to find one at rest. */
const evictionScanMax = 64;

/** An attempt that was let in. */
export interface Admitted {
  /** The connection is established: no longer pending. */
  opened(): void;
  /** The connection ended. Calling it again does nothing. */
  release(): void;
  /** Sets what ends this attempt while it is pending, if a source with fewer attempts needs its place. */
  onEvicted(listener: (refusal: TooManyConnections) => void): void;
}

interface Pending {
  readonly source: Source;
  readonly sources: readonly Source[];
  evict: ((refusal: TooManyConnections) => void) | undefined;
}

interface Source {
  /** How many times the limits of an address it has. */
  readonly factor: number;
  pending: number;
  open: number;
  tokens: number;
  refilledAt: number;
}

/**
 * The source that an address is counted under.
 *
 * @example An address
 * ```ts
 * import * as assert from "uvu/assert";
 * import { sourceOf } from "hypha-runtime/transport";
 *
 * assert.is(sourceOf("/ip4/10.0.0.7/tcp/4001"), "10.0.0.7");
 * ```
 */
export function sourceOf(address: AddressText): string {
  const circuit = address.indexOf("/p2p-circuit");
  // Under its relay's name too: a relay that names a peer takes nothing from what the peer has through another one.
  if (circuit >= 0) return `${relayIn(address, circuit)}>${/\/p2p\/([^/]+)/.exec(address.slice(circuit))?.[1] ?? ""}`;
  const [, family = "", host = address] = address.split("/");
  if (family !== "ip6") return host;
  const plain = plainAddress(host);
  return networkOfIp6(plain) ?? plain;
}

/** The relay that a relayed connection is counted under too. */
function relayOf(address: AddressText): string | undefined {
  const circuit = address.indexOf("/p2p-circuit");
  return circuit < 0 ? undefined : `relay ${relayIn(address, circuit)}`;
}

function relayIn(address: AddressText, circuit: number): string {
  return /\/p2p\/([^/]+)$/.exec(address.slice(0, circuit))?.[1] ?? "";
}

const tooMany = (limit: string, max: number) => new TooManyConnections({ limit, max });

/** Counts connections and attempts of one transport. */
export class Admission {
  readonly #limits: TransportLimits;
  readonly #sources = new Map<string, Source>();
  /** Oldest first; at most `pendingMax`. */
  readonly #underWay = new Set<Pending>();
  #open = 0;

  /** Nothing is counted yet. */
  constructor(limits: TransportLimits) {
    this.#limits = limits;
  }

  /** Handshakes under way and connections established. */
  get counts(): { readonly pending: number; readonly open: number; readonly sources: number } {
    return { pending: this.#underWay.size, open: this.#open, sources: this.#sources.size };
  }

  /**
   * Why an inbound attempt would be refused whatever else happens; it is not counted, and takes no place. Undefined
   * where {@linkcode Admission.admit} is to decide.
   */
  refusalOf(address: AddressText, now: number): TooManyConnections | RateLimited | undefined {
    const [key, relay] = [sourceOf(address), relayOf(address)];
    // An unknown source has done nothing. Only `admit` creates sources.
    const known = (each: string) => this.#sources.has(each) ? this.#source(each, now) : undefined;
    return this.#refusalOf(known(key)) ?? (relay === undefined ? undefined : this.#refusalOf(known(relay)));
  }

  /** The limit that a source exceeds, or all sources together. */
  #refusalOf(source: Source | undefined): TooManyConnections | RateLimited | undefined {
    const limits = this.#limits;
    const { factor = 1 } = source ?? {};
    if (this.#open >= limits.connectionsMax) return tooMany("connections", limits.connectionsMax);
    if (source === undefined) return undefined;
    if (source.pending >= limits.pendingPerAddressMax * factor) {
      return tooMany("handshakes under way from one address", limits.pendingPerAddressMax);
    }
    if (source.open + source.pending >= limits.connectionsPerAddressMax * factor) {
      return tooMany("connections from one address", limits.connectionsPerAddressMax);
    }
    if (source.tokens >= 1) return undefined;
    const limit = `handshakes a second ${factor === 1 ? "from one address" : "through one relay"}`;
    return new RateLimited({ limit, max: limits.handshakesPerSecond * factor });
  }

  /**
   * Decides about an inbound attempt.
   *
   * When all places for handshakes are taken, a source that has fewer than the greediest one gets a place of that
   * one's: a flood pushes itself out, from however many addresses it comes, and an honest peer, which is done in
   * milliseconds, gets through.
   *
   * @param address Where it comes from, as a multiaddr.
   * @param now Milliseconds; only differences matter, and a clock that goes back refills nothing.
   */
  admit(address: AddressText, now: number): Result.Result<Admitted, TooManyConnections | RateLimited> {
    const { pendingMax } = this.#limits;
    const everybody = this.#refusalOf(undefined);
    if (everybody !== undefined) return Result.fail(everybody);
    const source = this.#source(sourceOf(address), now);
    if (source === undefined) return Result.fail(tooMany("sources of connections", sourcesMax));
    const relayKey = relayOf(address);
    const relay = relayKey === undefined ? undefined : this.#source(relayKey, now, relayFactor);
    if (relayKey !== undefined && relay === undefined) {
      return Result.fail(tooMany("sources of connections", sourcesMax));
    }
    const own = this.#refusalOf(source) ?? (relay && this.#refusalOf(relay));
    if (own !== undefined) return Result.fail(own);
    if (this.#underWay.size >= pendingMax && !this.#makeRoom(source)) {
      return Result.fail(tooMany("handshakes under way", pendingMax));
    }
    const sources = relay === undefined ? [source] : [source, relay];
    for (const each of sources) each.tokens -= 1;
    return Result.succeed(this.#count(source, sources));
  }

  #source(key: string, now: number, factor = 1): Source | undefined {
    const { handshakesPerSecond, handshakesBurst } = this.#limits;
    const known = this.#sources.get(key);
    if (known !== undefined) {
      const gained = (Math.max(0, now - known.refilledAt) / 1_000) * handshakesPerSecond * known.factor;
      known.tokens = Math.min(handshakesBurst * known.factor, known.tokens + gained);
      known.refilledAt = now;
      return known;
    }
    if (this.#sources.size >= sourcesMax && !this.#evict(now)) return undefined;
    const source = { factor, pending: 0, open: 0, tokens: handshakesBurst * factor, refilledAt: now };
    this.#sources.set(key, source);
    return source;
  }

  /** Forgets one source whose bucket has filled up again and which has no connection. */
  #evict(now: number): boolean {
    const { handshakesPerSecond, handshakesBurst } = this.#limits;
    let looked = 0;
    for (const [key, source] of this.#sources) {
      looked += 1;
      if (looked > evictionScanMax) return false;
      const tokens = source.tokens + ((now - source.refilledAt) / 1_000) * handshakesPerSecond * source.factor;
      const resting = source.pending === 0 && source.open === 0 && tokens >= handshakesBurst * source.factor;
      this.#sources.delete(key);
      if (resting) return true;
      this.#sources.set(key, source); // looked at: to the end of the line
    }
    return false;
  }

  /** Ends the oldest attempt of the source with the most, where that is more than `newcomer` has. */
  #makeRoom(newcomer: Source): boolean {
    let oldest: Pending | undefined;
    for (const attempt of this.#underWay) {
      if (attempt.evict !== undefined && attempt.source.pending > (oldest?.source ?? newcomer).pending) {
        oldest = attempt;
      }
    }
    if (oldest === undefined) return false;
    this.#leave(oldest);
    oldest.evict?.(
      tooMany("handshakes under way, the oldest first", this.#limits.pendingMax),
    );
    return true;
  }

  #leave(attempt: Pending): void {
    if (!this.#underWay.delete(attempt)) return;
    for (const source of attempt.sources) source.pending -= 1;
  }

  /** @param source Of all its sources the one that makes room. */
  #count(source: Source, sources: readonly Source[]): Admitted {
    let state: "pending" | "open" | "released" = "pending";
    const attempt: Pending = { source, sources, evict: undefined };
    for (const each of sources) each.pending += 1;
    this.#underWay.add(attempt);
    return {
      onEvicted: (listener) => {
        attempt.evict = listener;
      },
      opened: () => {
        if (state !== "pending") return;
        state = "open";
        this.#leave(attempt);
        for (const each of sources) each.open += 1;
        this.#open += 1;
      },
      release: () => {
        if (state === "released") return;
        if (state === "pending") {
          this.#leave(attempt);
        } else {
          for (const each of sources) each.open -= 1;
          this.#open -= 1;
        }
        state = "released";
      },
    };
  }
}
