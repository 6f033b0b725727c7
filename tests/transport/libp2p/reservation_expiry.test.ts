/** How long a relay's reservations last, with the store of libp2p's relay. */
import { circuitRelayServer } from "@libp2p/circuit-relay-v2";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { expireInTime, type ReservationStore } from "../../../transport/libp2p/reservation_expiry.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";

const test = suite("expireInTime()");

const peer = peerIdFromPrivateKey(await generateKeyPair("Ed25519"));
const address = multiaddr("/ip4/192.0.2.1/tcp/1");
const until = async (ms: number) => {
  const wait = ms - performance.now();
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
};

/** The real store, and how it was at times of it. */
function makeStore(ttlMs: number) {
  const relay = circuitRelayServer({ reservations: { reservationTtl: ttlMs, maxReservations: 1 } })(
    { logger: silentLogger } as never,
  );
  const { reservationStore: store } = relay as unknown as { readonly reservationStore: ReservationStore };
  expireInTime(store);
  return store;
}

test("bug: a reservation ended, with all its circuits, although it was refreshed twice", async () => {
  const store = makeStore(400);
  const began = performance.now();
  store.reserve(peer, address);
  const reservation = store.get(peer);
  for (const refreshMs of [300, 600]) {
    await until(began + refreshMs);
    store.reserve(peer, address);
  }
  await until(began + 850); // after the first refresh's end, before the second one's
  assert.is(store.get(peer), reservation);
  assert.is(reservation?.signal.aborted, false);
  await until(began + 1_100);
  assert.is(store.get(peer), undefined);
  assert.is(reservation?.signal.aborted, true);
});

test("bug: the time of a reservation that was removed ended the peer's next one", async () => {
  const store = makeStore(400);
  const began = performance.now();
  store.reserve(peer, address);
  const removed = store.get(peer);
  await until(began + 200);
  store.removeReservation(peer);
  assert.is(store.get(peer), undefined);
  store.reserve(peer, address);
  const next = store.get(peer);
  await until(began + 500);
  assert.is(removed?.signal.aborted, true, "its circuits end");
  assert.is(store.get(peer), next);
  assert.is(next?.signal.aborted, false);
  await until(began + 700);
  assert.is(store.get(peer), undefined);
});

test("a reservation that is refused leaves the store as it is", async () => {
  const store = makeStore(400);
  store.reserve(peer, address);
  const other = peerIdFromPrivateKey(await generateKeyPair("Ed25519"));
  store.reserve(other, address);
  assert.is(store.get(other), undefined);
  assert.is.not(store.get(peer), undefined);
});

test.run();
