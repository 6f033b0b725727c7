/**
 * What the frames of a member may cost this node. TLS lets a member through, not a flood: a frame of twelve bytes makes the
 * multiplexer open a stream or answer a ping, and a length of 4 GiB makes it wait for as much.
 *
 * Frames are counted as they arrive, before the multiplexer sees them (yamux specification: "Framing"). A peer that is over its
 * budget isn't cut off: it waits, like a sender whose receiver reads slowly.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { priceOf } from "../core/prices.ts";
import type { PeerText } from "../port.ts";
import { muxerProtocol } from "./early_muxer.ts";

/** What frames cost, in microseconds of this node's time. */
export const frameCosts = {
  /** A new stream. */
  opening: priceOf("frame.opening"),
  /** A ping is answered. */
  ping: priceOf("frame.ping"),
  /** A window update, or data of less than {@linkcode bulkBytes}. */
  small: priceOf("frame.small"),
} as const;

/** What frames may be. */
export interface FrameLimits {
  /** What all connections of one peer may cost in the long run, in microseconds a second. */
  readonly perSecondUs: number;
  /** And at once, in microseconds. */
  readonly burstUs: number;
  /**
   * Longest frame, in bytes. The multiplexer collects a frame whole before it looks at the window: this is the largest window
   * that the node ever gives, as no sender may have more under way.
   */
  readonly frameBytesMax: number;
}

/** A tenth of a core; frames as long as yamux's own largest window. */
export const defaultFrameLimits: FrameLimits = {
  perSecondUs: 100_000,
  burstUs: 25_000,
  frameBytesMax: 16 * 1_048_576,
};
/** What all connections of one peer hand on in one turn of the event loop, in microseconds. One frame may overdraw it. */
export const frameSliceUs = 4_000;
/**
 * Data from which on a frame costs what its bytes cost. On an open stream that this side opened it costs nothing: this side requested it,
 * and the stream's window bounds it. The multiplexer drops what comes on a stream that is not there, without a window.
 */
const bulkBytes = 1_024;
/** Lines of multistream-select before the first frame: its header, the muxer's name, and some other names. */
export const negotiationLinesMax = 16;

const headerBytes = 12;
const frameTypes = { data: 0, ping: 2 } as const;
const synFlag = 1;
/** FIN and RST. */
const endFlags = 4 | 8;
/**
 * Streams without data yet that are remembered, those that the multiplexer refuses among them. Of a peer that begins more, all data on
 * streams that this side did not open counts as their first.
 */
export const silentStreamsMax = 1_000;
const muxer = `${muxerProtocol}\n`;

/** Charges a peer, for all that it costs beside its frames too; returns how long to wait, in milliseconds. */
export type ChargesPeer = (peer: PeerText, us: number) => number;

/** Calls a task in the next turn of the event loop. */
export type InNextTurn = (task: () => void) => void;
const inNextImmediate: InNextTurn = (task) => void setImmediate(task);

/** What frames cost. */
export interface FrameCost {
  readonly us: number;
  /** What bulk data costs in addition: it counts with all that the peer costs, not with its frames. */
  readonly bulkUs: number;
  /** What they cost this turn of the event loop: `us`, `bulkUs`, and what the peer is charged for elsewhere. */
  readonly turnUs: number;
}

