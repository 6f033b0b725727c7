import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../../pki/path.ts";
import {
  goneLookMs,
  ownerOf,
  recordsMax,
  recordsPerPublisherMax,
  RecordStore,
  recordTtlMaxS,
  refused,
} from "../../../transport/core/record_store.ts";
import { recordKeyMaxBytes, recordValueMaxBytes } from "../../../transport/protocols/record_message.ts";
import { identityOf } from "../../support/played_session.ts";

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
  const gone = new Set<string>();
  const store = new RecordStore(() => clock.now, (publisher) => gone.has(publisher));
  /** `kept`, or the reason why not. */
  const put = (kept: Parameters<RecordStore["put"]>[0], publisher: string, owner: string) => {
    const outcome = store.put(kept, { publisher, owner });
    return Result.isSuccess(outcome) ? "kept" : outcome.failure.reason;
  };
  return { clock, store, put, gone };
}

test("keeps a record of its publisher, who replaces it", () => {
  const { store, put } = storeAt();
  assert.is(put(record("data", "first"), "a", "owner-a"), "kept");
  assert.is(put(record("data", "second"), "a", "owner-a"), "kept");
  assert.equal([shown(store, "data"), store.size], ["second", 1]);
});

test("no peer takes over what another publishes, except the same owner with another key", () => {
  const { store, put } = storeAt();
  put(record("data", "first"), "a", "owner-a");
  assert.is(put(record("data", "stolen"), "b", "owner-b"), "another-publisher");
  assert.is(shown(store, "data"), "first");
  assert.is(put(record("data", "renewed"), "c", "owner-a"), "kept");
  assert.is(shown(store, "data"), "renewed");
  assert.is(put(record("data", "late"), "a", "another"), "another-publisher");
});

test("a publisher whose certificate has another name goes on with its keys", () => {
  const { store, put } = storeAt();
  put(record("data", "first"), "a", "owner-a");
  assert.is(put(record("data", "second"), "a", "renamed"), "kept");
  assert.is(shown(store, "data"), "second");
});

test("gives what the record has, and nothing that it lacks", () => {
  const { store, put } = storeAt();
  const whole = { ...record("whole", "value", 60), timeReceived: "2026-01-01T00:00:00Z", publisher: bytes("a") };
  put(whole, "a", "a");
  put(record("less", "value", 60), "a", "a");
  assert.equal([store.get(bytes("whole")), store.get(bytes("less"))], [whole, record("less", "value", 60)]);
});

test("a key is free for another once its publisher is gone", () => {
  const { store, put, gone } = storeAt();
  put(record("data", "first"), "a", "owner-a");
  assert.is(put(record("data", "second"), "b", "owner-b"), "another-publisher");
  gone.add("a");
  assert.is(put(record("data", "second"), "b", "owner-b"), "kept");
  assert.is(shown(store, "data"), "second");
});

test("the records of publishers that may not publish any more are dropped, those of this node are not", () => {
  const { store, put } = storeAt();
  for (const [key, role] of [["a", "worker"], ["b", "data"]] as const) {
    store.put(record(key), { publisher: key, owner: key, identity: identityOf(key, { role }) });
  }
  put(record("own"), "self", "self");
  store.dropOf(({ role }) => role === "worker");
  assert.equal(["a", "b", "own"].map((key) => shown(store, key)), [undefined, "value", "value"]);
});

test("a key whose record is over is free", () => {
  const { clock, store, put } = storeAt();
  put(record("data", "first", 10), "a", "owner-a");
  clock.now = 9_000;
  assert.equal([shown(store, "data"), store.get(bytes("data"))?.ttl], ["first", 1]);
  assert.is(put(record("data", "early"), "b", "owner-b"), "another-publisher");
  clock.now = 10_000;
  assert.is(shown(store, "data"), undefined);
  assert.is(put(record("data", "next"), "b", "owner-b"), "kept");
  assert.is(store.get(bytes("data"))?.ttl, recordTtlMaxS);
});

test("no record lives longer than is allowed", () => {
  const { store, put } = storeAt();
  put(record("data", "value", recordTtlMaxS + 1), "a", "a");
  assert.is(store.get(bytes("data"))?.ttl, recordTtlMaxS);
});

test("takes so many records, so many of one publisher, and replaces them when it is full", () => {
  const { store, put } = storeAt();
  const [each, publishers] = [recordsPerPublisherMax, recordsMax / recordsPerPublisherMax];
  for (let index = 0; index < recordsMax; index++) {
    const publisher = `p${index % publishers}`;
    assert.is(put(record(`k${index}`), publisher, publisher), "kept");
  }
  assert.equal([store.size, each * publishers], [recordsMax, recordsMax]);
  assert.is(put(record("more"), "other", "other"), "store-full");
  assert.is(put(record("k0", "again"), "p0", "p0"), "kept");
});

