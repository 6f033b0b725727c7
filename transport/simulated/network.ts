/**
 * A virtual network: hosts, and links between them that carry frames in order, late, or not at all.
 *
 * It takes the place of TCP. `wire.ts` makes connections of its links; who may have one is decided by the core's gates.
 *
 * @module
 */
import type { AddressText } from "../port.ts";

/** The time that a network runs on. */
export interface NetworkTime {
  /** Milliseconds. */
  readonly now: number;
  schedule(delayMs: number, task: () => void): unknown;
}

/** How a link behaves. */
export interface LinkQuality {
  /** One way, in milliseconds; the jitter comes on top, evenly spread. */
  readonly latencyMs: number;
  readonly jitterMs: number;
  /** Octets a millisecond. */
  readonly bandwidth: number;
}

/** A link in one data centre. */
export const goodLink: LinkQuality = { latencyMs: 1, jitterMs: 2, bandwidth: 100_000 };
/** A connection on which nothing arrives for this long is given up at both ends, in milliseconds (libp2p's monitor). */
export const deadAfterMs = 20_000;
/** A dial without an answer is given up after this, in milliseconds. */
export const dialSilenceMs = 6_000;
/** Frames under way on one connection in one direction, at most; more and the connection breaks. */
export const framesMax = 65_536;

/** Why a link ended, seen from one end. */
export interface LinkClosed {
  readonly by: "us" | "them" | "lost";
  readonly detail: string;
}

/** What passes between the ends of a link. */
export interface Frame {
  readonly type: string;
  /** Octets of payload: they take time. */
  readonly size?: number;
}

/** One end of a link, as a connection uses it: of the network's own, or of a circuit through a relay. */
export interface LinkEnd {
  /** Receives what the other end sends. The connection sets it before anything can arrive. */
  onFrame: (frame: Frame) => void;
  /** Called once, when the link is over. */
  onClosed: (closed: LinkClosed) => void;
  /** The host at the other end; of a circuit the relay's. */
  readonly remote: string;
  readonly open: boolean;
  /** Sends a frame; after the end it is lost. */
  send(frame: Frame): void;
  /** Ends the link from this side; what was sent before still arrives. */
  close(detail: string): void;
}

/**
 * What a host whose process was taken over makes of a frame that it should send: what goes instead, and how much later, in
 * milliseconds. Nothing, where it drops the frame.
 */
export type Tamper = (frame: Frame, remote: string) => readonly { readonly frame: Frame; readonly laterMs: number }[];

/** Who listens at an address. */
export interface Listener {
  readonly host: string;
  accept(end: WireEnd, from: AddressText): void;
}

/** One end of a link. */
export class WireEnd implements LinkEnd {
  readonly network: VirtualNetwork;
  readonly host: string;
  readonly remote: string;
  onFrame: (frame: Frame) => void = () => {};
  onClosed: (closed: LinkClosed) => void = () => {};
  other!: WireEnd;
  open = true;
  #lastDue = 0;
  #underWay = 0;
  readonly #held: Frame[] = [];

  constructor(network: VirtualNetwork, host: string, remote: string) {
    this.network = network;
    this.host = host;
    this.remote = remote;
  }

