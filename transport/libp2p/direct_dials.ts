/**
 * Dials by address, past libp2p's dial queue: its job, its signals and its address book cost an eighth of a handshake, and the
 * core joins equal dials, limits and times them already (`transport/core/dialing.ts`).
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import type { AddressText } from "../port.ts";
import type { DialInternals } from "./node_internals.ts";

/** Direct dials at once; further ones wait in libp2p's queue, whose own limit this is (`MAX_PARALLEL_DIALS`). */
export const directDialsMax = 100;

/** A circuit over a relay is not dialled directly: its transport dials the relay first. */
const isRelayed = /\/p2p-circuit(\/|$)/;

/** The direct dials of one node. */
export class DirectDials {
  readonly #internals: DialInternals;
  readonly #mayDial: (address: AddressText) => boolean;
  #running = 0;

  /** @param mayDial Whether this node may dial an address: `denyDialMultiaddr` of its gater, which the queue asks. */
  constructor(internals: DialInternals, mayDial: (address: AddressText) => boolean) {
    this.#internals = internals;
    this.#mayDial = mayDial;
  }

  /** Direct dials under way. */
  get running(): number {
    return this.#running;
  }

  /**
   * Dials an address directly, or by libp2p's queue what the queue does better: it joins its own dials to the same peer or address,
   * finds connections that there are, resolves names of peers, and words the refusals.
   *
   * @param signal Ends the dial: nothing else limits its time.
   */
  async dial(address: AddressText, signal: AbortSignal): Promise<Connection> {
    const target = multiaddr(address);
    if (!this.#isDirect(target, address)) return await this.#internals.queued(target, signal);
    this.#running += 1;
    try {
      const connection = await this.#internals.direct(target, signal);
      await this.#internals.remember(connection).catch(() => {}); // a note; the queue ignores its failure too
      return connection;
    } finally {
      this.#running -= 1;
    }
  }

  #isDirect(target: Multiaddr, address: AddressText): boolean {
    if (this.#running >= directDialsMax || isRelayed.test(address)) return false;
    const { isReachable, isKnown } = this.#internals;
    return isReachable(target) && !isKnown(target) && this.#mayDial(address);
  }
}