test("bug: a store full of records of publishers that were gone refused new keys for two days", () => {
  const { clock, store, put, gone } = storeAt();
  const publishers = recordsMax / recordsPerPublisherMax;
  for (let index = 0; index < recordsMax; index++) {
    const publisher = `p${index % publishers}`;
    put(record(`k${index}`), publisher, publisher);
  }
  gone.add("p0");
  assert.is(put(record("more"), "other", "other"), "kept");
  assert.equal([store.size, shown(store, "k0"), shown(store, "k1")], [
    recordsMax - recordsPerPublisherMax + 1,
    undefined,
    "value",
  ]);
  for (let index = 1; index < recordsPerPublisherMax; index++) put(record(`more${index}`), "other", "other");
  assert.is(put(record("last"), "another", "another"), "store-full");
  gone.add("p1");
  assert.is(put(record("last"), "another", "another"), "store-full", "looked for a moment ago: it takes time");
  clock.now += goneLookMs;
  assert.is(put(record("last"), "another", "another"), "kept");
});

test("bug: an owner had as many records again with each key of its own", () => {
  const { put, gone, clock } = storeAt();
  for (let index = 0; index < recordsPerPublisherMax; index++) put(record(`k${index}`), "first key", "owner");
  assert.is(put(record("more"), "second key", "owner"), "publisher-full");
  assert.is(put(record("k0", "again"), "second key", "owner"), "kept");
  gone.add("first key");
  clock.now += goneLookMs;
  assert.is(put(record("more"), "second key", "owner"), "kept", "those of a key that is gone make room");
});

test("takes so many records of one publisher", () => {
  const { put } = storeAt();
  for (let index = 0; index < recordsPerPublisherMax; index++) put(record(`k${index}`), "a", "a");
  assert.is(put(record("more"), "a", "a"), "publisher-full");
  assert.is(put(record("k0", "again"), "a", "a"), "kept");
  assert.is(put(record("more"), "b", "b"), "kept");
});

test("takes keys and values up to their sizes", () => {
  const { put } = storeAt();
  const sized = (key: number, value: number) => ({ key: new Uint8Array(key), value: new Uint8Array(value) });
  assert.is(put(sized(recordKeyMaxBytes, recordValueMaxBytes), "a", "a"), "kept");
  assert.is(put(sized(recordKeyMaxBytes + 1, 1), "a", "a"), "key-too-large");
  assert.is(put(sized(1, recordValueMaxBytes + 1), "a", "a"), "value-too-large");
});

test("a kept record has bytes of its own: the message that brought it can go", () => {
  const { store, put } = storeAt();
  const message = new Uint8Array(60_000).fill(1);
  put({ key: message.subarray(0, 4), value: message.subarray(4, 8), publisher: message.subarray(8, 12) }, "a", "a");
  message.fill(2);
  const kept = store.get(Uint8Array.of(1, 1, 1, 1));
  assert.equal(kept?.value, Uint8Array.of(1, 1, 1, 1));
  assert.equal([kept?.key.buffer.byteLength, kept?.value.buffer.byteLength, kept?.publisher?.buffer.byteLength], [
    4,
    4,
    4,
  ]);
});

test("a refusal says what it refuses and why", () => {
  const refusal = refused("another-publisher");
  assert.ok(Result.isFailure(refusal));
  assert.equal([refusal.failure._tag, refusal.failure.code], ["RecordRefused", "record-refused"]);
  assert.is(refusal.failure.message, "Cannot keep record: another peer publishes under this key");
});

test("an owner is a trust domain with the SPIFFE name of a role, else with the key; subject and issuer say nothing", () => {
  const facts = { names: ["DNS:a", "URI:spiffe://acme/worker/a"], subject: "CN=a", issuer: "CN=ca" };
  const owner = (fields: Partial<PeerIdentity>) =>
    ownerOf({ peer: "p", ...facts, ...fields } as unknown as PeerIdentity);
  assert.is(owner({ role: "worker" }), '["","URI:spiffe://acme/worker/a"]');
  assert.is(owner({ role: "worker", domain: "partner" }), '["partner","URI:spiffe://acme/worker/a"]');
  assert.is(owner({}), '["","p"]');
  assert.is.not(owner({}), owner({ peer: "q" }), "the same subject and issuer at another organisation");
});

test.run();