  send(frame: Frame): void {
    const tamper = this.network.tamperOf(this.host);
    if (tamper === undefined || frame.type === "wire.end") return this.#put(frame);
    for (const { frame: other, laterMs } of tamper(frame, this.remote)) {
      if (laterMs > 0) this.network.time.schedule(laterMs, () => this.#put(other));
      else this.#put(other);
    }
  }

  #put(frame: Frame): void {
    if (!this.open) return;
    if (this.#underWay + this.#held.length >= framesMax) return this.breakOff("too much under way");
    if (this.#held.length > 0 || this.network.isCut(this.host, this.remote)) return void this.#held.push(frame);
    this.#depart(frame);
  }

  #depart(frame: Frame): void {
    const { time } = this.network;
    const due = Math.max(this.#lastDue, time.now + this.network.delayOf(this.host, this.remote, frame.size ?? 64));
    this.#lastDue = due;
    this.#underWay += 1;
    time.schedule(due - time.now, () => {
      this.#underWay -= 1;
      this.other.arrive(frame);
    });
  }

  /** Hands a frame over at this end. */
  arrive(frame: Frame): void {
    if (!this.open) return;
    if (frame.type === "wire.end") return this.#ended({ by: "them", detail: "the peer ended the connection" });
    this.onFrame(frame);
  }

  /** The link works again. An end that was closed meanwhile says so now: its kernel goes on trying. */
  flush(): void {
    for (const frame of this.#held.splice(0)) this.#depart(frame);
  }

  /** Whether something waits for a link that is cut. */
  get waiting(): boolean {
    return this.#held.length > 0;
  }

  close(detail: string): void {
    if (!this.open) return;
    this.send({ type: "wire.end" });
    this.#ended({ by: "us", detail });
  }

  /** The connection is lost at both ends, frames under way with it. */
  breakOff(detail: string): void {
    this.#ended({ by: "lost", detail });
    this.other.#ended({ by: "lost", detail });
  }

  /** This end's process is gone: this end receives nothing any more. Its kernel, while it runs, sends what it still holds. */
  vanish(hasKernel: boolean): void {
    this.open = false;
    if (hasKernel && this.waiting) this.network.leave(this);
    this.onFrame = () => {};
    this.onClosed = () => {};
  }

  #ended(closed: LinkClosed): void {
    if (!this.open) return;
    this.open = false;
    if (closed.by !== "us") this.#held.length = 0;
    this.network.forget(this);
    if (this.waiting) this.network.leave(this);
    this.onClosed(closed);
  }
}

/** What a network is made with. */
export interface NetworkInit {
  readonly time: NetworkTime;
  /** Evenly spread in [0, 1): jitter. */
  readonly random: () => number;
}

/** All links and connections of a run. */
export class VirtualNetwork {
  readonly time: NetworkTime;
  readonly #random: () => number;
  readonly #listeners = new Map<AddressText, Listener>();
  readonly #ends = new Map<string, Set<WireEnd>>();
  readonly #cut = new Set<string>();
  /** Ends that are closed and could not say so yet, by the link that is cut. */
  readonly #left = new Map<string, Set<WireEnd>>();
  readonly #quality = new Map<string, LinkQuality>();
  readonly #tampers = new Map<string, Tamper>();

  constructor({ time, random }: NetworkInit) {
    this.time = time;
    this.#random = random;
  }

  listen(address: AddressText, listener: Listener): void {
    this.#listeners.set(address, listener);
  }

  unlisten(address: AddressText, listener: Listener): void {
    if (this.#listeners.get(address) === listener) this.#listeners.delete(address);
  }

  /** Connects to an address; `undefined` without an answer. */
  dial(host: string, from: AddressText, to: AddressText, then: (end: WireEnd | undefined, why: string) => void): void {
    const target = this.#listeners.get(to)?.host ?? to;
    if (this.isCut(host, target) || this.isCut(target, host)) {
      this.time.schedule(dialSilenceMs, () => then(undefined, "no answer came"));
      return;
    }
    this.time.schedule(this.delayOf(host, target, 64), () => {
      const listener = this.#listeners.get(to);
      const back = this.delayOf(target, host, 64);
      if (listener === undefined) return this.time.schedule(back, () => then(undefined, "connection refused"));
      const near = new WireEnd(this, host, listener.host);
      const far = new WireEnd(this, listener.host, host);
      near.other = far;
      far.other = near;
      for (const end of [near, far]) this.#endsOf(end.host).add(end);
      listener.accept(far, from);
      // It was reset meanwhile: the dialler must not get an end that never reports its close.
      this.time.schedule(back, () => near.open ? then(near, "") : then(undefined, "connection reset"));
    });
  }

  /** One way, in milliseconds, for a frame of this size. */
  delayOf(from: string, to: string, size: number): number {
    const { latencyMs, jitterMs, bandwidth } = this.#quality.get(linkOf(from, to)) ?? goodLink;
    return latencyMs + this.#random() * jitterMs + size / bandwidth;
  }

  setQuality(from: string, to: string, quality: LinkQuality): void {
    this.#quality.set(linkOf(from, to), quality);
  }

  /** From now on a host sends what this makes of its frames; `undefined` makes it honest again. */
  tamper(host: string, tamper: Tamper | undefined): void {
    if (tamper === undefined) this.#tampers.delete(host);
    else this.#tampers.set(host, tamper);
  }

  tamperOf(host: string): Tamper | undefined {
    return this.#tampers.size === 0 ? undefined : this.#tampers.get(host);
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.has(linkOf(from, to));
  }

  /** Nothing passes from one host to the other any more. Connections across die after {@linkcode deadAfterMs}. */
  cut(from: string, to: string): void {
    this.#cut.add(linkOf(from, to));
    this.time.schedule(deadAfterMs, () => {
      if (!this.isCut(from, to)) return;
      for (const end of [...this.#endsOf(from), ...this.#takeLeft(from, to)]) {
        if (end.remote === to) end.breakOff("nothing arrives any more");
      }
    });
  }

  /** What waited departs. */
  heal(from: string, to: string): void {
    if (!this.#cut.delete(linkOf(from, to))) return;
    for (const end of [...this.#endsOf(from), ...this.#takeLeft(from, to)]) if (end.remote === to) end.flush();
  }

  /** An end that is closed has something to send over a link that is cut. */
  leave(end: WireEnd): void {
    const link = linkOf(end.host, end.remote);
    this.#left.set(link, (this.#left.get(link) ?? new Set()).add(end));
  }

  #takeLeft(from: string, to: string): readonly WireEnd[] {
    const left = this.#left.get(linkOf(from, to)) ?? [];
    this.#left.delete(linkOf(from, to));
    return [...left];
  }

  /** Connections between two hosts, or of one, seen from the first. */
  endsAt(host: string, remote?: string): readonly WireEnd[] {
    return [...this.#endsOf(host)].filter((end) => remote === undefined || end.remote === remote);
  }

  /**
   * A host's process is gone. `politely`: its kernel ends the connections; otherwise they stay, and the peers notice
   * after {@linkcode deadAfterMs}.
   */
  crash(host: string, politely: boolean): void {
    for (const [address, listener] of [...this.#listeners]) if (listener.host === host) this.#listeners.delete(address);
    for (const end of [...this.#endsOf(host)]) {
      if (politely) end.send({ type: "wire.end" });
      else this.time.schedule(deadAfterMs, () => end.other.breakOff("nothing arrives any more"));
      end.vanish(politely);
    }
    this.#ends.delete(host);
  }

  forget(end: WireEnd): void {
    this.#ends.get(end.host)?.delete(end);
  }

  /** Connections there are, each counted at both ends. */
  get size(): number {
    let size = 0;
    for (const ends of this.#ends.values()) size += ends.size;
    return size;
  }

  #endsOf(host: string): Set<WireEnd> {
    const known = this.#ends.get(host);
    if (known !== undefined) return known;
    const fresh = new Set<WireEnd>();
    this.#ends.set(host, fresh);
    return fresh;
  }
}

const linkOf = (from: string, to: string) => `${from}>${to}`;
