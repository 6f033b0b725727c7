import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../../pki/path.ts";
import {
  ownerOf,
  recordKeyMaxBytes,
  recordsMax,
  recordsPerPublisherMax,
  RecordStore,
  recordTtlMaxS,
  recordValueMaxBytes,
} from "../../../transport/core/record_store.ts";

const test = suite("RecordStore");
const bytes = (text: string) => new TextEncoder().encode(text);
const record = (key: string, value = "value", ttl?: number) => ({
  key: bytes(key),
  value: bytes(value),
  ...(ttl === undefined ? {} : { ttl }),
});
const shown = (store: RecordStore, key: string) => {
  const kept = store.get(bytes(key));
  return kept === undefined ? undefined : new TextDecoder().decode(kept.value);
};
function storeAt(clock = { now: 0 }) {
  return { clock, store: new RecordStore(() => clock.now) };
}

test("keeps a record of its publisher, who replaces it", () => {
  const { store } = storeAt();
  assert.is(store.put(record("data", "first"), "a", "owner-a"), undefined);
  assert.is(store.put(record("data", "second"), "a", "owner-a"), undefined);
  assert.equal([shown(store, "data"), store.size], ["second", 1]);
});

test("nobody takes over what another publishes, but the same owner with another key", () => {
  const { store } = storeAt();
  store.put(record("data", "first"), "a", "owner-a");
  assert.is(store.put(record("data", "stolen"), "b", "owner-b"), "another peer publishes under this key");
  assert.is(shown(store, "data"), "first");
  assert.is(store.put(record("data", "renewed"), "c", "owner-a"), undefined);
  assert.is(shown(store, "data"), "renewed");
  assert.is(store.put(record("data", "late"), "a", "another"), "another peer publishes under this key");
});

test("a key whose record is over is anybody's", () => {
  const { clock, store } = storeAt();
  store.put(record("data", "first", 10), "a", "owner-a");
  clock.now = 9_000;
  assert.equal([shown(store, "data"), store.get(bytes("data"))?.ttl], ["first", 1]);
  assert.type(store.put(record("data", "early"), "b", "owner-b"), "string");
  clock.now = 10_000;
  assert.is(shown(store, "data"), undefined);
  assert.is(store.put(record("data", "next"), "b", "owner-b"), undefined);
  assert.is(store.get(bytes("data"))?.ttl, recordTtlMaxS);
});

test("no record lives longer than is allowed", () => {
  const { store } = storeAt();
  store.put(record("data", "value", recordTtlMaxS + 1), "a", "a");
  assert.is(store.get(bytes("data"))?.ttl, recordTtlMaxS);
});

test("takes so many records, so many of one publisher, and replaces them when it is full", () => {
  const { store } = storeAt();
  const [each, publishers] = [recordsPerPublisherMax, recordsMax / recordsPerPublisherMax];
  for (let index = 0; index < recordsMax; index++) {
    const publisher = `p${index % publishers}`;
    assert.is(store.put(record(`k${index}`), publisher, publisher), undefined);
  }
  assert.equal([store.size, each * publishers], [recordsMax, recordsMax]);
  assert.is(store.put(record("more"), "other", "other"), `already ${recordsMax} records`);
  assert.is(store.put(record("k0", "again"), "p0", "p0"), undefined);
});

test("takes so many records of one publisher", () => {
  const { store } = storeAt();
  for (let index = 0; index < recordsPerPublisherMax; index++) store.put(record(`k${index}`), "a", "a");
  assert.is(store.put(record("more"), "a", "a"), `already ${recordsPerPublisherMax} records of this peer`);
  assert.is(store.put(record("k0", "again"), "a", "a"), undefined);
  assert.is(store.put(record("more"), "b", "b"), undefined);
});

test("takes keys and values up to their sizes", () => {
  const { store } = storeAt();
  const sized = (key: number, value: number) => ({ key: new Uint8Array(key), value: new Uint8Array(value) });
  assert.is(store.put(sized(recordKeyMaxBytes, recordValueMaxBytes), "a", "a"), undefined);
  assert.match(store.put(sized(recordKeyMaxBytes + 1, 1), "a", "a") ?? "", "key of more than");
  assert.match(store.put(sized(1, recordValueMaxBytes + 1), "a", "a") ?? "", "value of more than");
});

test("an owner is who the certificate says: the SPIFFE name of a role, else subject and issuer", () => {
  const identity = { names: ["DNS:a", "URI:spiffe://acme/worker/a"], subject: "CN=a", issuer: "CN=ca" };
  assert.is(ownerOf({ ...identity, role: "worker" } as unknown as PeerIdentity), "URI:spiffe://acme/worker/a");
  assert.is(ownerOf(identity as unknown as PeerIdentity), '["CN=a","CN=ca"]');
});

test.run();
