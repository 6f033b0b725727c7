/** The rules and bounds of the codecs that no capture shows. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "../../../actors/runtime/random.ts";
import { depthMax, itemsMax, readCbor } from "../../../transport/protocols/cbor_reader.ts";
import { CborWriter } from "../../../transport/protocols/cbor_writer.ts";
import {
  decodeMessage,
  decodePullHeader,
  decodeWorkerRequest,
  encodeMessage,
  encodePullHeader,
  encodeWorkerRequest,
  fromJson,
  gossipMaxBytes,
  jobSpecSchema,
  MalformedMessage,
  peersReferencedMax,
  progressSchema,
  pullHeaderMaxBytes,
  reasonMaxBytes,
  referenceSchema,
  requestMaxBytes,
  toJson,
  variantOf,
} from "../../../transport/protocols/mod.ts";
import type { ApiResponse, WorkerRequest } from "../../../transport/protocols/messages.ts";
import { f64, i32NotNegative } from "../../../transport/protocols/scalars.ts";
import { fromCbor, nullable, toCbor } from "../../../transport/protocols/schema.ts";

const api = "/hypha-api/0.0.1";
const progress = "/hypha-progress/0.0.1";
const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const id = "3c508384-6829-4d62-83d3-061ae58b76fa";
const bytesOf = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const hexOf = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const idHex = id.replaceAll("-", "");

function malformed(read: () => unknown): MalformedMessage {
  try {
    read();
  } catch (error) {
    if (error instanceof MalformedMessage) return error;
    throw error;
  }
  throw new Error("was read");
}

function failure(result: Result.Result<unknown, MalformedMessage>): MalformedMessage {
  if (Result.isSuccess(result)) throw new Error("was accepted");
  return result.failure;
}

const reader = suite("readCbor()");

const broken: [name: string, hex: string, reason: RegExp][] = [
  ["nothing", "", /cut short/],
  ["a text cut short", "6261", /length is over/],
  ["a number cut short", "1a000000", /cut short/],
  ["a list longer than the message", "9affffffff", /length is over/],
  ["bytes of 2^64 - 1", "5bffffffffffffffff", /length is over/],
  ["a reserved length", "1c", /reserved/],
  ["a break by itself", "ff", /break/],
  ["text in pieces", "7f6161ff", /in pieces/],
  ["an indefinite list without an end", "9f01", /cut short/],
  ["text that is not UTF-8", "61ff", /UTF-8/],
  ["a lone surrogate", "63eda080", /UTF-8/],
  ["a key that stands twice", "a2616101616102", /twice/],
  ["a key that stands twice, indefinite", "bf616101616102ff", /twice/],
];
for (const [name, hex, reason] of broken) {
  reader(`refuses ${name}`, () => assert.match(malformed(() => readCbor(bytesOf(hex))).reason, reason));
}

reader("takes the deepest nesting and refuses one level more", () => {
  const nested = (levels: number) => Uint8Array.from([...Array(levels).fill(0x81), 0x00]);
  assert.is(readCbor(nested(depthMax)).sizeBytes, depthMax + 1);
  assert.match(malformed(() => readCbor(nested(depthMax + 1))).reason, /levels/);
  assert.match(malformed(() => readCbor(new Uint8Array(100_000).fill(0x81))).reason, /levels/);
});

reader("takes as many items as the bound and refuses one more", () => {
  const list = (count: number) => {
    const bytes = new Uint8Array(5 + count);
    bytes[0] = 0x9a;
    new DataView(bytes.buffer).setUint32(1, count);
    return bytes;
  };
  assert.is(readCbor(list(itemsMax - 1)).item.kind, "list");
  assert.match(malformed(() => readCbor(list(itemsMax))).reason, /items/);
});

reader("keeps a byte order mark, which is part of a name", () => {
  assert.equal(readCbor(bytesOf("63efbbbf")).item, { kind: "text", value: "\ufeff" });
});

reader("gives integers beyond 2^53 - 1 as bigint, exactly", () => {
  assert.equal(readCbor(bytesOf("1b001fffffffffffff")).item, { kind: "integer", value: Number.MAX_SAFE_INTEGER });
  assert.equal(readCbor(bytesOf("1b0020000000000000")).item, { kind: "integer", value: 2n ** 53n });
  assert.equal(readCbor(bytesOf("3bffffffffffffffff")).item, { kind: "integer", value: -(2n ** 64n) });
});

reader("ends on any bytes in an item or a typed error", () => {
  const random = seededRandom(20_26);
  const next = () => Math.floor(random() * 256);
  for (let round = 0; round < 5_000; round++) {
    const bytes = Uint8Array.from({ length: 1 + next() % 64 }, next);
    for (const direction of ["request", "response"] as const) decodeMessage(api, direction, bytes);
    decodeWorkerRequest(bytes);
    decodePullHeader(bytes);
  }
});

reader("ends on every capture with one bit turned", () => {
  const bytes = encodeWorkerRequest(wanted);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const turned = bytes.slice();
    turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    decodeWorkerRequest(turned);
    decodeMessage(api, "request", turned);
  }
});
reader.run();

const writer = suite("CborWriter");

writer("writes every half-precision value in three bytes, as it was", () => {
  for (let half = 0; half < 0x1_0000; half++) {
    const bytes = Uint8Array.of(0xf9, half >> 8, half & 0xff);
    const { item } = readCbor(bytes);
    if (item.kind !== "float") throw new Error(item.kind);
    const out = new CborWriter("shortest");
    out.f64(item.value);
    assert.is(hexOf(out.finish()), Number.isNaN(item.value) ? "f97e00" : hexOf(bytes));
  }
});

const floats: [value: number, shortest: string][] = [
  [0, "f90000"],
  [-0, "f98000"],
  [65_504, "f97bff"],
  [65_505, "fa477fe100"],
  [65_520, "fa477ff000"],
  [2 ** -24, "f90001"],
  [2 ** -25, "fa33000000"],
  [3 * 2 ** -25, "fa33c00000"],
  [2 ** -149, "fa00000001"],
  [2 ** -150, "fb3690000000000000"],
  [1 / 3, "fb3fd5555555555555"],
  [Math.fround(1 / 3), "fa3eaaaaab"],
  [Infinity, "f97c00"],
];
for (const [value, shortest] of floats) {
  writer(`writes ${value} as ${shortest} in gossip and with full width elsewhere`, () => {
    const [gossip, exact, single] = [new CborWriter("shortest"), new CborWriter("exact"), new CborWriter("exact")];
    gossip.f64(value);
    exact.f64(value);
    single.f32(value);
    assert.is(hexOf(gossip.finish()), shortest);
    assert.is(exact.finish().length, 9);
    assert.is(single.finish().length, 5);
  });
}

const integers: [value: number, hex: string][] = [
  [23, "17"],
  [24, "1818"],
  [255, "18ff"],
  [256, "190100"],
  [65_535, "19ffff"],
  [65_536, "1a00010000"],
  [4_294_967_295, "1affffffff"],
  [4_294_967_296, "1b0000000100000000"],
  [-1, "20"],
  [-24, "37"],
  [-25, "3818"],
];
for (const [value, hex] of integers) {
  writer(`writes the integer ${value} as ${hex}`, () => {
    const out = new CborWriter("exact");
    out.integer(value);
    assert.is(hexOf(out.finish()), hex);
  });
}
writer.run();

const messages = suite("messages");
const wanted: WorkerRequest = {
  id,
  spec: {
    resources: { gpu: 10, cpu: 1, storage: 0.1, memory: 1 },
    executor: [{ class: "train", name: "diloco-transformer" }],
  },
  timeout: { secs_since_epoch: 1_795_563_780, nanos_since_epoch: 0 },
  bid: 100.1,
};

messages("gossip refuses what request/response takes: a byte more, an indefinite map", () => {
  const bytes = encodeWorkerRequest(wanted);
  assert.equal(Result.getOrThrow(decodeWorkerRequest(bytes)), wanted);
  assert.match(failure(decodeWorkerRequest(Uint8Array.of(...bytes, 0))).reason, /after the message/);
  assert.match(failure(decodeWorkerRequest(Uint8Array.of(0xbf, ...bytes.subarray(1), 0xff))).reason, /definite/);
});

messages("refuses a price that is NaN or infinite: no comparison would hold", () => {
  for (const bid of [NaN, Infinity, -Infinity]) {
    assert.is(failure(decodeWorkerRequest(encodeWorkerRequest({ ...wanted, bid }))).path, "bid");
  }
});

messages("a loss may be NaN, in CBOR as in the JSON of an executor, which writes null", () => {
  const read = Result.getOrThrow(fromJson(progressSchema, { metrics: { round: 1, metrics: { loss: null } } }));
  const bytes = encodeMessage(progress, "request", { job_id: id, progress: read });
  const again = Result.getOrThrow(decodeMessage(progress, "request", bytes));
  assert.ok(typeof again.progress === "object" && "metrics" in again.progress);
  assert.ok(Number.isNaN(again.progress.metrics.metrics["loss"]));
});

messages("keeps a metric called __proto__", () => {
  const value = JSON.parse('{"metrics":{"round":0,"metrics":{"__proto__":1.5}}}');
  const read = Result.getOrThrow(fromJson(progressSchema, value));
  assert.is(toJson(progressSchema, read), '{"metrics":{"round":0,"metrics":{"__proto__":1.5}}}');
});

messages("a counter takes 2^32 - 1 and refuses 2^32", () => {
  const answer = (counter: string) => bytesOf(`a264747970656e5363686564756c6555706461746567636f756e746572${counter}`);
  assert.equal(Result.getOrThrow(decodeMessage(progress, "response", answer("1affffffff"))), {
    type: "ScheduleUpdate",
    counter: 4_294_967_295,
  });
  assert.is(failure(decodeMessage(progress, "response", answer("1b0000000100000000"))).path, "counter");
});

messages("a slice's index takes 2^53 - 1 and refuses 2^53", () => {
  const message = (index: number): ApiResponse => ({ Data: { Success: { data_provider: peer, index } } });
  const bytes = encodeMessage(api, "response", message(Number.MAX_SAFE_INTEGER));
  assert.equal(
    Result.getOrThrow(decodeMessage(api, "response", bytes)),
    message(Number.MAX_SAFE_INTEGER),
  );
  bytes.set(bytesOf("0020000000000000"), bytes.length - 8);
  assert.is(failure(decodeMessage(api, "response", bytes)).path, "Data.Success.index");
});

messages("the reason of a failed job is an extension that older readers skip, and bounded", () => {
  const message = (reason: string) => ({ JobStatus: { task_id: id, status: { type: "Failed" as const, reason } } });
  const longest = message("é".repeat(reasonMaxBytes / 2));
  assert.equal(Result.getOrThrow(decodeMessage(api, "request", encodeMessage(api, "request", longest))), longest);
  const over = encodeMessage(api, "request", message("é".repeat(reasonMaxBytes / 2) + "x"));
  assert.is(failure(decodeMessage(api, "request", over)).path, "JobStatus.status.reason");
});

messages("a grant comes back as it went", () => {
  const grant = {
    dataset: "digits",
    index: 3,
    peer,
    job: id,
    expires: { secs_since_epoch: 1, nanos_since_epoch: 2 },
    signature: Uint8Array.of(1, 2, 255),
  };
  const message: ApiResponse = { Data: { Success: { data_provider: peer, index: 3, grant } } };
  assert.equal(Result.getOrThrow(decodeMessage(api, "response", encodeMessage(api, "response", message))), message);
});

messages("an enum's map must be definite, have one entry and a known variant", () => {
  const renewal = `a1626964 50${idHex}`.replaceAll(" ", "");
  assert.ok(Result.isSuccess(decodeMessage(api, "request", bytesOf(`a16a52656e65774c65617365${renewal}`))));
  for (const hex of [`bf6a52656e65774c65617365${renewal}ff`, `a26a52656e65774c65617365${renewal}616101`, "a0", "01"]) {
    assert.ok(Result.isFailure(decodeMessage(api, "request", bytesOf(hex))), hex);
  }
  assert.match(failure(decodeMessage(api, "request", bytesOf("6548656c6c6f"))).reason, /unknown variant "Hello"/);
});

messages("refuses more bytes than a request may have before it reads them", () => {
  assert.match(failure(decodeMessage(api, "request", new Uint8Array(requestMaxBytes + 1))).reason, /more than/);
  assert.match(failure(decodeWorkerRequest(new Uint8Array(gossipMaxBytes + 1))).reason, /more than/);
});

messages(
  "bug: a reference named as many peers as a megabyte holds: it names those of one round, and no more are read",
  () => {
    const dispatch = (peers: number) => {
      const updates = {
        type: "peers",
        peers: Array(peers).fill(peer),
        strategy: { type: "All" },
        resource: null,
      } as const;
      const config = { updates, results: { ...updates, peers: [] }, optimizer: { "learning-rate": 1, momentum: 0 } };
      const executor = { class: "aggregate", descriptor: { name: "x" }, config } as const;
      return encodeMessage(api, "request", { DispatchJob: { id, spec: { job_id: id, executor } } });
    };
    const read = (peers: number) => {
      const counts = { items: 0, peers: 0 };
      return { outcome: decodeMessage(api, "request", dispatch(peers), counts), counts };
    };
    const most = read(peersReferencedMax);
    assert.ok(Result.isSuccess(most.outcome));
    assert.is(most.counts.peers, peersReferencedMax);
    const over = read(peersReferencedMax + 1);
    assert.is(failure(over.outcome).path, "DispatchJob.spec.executor.config.updates.peers");
    assert.equal([over.counts.peers, over.counts.items > peersReferencedMax], [0, true]);
  },
);

messages("the variant of a request is known before its content is read", () => {
  const variant = (hex: string) => variantOf(bytesOf(hex));
  assert.equal([variant("a16141ff"), variant("b90001780141ff")].map(Result.getOrThrow), ["A", "A"]);
  for (const hex of ["", "a1", "a16241", "a0", "a2614101", "bf6141ff", "6141", "816141", "a10101"]) {
    assert.ok(Result.isFailure(variant(hex)), hex);
  }
});

messages("a wrong message of ours throws: it is a mistake, not an event", () => {
  assert.throws(() => encodeMessage(api, "request", { Nonsense: {} } as never), /unknown variant/);
  assert.throws(() => encodeMessage(api, "request", { RenewLease: { id: "7" } }), /UUID/);
});

messages("a PeerID is text only inside a reference", () => {
  const text = hexOf(new TextEncoder().encode(peer));
  const success = (provider: string) =>
    bytesOf(`a16444617461a16753756363657373a26d646174615f70726f7669646572${provider}65696e64657800`);
  assert.ok(Result.isSuccess(decodeMessage(
    api,
    "response",
    success(
      "582600240801122006a86c4251adcb91f1b85b1c39d1dfac9fc18e04ad7382024f6dce929eeaee2d",
    ),
  )));
  assert.is(failure(decodeMessage(api, "response", success(`7834${text}`))).path, "Data.Success.data_provider");
});
messages.run();

const json = suite("fromJson() and toJson()");
const reference = { type: "peers", peers: [peer], strategy: { type: "All" } };

const wrong: [name: string, value: unknown, path: string][] = [
  ["text", "peers", ""],
  ["null", null, ""],
  ["no type", { peers: [peer] }, "type"],
  ["an unknown type", { ...reference, type: "ftp" }, "type"],
  ["a type that every object has", { type: "constructor" }, "type"],
  ["no strategy", { type: "peers", peers: [] }, "strategy"],
  ["a peer that is none", { ...reference, peers: [peer, "12D3KooW"] }, "peers[1]"],
  ["a peer of a thousand letters", { ...reference, peers: ["1".repeat(1_000)] }, "peers[0]"],
  ["a fraction as index", { ...reference, resource: { dataset: "d", index: 0.5 } }, "resource.index"],
  ["a negative index", { ...reference, resource: { dataset: "d", index: -1 } }, "resource.index"],
];
for (const [name, value, path] of wrong) {
  json(`refuses a reference with ${name}`, () => assert.is(failure(fromJson(referenceSchema, value)).path, path));
}

json("a missing optional is null, an unknown key is dropped", () => {
  assert.equal(Result.getOrThrow(fromJson(referenceSchema, { ...reference, more: 1 })), {
    ...reference,
    resource: null,
  });
});

const numbers: [value: number, text: string][] = [
  [1, "1.0"],
  [0, "0.0"],
  [-0, "-0.0"],
  [0.001, "0.001"],
  [1e-5, "0.00001"],
  [1e-6, "1e-6"],
  [1.5e-8, "1.5e-8"],
  [-12.25, "-12.25"],
  [1e15, "1000000000000000.0"],
  [1e16, "1e16"],
  [1.2345e21, "1.2345e21"],
  [4503599627370495.5, "4503599627370495.5"],
];
for (const [value, text] of numbers) {
  json(`writes the float ${value} as ${text}`, () => assert.is(toJson(f64, value), text));
}

json("a job with a float as batch size, or a receiving side with strategy One, is refused with its path", () => {
  const peers = { type: "peers", peers: [peer], strategy: { type: "All" }, resource: null };
  const config = { updates: peers, results: peers, optimizer: { "learning-rate": 1, momentum: 0 } };
  const spec = { job_id: id, executor: { class: "aggregate", descriptor: { name: "a" }, config } };
  assert.ok(Result.isSuccess(fromJson(jobSpecSchema, spec)));
  const one = { ...config, updates: { ...peers, strategy: { type: "One" } } };
  const refused = failure(fromJson(jobSpecSchema, { ...spec, executor: { ...spec.executor, config: one } }));
  assert.is(refused.path, "executor.config.updates");
  assert.is(failure(fromJson(jobSpecSchema, { ...spec, job_id: idHex })).path, "job_id");
});
json.run();

const header = suite("decodePullHeader()");

header("waits for all of it and says how much it was", () => {
  const bytes = encodePullHeader({ dataset: "letters", index: 0 });
  for (let cut = 0; cut < bytes.length; cut++) {
    assert.is(Result.getOrThrow(decodePullHeader(bytes.subarray(0, cut))), undefined);
  }
  const more = Uint8Array.of(...bytes, 1, 2, 3);
  assert.equal(Result.getOrThrow(decodePullHeader(more)), {
    header: { dataset: "letters", index: 0 },
    sizeBytes: bytes.length,
  });
});

header("takes a length one under the bound and refuses the bound", () => {
  const bytes = new Uint8Array(8);
  const length = (value: number) => new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  length(pullHeaderMaxBytes - 1);
  assert.is(Result.getOrThrow(decodePullHeader(bytes)), undefined);
  length(pullHeaderMaxBytes);
  assert.match(failure(decodePullHeader(bytes)).reason, /header of/);
});

for (
  const text of [
    "[]",
    "null",
    "{}",
    '{"dataset":"d","index":-1}',
    '{"dataset":1,"index":1}',
    '{"dataset":"d","index":1e99}',
  ]
) {
  header(`refuses ${text}`, () => {
    const bytes = new Uint8Array(8 + text.length);
    bytes[0] = text.length;
    bytes.set(new TextEncoder().encode(text), 8);
    failure(decodePullHeader(bytes));
  });
}
header.run();

const shapes = suite("scalars and schemas");

shapes("a float is written whole wherever the buffer ends", () => {
  for (let before = 0; before < 20; before++) {
    const writer = new CborWriter("exact");
    writer.bytes(new Uint8Array(240 + before));
    writer.f64(0.1);
    const written = writer.finish();
    assert.is(hexOf(written.subarray(-9)), "fb3fb999999999999a", String(before));
  }
  const writer = new CborWriter("exact");
  for (let count = 0; count < 100; count++) writer.f64(0.1);
  assert.is(writer.finish().length, 900);
});

shapes("a signed count goes up to 2^31 - 1", () => {
  const read = (value: number) => {
    const writer = new CborWriter("exact");
    writer.integer(value);
    return fromCbor(i32NotNegative, writer.finish(), "exact");
  };
  assert.is(Result.getOrThrow(read(2_147_483_647)), 2_147_483_647);
  failure(read(2_147_483_648));
  failure(read(-1));
});

shapes("what may be null is read as null, and as what it is", () => {
  const either = nullable(f64);
  for (const value of [null, 0.5]) {
    assert.is(Result.getOrThrow(fromCbor(either, toCbor(either, value, "exact"), "exact")), value);
  }
});
shapes.run();
