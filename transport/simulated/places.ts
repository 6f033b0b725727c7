/**
 * How many exchanges and streams others may have open here: the same limits as the real transport's, so that who floods a
 * node meets them in a simulation too.
 *
 * @module
 */

/** Of one protocol on one connection, in each direction (`libp2p_node.ts`). */
export const streamsPerProtocolMax = 256;
/** Requests of others that wait for an answer (`requests.ts`). */
export const requestsMax = 4_096;
/** Streams of others that nobody took yet (`raw_streams.ts`). */
export const offeredStreamsMax = 1_024;

/** Counts what is open by connection and protocol. */
export class Places {
  readonly #taken = new WeakMap<object, Map<string, number>>();

  /** Takes a place, which the returned function leaves, once; `undefined` where there is none. */
  take(link: object, protocol: string): (() => void) | undefined {
    const ofLink = this.#taken.get(link) ?? new Map<string, number>();
    const taken = ofLink.get(protocol) ?? 0;
    if (taken >= streamsPerProtocolMax) return undefined;
    this.#taken.set(link, ofLink.set(protocol, taken + 1));
    let left = false;
    return () => {
      if (left) return;
      left = true;
      ofLink.set(protocol, (ofLink.get(protocol) ?? 1) - 1);
    };
  }
}
