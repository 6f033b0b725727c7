/** What libp2p's own peer store remembers of peers that tell too many addresses. */
import { generateKeyPair } from "@libp2p/crypto/keys";
import type { PeerId } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addressesPerPeerMax, limitKnownAddresses } from "../../../transport/libp2p/known_addresses.ts";

const test = suite("limitKnownAddresses()");
const libp2p = await createLibp2p({ start: false });
const { peerStore } = libp2p;
limitKnownAddresses(peerStore, libp2p.peerId);

const peer = async () => peerIdFromPrivateKey(await generateKeyPair("Ed25519"));
const addresses = (count: number, from = 0) =>
  Array.from({ length: count }, (_, nth) => multiaddr(`/ip4/192.0.2.1/tcp/${1_000 + from + nth}`));
const certified = (count: number) => addresses(count).map((address) => ({ isCertified: true, multiaddr: address }));
const known = async (id: PeerId) => (await peerStore.get(id)).addresses.length;

test("as many as the limit are kept", async () => {
  const id = await peer();
  await peerStore.patch(id, { addresses: certified(addressesPerPeerMax) });
  assert.is(await known(id), addressesPerPeerMax);
});

test("identify tells one more, or thousands: the first ones are kept", async () => {
  for (const count of [addressesPerPeerMax + 1, 4_000]) {
    const id = await peer();
    await peerStore.patch(id, { addresses: certified(count) });
    assert.is(await known(id), addressesPerPeerMax);
    await peerStore.save(id, { multiaddrs: addresses(count) });
    assert.is(await known(id), addressesPerPeerMax);
  }
});

test("what comes piece by piece is no more than what comes at once", async () => {
  const id = await peer();
  for (let from = 0; from < 100; from += 20) await peerStore.merge(id, { multiaddrs: addresses(20, from) });
  assert.is(await known(id), addressesPerPeerMax);
});

test("a patch replaces the addresses, and other things are kept", async () => {
  const id = await peer();
  await peerStore.patch(id, { multiaddrs: addresses(100), protocols: ["/a"] });
  await peerStore.merge(id, { tags: { kept: { value: 1 } } });
  await peerStore.patch(id, { multiaddrs: addresses(2, 500) });
  const { addresses: last, protocols, tags } = await peerStore.get(id);
  assert.is(last.length, 2);
  assert.equal(protocols, ["/a"]);
  assert.ok(tags.has("kept"));
});

test("this node's own addresses are all kept", async () => {
  await peerStore.patch(libp2p.peerId, { multiaddrs: addresses(100) });
  assert.is(await known(libp2p.peerId), 100);
});

test.run();