/** The budget of one peer. It may be overdrawn by one slice. */
export class FrameBudget {
  /** What may be spent. */
  readonly limits: FrameLimits;
  readonly #charge: ((us: number) => number) | undefined;
  readonly #inNextTurn: InNextTurn;
  readonly #endTurn = () => {
    this.#turnUs = 0;
  };
  #turnUs = 0;
  #leftUs: number;
  #at: number | undefined;
  /** Connections that share it. */
  holders = 0;

  /** Nothing is spent yet. */
  constructor(limits: FrameLimits, charge?: (us: number) => number, inNextTurn: InNextTurn = inNextImmediate) {
    this.limits = limits;
    this.#inNextTurn = inNextTurn;
    this.#charge = charge;
    this.#leftUs = limits.burstUs;
  }

  /** What may be handed on in this turn of the event loop, in microseconds; 0 or less: nothing. */
  get turnLeftUs(): number {
    return frameSliceUs - this.#turnUs;
  }

  /** Takes so much. `now` in milliseconds; a clock that goes back refills nothing. */
  spend({ us, bulkUs, turnUs }: FrameCost, now: number): void {
    if (turnUs > 0) {
      if (this.#turnUs === 0) this.#inNextTurn(this.#endTurn);
      this.#turnUs += turnUs;
    }
    this.#refill(now);
    this.#leftUs -= us;
    if (us + bulkUs > 0) this.#charge?.(us + bulkUs);
  }

  /** How long until there is something to spend, in milliseconds; 0 where there is. */
  waitMs(now: number): number {
    this.#refill(now);
    const chargedMs = this.#charge?.(0) ?? 0;
    if (this.#leftUs > 0) return chargedMs;
    return Math.max(chargedMs, this.#ownWaitMs());
  }

  #ownWaitMs(): number {
    return Math.ceil((frameSliceUs - this.#leftUs) / this.limits.perSecondUs * 1_000);
  }

  #refill(now: number): void {
    const passedMs = Math.max(0, now - (this.#at ?? now));
    this.#at = now;
    this.#leftUs = Math.min(this.limits.burstUs, this.#leftUs + passedMs * this.limits.perSecondUs / 1_000);
  }
}

/** The budgets of all connected peers. */
export class FrameBudgets {
  readonly #limits: FrameLimits;
  readonly #charge: ChargesPeer | undefined;
  readonly #budgets = new Map<PeerText, FrameBudget>();

  /** No peer is connected yet. Without `charge` only frames count, and bulk data is free. */
  constructor(limits: FrameLimits, charge?: ChargesPeer) {
    this.#limits = limits;
    this.#charge = charge;
  }

  /** The budget of a peer, which a further connection holds. */
  hold(peer: PeerText): FrameBudget {
    const budget = this.#budgets.get(peer) ?? this.#make(peer);
    budget.holders += 1;
    this.#budgets.set(peer, budget);
    return budget;
  }

  #make(peer: PeerText): FrameBudget {
    const charge = this.#charge;
    return new FrameBudget(this.#limits, charge === undefined ? undefined : (us) => charge(peer, us));
  }

  /** A connection of the peer ended. */
  release(peer: PeerText): void {
    const budget = this.#budgets.get(peer);
    if (budget !== undefined && --budget.holders <= 0) this.#budgets.delete(peer);
  }

  /** Peers that are connected. */
  get size(): number {
    return this.#budgets.size;
  }
}

/** How far a scan came, or why the connection has to end. */
export type Scanned =
  /** Bytes up to `end` may be handed on; `bulkUs` is for bulk data on all but open streams of this side. */
  | FrameCost & { readonly end: number }
  | { readonly broken: string };

/** Reads the frames of one connection as they go by; keeps no more than a header of them. */
export class FrameReader {
  readonly #header = new Uint8Array(headerBytes);
  readonly #frameBytesMax: number;
  readonly #isOwn: (stream: number) => boolean;
  /** Streams that the peer opened, and on which nothing came yet; undefined where there is none: a set for each idle connection is memory. */
  #silent: Set<number> | undefined;
  /** Whether more streams were begun than are remembered. */
  #hasForgotten = false;
  #bulkUs = 0;
  /** What the first data of streams makes this side do: agree on a protocol, and begin to read. */
  #beginningUs = 0;
  #headerFill = 0;
  /** Bytes of the present frame's data, or of the present line, that are still to come. */
  #body = 0;
  #lines = 0;
  /** The line that is being read, while the muxer is negotiated; undefined once frames come. */
  #line: string | undefined = "";

  /**
   * @param beginsWith What comes first; `frames` where TLS has agreed on the multiplexer.
   * @param isOwn Whether a number is that of an open stream that this side opened; by default there is none.
   */
  constructor(
    { frameBytesMax }: Pick<FrameLimits, "frameBytesMax">,
    { beginsWith = "negotiation", isOwn = () => false }: {
      readonly beginsWith?: "negotiation" | "frames";
      readonly isOwn?: (stream: number) => boolean;
    } = {},
  ) {
    this.#frameBytesMax = frameBytesMax;
    if (beginsWith === "frames") this.#line = undefined;
    this.#isOwn = isOwn;
  }

  /**
   * Reads on from `start`, to the end of the bytes or to where they have cost this turn so much. What was scanned is to be handed
   * on: the next scan goes on behind it.
   */
  scan(bytes: Uint8Array, start: number, turnLeftUs = frameSliceUs): Scanned {
    let at = start;
    let us = 0;
    this.#bulkUs = 0;
    this.#beginningUs = 0;
    while (at < bytes.length && us + this.#bulkUs + this.#beginningUs < turnLeftUs) {
      if (this.#body > 0 && this.#line === undefined) {
        const taken = Math.min(this.#body, bytes.length - at);
        this.#body -= taken;
        at += taken;
        continue;
      }
      const byte = bytes[at++]!;
      if (this.#line !== undefined) {
        const broken = this.#readLine(byte);
        if (broken !== undefined) return { broken };
        continue;
      }
      this.#header[this.#headerFill++] = byte;
      if (this.#headerFill < headerBytes) continue;
      this.#headerFill = 0;
      const cost = this.#readHeader();
      if (typeof cost === "string") return { broken: cost };
      us += cost;
    }
    const bulkUs = this.#bulkUs;
    return { end: at, us, bulkUs, turnUs: us + bulkUs + this.#beginningUs };
  }

  /** A line of multistream-select: a length (shorter than 128 here), and so many bytes. */
  #readLine(byte: number): string | undefined {
    if (this.#body === 0) {
      if (++this.#lines > negotiationLinesMax) return "it does not agree on a multiplexer";
      if (byte === 0 || byte > 127) return "its negotiation of a multiplexer cannot be read";
      this.#body = byte;
      this.#line = "";
      return undefined;
    }
    this.#line += String.fromCharCode(byte);
    if (--this.#body === 0 && this.#line === muxer) this.#line = undefined;
    return undefined;
  }

  /** What the frame costs, or why it may not be. */
  #readHeader(): number | string {
    const header = this.#header;
    const type = header[1];
    const length = numberIn(header, 8);
    const opens = (header[3]! & synFlag) !== 0;
    if (type === frameTypes.ping) return frameCosts.ping;
    const stream = numberIn(header, 4);
    if (opens) this.#noteOpened(stream);
    if (type === frameTypes.data) {
      if (length > this.#frameBytesMax) return `a frame of ${length} bytes`;
      this.#body = length;
      if (length > 0 && this.#isFirst(stream)) this.#beginningUs += priceOf("stream");
      if (length >= bulkBytes && !this.#isOwn(stream)) this.#bulkUs += priceOf("bytes", length);
      if (!opens && length >= bulkBytes) return 0;
    }
    if ((header[3]! & endFlags) !== 0) this.#endSilence(stream);
    return opens ? frameCosts.opening : frameCosts.small;
  }

  /** Whether data on a stream counts as its first. */
  #isFirst(stream: number): boolean {
    return this.#endSilence(stream) || (this.#hasForgotten && !this.#isOwn(stream));
  }

  /** Something came on a stream, or it ended. Says whether it was silent until now. */
  #endSilence(stream: number): boolean {
    const was = this.#silent?.delete(stream) === true;
    if (was && this.#silent?.size === 0) this.#silent = undefined;
    return was;
  }

  #noteOpened(stream: number): void {
    const silent = this.#silent ??= new Set();
    silent.add(stream);
    if (silent.size <= silentStreamsMax) return;
    silent.delete(stream);
    this.#hasForgotten = true;
  }
}

/** A number of 32 bits in a header. */
function numberIn(header: Uint8Array, at: number): number {
  return ((header[at]! << 24) | (header[at + 1]! << 16) | (header[at + 2]! << 8) | header[at + 3]!) >>> 0;
}
