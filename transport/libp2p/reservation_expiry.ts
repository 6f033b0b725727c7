/**
 * How long the reservations of a relay last. The library's timers are not all ended by a refresh: the time of the first refresh ended
 * a reservation that was refreshed again, with all its circuits, and the time of one that was removed ended the peer's next one.
 *
 * @module
 */
import type { PeerId } from "@libp2p/interface";
import type { Multiaddr } from "@multiformats/multiaddr";
import { clearTimeout, setTimeout } from "node:timers";

/** Ends a reservation and its circuits. */
interface ExpirySignal extends AbortSignal {
  /** Sets the time from now. */
  reset(ms: number): void;
  /** Never fires. */
  clear(): void;
}

/** A reservation that a relay granted. */
interface Reservation {
  signal: ExpirySignal;
}

/** The reservations that a relay's server granted. */
export interface ReservationStore {
  readonly reservationTtl: number;
  get(peer: PeerId): Reservation | undefined;
  /** Grants a reservation, refreshes the peer's, or refuses. */
  reserve(peer: PeerId, address: Multiaddr, limit?: unknown): unknown;
  removeReservation(peer: PeerId): void;
}

/** Makes reservations end when their own time is over, counted from their last refresh. */
export function expireInTime(store: ReservationStore): void {
  const reserve = store.reserve.bind(store);
  store.reserve = (peer, address, limit) => {
    const before = store.get(peer);
    const answer = reserve(peer, address, limit);
    const reservation = store.get(peer);
    if (reservation === undefined || reservation === before) return answer;
    reservation.signal.clear(); // the library's, which no refresh has reset yet
    reservation.signal = expirySignal(store.reservationTtl);
    reservation.signal.addEventListener("abort", () => {
      if (store.get(peer) === reservation) store.removeReservation(peer);
    });
    return answer;
  };
}

function expirySignal(ttlMs: number): ExpirySignal {
  const controller = new AbortController();
  const expire = () => controller.abort(new Error("the reservation has ended"));
  const start = (ms: number) => setTimeout(expire, ms).unref(); // a reservation keeps no process alive
  let timer = start(ttlMs);
  const clear = () => clearTimeout(timer);
  const reset = (ms: number) => {
    clear();
    timer = start(ms);
  };
  return Object.assign(controller.signal, { clear, reset });
}
