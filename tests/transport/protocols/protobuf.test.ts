/** What is no message is refused: `protons-runtime`, which libp2p brings, reads most of these as another message. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "../../../actors/runtime/random.ts";
import {
  decodeKadMessage,
  encodeKadMessage,
  kadFieldsMax,
  kadMessageMaxBytes,
  type KadPeer,
  kadPeersMax,
} from "../../../transport/protocols/kad_record.ts";
import { MalformedProtobuf, protobufFields, ProtobufWriter } from "../../../transport/protocols/protobuf.ts";

const test = suite("protobufFields()");

const fields = (...bytes: number[]) =>
  [...protobufFields(Uint8Array.from(bytes))].map(({ field, value }) => [
    field,
    typeof value === "number" ? value : [...value],
  ]);

const refused: [name: string, bytes: readonly number[], reason: RegExp][] = [
  [
    "a length of 2^32 + 1, which 32 bits take for 1",
    [0x0a, 0x81, 0x80, 0x80, 0x80, 0x10, 0x41],
    /cut off inside a field/,
  ],
  ["a number that is cut off at the end", [0x08, 0x80, 0x80, 0x80, 0x80], /cut off inside a number/],
  ["a tag that is cut off", [0x80], /cut off inside a number/],
  ["a number over 2^53", [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], /over 2\^53/],
  ["a number of eleven bytes", [0x08, ...new Array<number>(10).fill(0x80), 0x00], /more than ten bytes/],
  ["a field that is cut off", [0x0a, 0x02, 0x41], /cut off inside a field/],
  ["a fixed field that is cut off", [0x0d, 1, 2, 3], /cut off inside a field/],
  ["a group", [0x0b, 0x0c], /wire type 3/],
  ["an unknown wire type", [0x0f], /wire type 7/],
];
for (const [name, bytes, reason] of refused) {
  test(`refuses ${name}`, () =>
    assert.throws(
      () => fields(...bytes),
      (error: unknown) => error instanceof MalformedProtobuf && reason.test(error.message),
    ));
}

test("groups inside groups, as many as a message has bytes, take no stack", () => {
  assert.throws(() => fields(...new Array<number>(kadMessageMaxBytes).fill(0x0b)), /wire type 3/);
});

test("reads numbers up to 2^53, longer forms of a number too, and passes over fixed fields", () => {
  assert.equal(fields(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f), [[1, Number.MAX_SAFE_INTEGER]]);
  assert.equal(fields(0x08, 0x80, 0x00, 0x0d, 1, 2, 3, 4, 0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x12, 0x01, 0x41), [[1, 0], [
    2,
    [0x41],
  ]]);
});

test("reads what it wrote", () => {
  const random = seededRandom(20_261_127);
  for (let round = 0; round < 500; round++) {
    const number = Math.floor(random() * 2 ** (random() * 53));
    const value = Uint8Array.from({ length: random() * 300 }, () => random() * 256);
    const field = 1 + Math.floor(random() * 2 ** 20);
    const written = new ProtobufWriter().number(field, number).bytes(field + 1, value).end();
    assert.equal([...protobufFields(written)], [{ field, value: number }, { field: field + 1, value }]);
  }
});

test("a Kademlia message that is not decoded is a refusal, whatever its bytes", () => {
  const random = seededRandom(20_261_128);
  const octets = (count: number) => Uint8Array.from({ length: count }, () => random() * 256);
  const sound = encodeKadMessage({
    type: "GET_VALUE",
    key: octets(32),
    record: { key: octets(32), value: octets(64), publisher: octets(38), ttl: 172_800 },
    closer: [{ id: octets(38), addresses: [octets(12)], connection: 1 }],
    providers: [],
  });
  assert.ok(Result.isSuccess(decodeKadMessage(sound)));
  let failures = 0;
  for (let round = 0; round < 5_000; round++) {
    const bytes = sound.slice(0, random() < 0.5 ? sound.length : Math.floor(random() * sound.length));
    for (let change = 0; change < 3; change++) bytes[Math.floor(random() * bytes.length)] = random() * 256;
    if (Result.isFailure(decodeKadMessage(bytes))) failures += 1;
  }
  assert.ok(failures > 1_000, `${failures} refused`);
  assert.ok(Result.isFailure(decodeKadMessage(new Uint8Array(kadMessageMaxBytes + 1))));
});

test("bug: a Kademlia message of 64 kB named 16,000 peers, and cost twenty times its price", () => {
  const message = (closer: readonly KadPeer[], providers: readonly KadPeer[] = []) =>
    decodeKadMessage(encodeKadMessage({ type: "FIND_NODE", closer, providers }));
  const peer: KadPeer = { id: new Uint8Array(1), addresses: [] };
  const half = Array<KadPeer>(kadPeersMax / 2).fill(peer);
  assert.ok(Result.isSuccess(message(half, half)));
  assert.ok(Result.isFailure(message([...half, peer], half)));
  assert.ok(Result.isFailure(message(half, [...half, peer])));
  const known = 3; // the type, a peer, its id
  const addresses = (count: number) => Array<Uint8Array>(count).fill(new Uint8Array(1));
  assert.ok(Result.isSuccess(message([{ ...peer, addresses: addresses(kadFieldsMax - known) }])));
  assert.ok(Result.isFailure(message([{ ...peer, addresses: addresses(kadFieldsMax - known + 1) }])));
  const unknown = Uint8Array.from({ length: 2 * (kadFieldsMax + 1) }, (_, index) => index % 2 === 0 ? 0x7a : 0);
  assert.ok(Result.isSuccess(decodeKadMessage(unknown.subarray(2))));
  assert.ok(Result.isFailure(decodeKadMessage(unknown)));
});

test.run();
