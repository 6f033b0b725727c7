/**
 * Every row of the captures whose bytes these codecs read: decoded, compared with what it says, encoded again and
 * compared byte for byte. A row that none of the lists below places is a failure, and so is one placed twice.
 */
import { Result } from "effect";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  decodeMessage,
  decodePullHeader,
  decodeWorkerRequest,
  encodeMessage,
  encodePullHeader,
  encodeWorkerRequest,
  fromJson,
  jobSpecSchema,
  type MalformedMessage,
  toJson,
} from "../../transport/protocols/mod.ts";
import type { ApiRequest, MessageProtocol, WorkerRequest } from "../../transport/protocols/messages.ts";

interface Row {
  readonly name: string;
  readonly from: string;
  readonly protocol: string;
  readonly kind: string;
  readonly hex: string;
  readonly decoded?: unknown;
  readonly note?: string;
  readonly job_json?: string;
}

type Outcome = "same bytes" | "canonical bytes" | "refused" | "gossip rpc" | "raw file" | "more to come";

const hexOf = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const bytesOf = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const rowsOf = (file: string): Row[] =>
  JSON.parse(readFileSync(new URL(`../vectors/wire/${file}.json`, import.meta.url), "utf8"));

/** The captures give identifiers as `{ bytes, uuid | peer }`; in memory they are text. */
function plain(decoded: unknown): unknown {
  if (Array.isArray(decoded)) return decoded.map(plain);
  if (typeof decoded !== "object" || decoded === null) return decoded;
  const { uuid, peer, bytes, ...rest } = decoded as Record<string, unknown>;
  if (bytes !== undefined && (uuid ?? peer) !== undefined && Object.keys(rest).length === 0) return uuid ?? peer;
  return Object.fromEntries(Object.entries(decoded).map(([key, value]) => [key, plain(value)]));
}

/** Same values under the same keys wherever the capture has them; what it lacks must be null, what is null may lack. */
function agrees(ours: unknown, theirs: unknown, path = ""): void {
  if (Array.isArray(theirs)) {
    assert.ok(Array.isArray(ours) && ours.length === theirs.length, path);
    theirs.forEach((each, i) => agrees(ours[i], each, `${path}[${i}]`));
  } else if (typeof theirs === "object" && theirs !== null) {
    const [a, b] = [ours as Record<string, unknown>, theirs as Record<string, unknown>];
    for (const key of Object.keys(b)) if (!unknownKeys.has(key)) agrees(a[key] ?? null, b[key], `${path}.${key}`);
    for (const key of Object.keys(a)) {
      assert.ok(key in b || a[key] === null || leftOut.has(path + key), `${path}.${key}`);
    }
  } else {
    assert.is(ours, theirs, path);
  }
}
const unknownKeys = new Set(["extra", "x", "y"]);
/** What the captures' `decoded` does not repeat: dispatch.json leaves the task's id out. */
const leftOut = new Set([".DispatchJobid"]);

/** Rows that decode to what other bytes say too: encoded again they become those bytes. Name → why. */
const canonical: Readonly<Record<string, readonly string[]>> = {
  api: ["keys in another order", "unknown key", "indefinite inner map", "trailing byte"],
  dispatch: [
    "5-byte float",
    "integer learning-rate",
    "nulls left out",
    "peers as base58 text",
    "tag last",
    "unknown keys",
    "scheduler null",
  ],
  health: ["empty array", "indefinite map", "with an unknown key", "trailing byte", "unknown key first"],
  gossip: [
    "floats 9 bytes",
    "bid under the floor",
    "more gpu than there is",
    "unknown executor",
    "unknown key",
    "keys in another order",
    "timeout already past",
    "to let lapse",
  ],
  streams: ["unknown key"],
};

/** Rows that the existing nodes refused without a note that begins with `rejected`. */
const refusedToo: Readonly<Record<string, readonly string[]>> = {
  api: ["ParameterPull"],
  gossip: ["integer bid", "text uuid"],
  streams: ["header that is not JSON", "header length 1 MiB", "index 0.5"],
};

/** A row that decodes, though the node that wrote the note would not answer: the job's owner decides, not the codec. */
const decodedUnknownJob = "progress of an unknown job";

/** A row whose `decoded` names another executor than its bytes do. The bytes count. */
const contradictsItself = "worker request, f16 floats decoded, aggregate executor";

const tally = new Map<string, Map<Outcome, number>>();
function count(file: string, outcome: Outcome): void {
  const counts = tally.get(file) ?? new Map<Outcome, number>();
  counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  tally.set(file, counts);
}

function expectedOutcome(file: string, row: Row): Outcome {
  const within = (names: readonly string[] | undefined) => names?.some((name) => row.name.includes(name)) ?? false;
  if (row.kind === "gossip-rpc") return "gossip rpc";
  if (row.protocol === "/hypha-tensor-stream/push") return "raw file";
  if (row.name.includes("two bytes, then the end")) return "more to come";
  const refused = row.note?.startsWith("rejected") === true && row.name !== decodedUnknownJob;
  if (refused || within(refusedToo[file])) return "refused";
  return row.from === "js" && within(canonical[file]) ? "canonical bytes" : "same bytes";
}

interface Codec<T> {
  decode(bytes: Uint8Array): Result.Result<T, MalformedMessage>;
  encode(value: T): Uint8Array;
  plain(value: T): unknown;
}

function codecOf(row: Row): Codec<unknown> {
  if (row.kind === "gossip") {
    return {
      decode: decodeWorkerRequest,
      encode: (value) => encodeWorkerRequest(value as WorkerRequest),
      plain: (value) => value,
    };
  }
  if (row.protocol === "/hypha-tensor-stream/pull") {
    return {
      decode: (bytes) => Result.map(decodePullHeader(bytes), (read) => read?.header),
      encode: (value) => encodePullHeader(value as never),
      plain: (value) => ({ header_length: JSON.stringify(value).length, header: value }),
    };
  }
  const [protocol, direction] = [row.protocol as MessageProtocol, row.kind as "request" | "response"];
  return {
    decode: (bytes) => decodeMessage(protocol, direction, bytes),
    encode: (value) => encodeMessage(protocol, direction, value as never),
    plain: (value) => value,
  };
}

function check(file: string, row: Row): void {
  const expected = expectedOutcome(file, row);
  count(file, expected);
  if (expected === "gossip rpc") return checkRpc(row);
  if (expected === "raw file") return assert.ok(row.hex.length > 0);
  const bytes = bytesOf(row.hex);
  const codec = codecOf(row);
  const decoded = codec.decode(bytes);
  if (expected === "refused") return assert.ok(Result.isFailure(decoded), "refused");
  if (Result.isFailure(decoded)) throw decoded.failure;
  if (expected === "more to come") return assert.is(decoded.success, undefined);
  const says = row.name === contradictsItself ? null : row.decoded ?? null;
  if (says !== null) agrees(codec.plain(decoded.success), plain(says));
  const again = codec.encode(decoded.success);
  if (expected === "same bytes") assert.is(hexOf(again), row.hex);
  else assert.is.not(hexOf(again), row.hex, "in the list of canonical rows without need");
  assert.equal(Result.getOrThrow(codec.decode(again)), decoded.success, "encoded and decoded again");
  if (row.job_json !== undefined) checkJobJson(row, decoded.success as ApiRequest);
}

function checkJobJson(row: Row, message: ApiRequest): void {
  if (!("DispatchJob" in message)) throw new Error("job_json on another message");
  assert.is(toJson(jobSpecSchema, message.DispatchJob.spec), row.job_json);
  const read = Result.getOrThrow(fromJson(jobSpecSchema, JSON.parse(row.job_json ?? "")));
  assert.equal(read, message.DispatchJob.spec);
}

/** The protobuf around gossip is the libraries' business; a payload in it is ours. */
function checkRpc(row: Row): void {
  const rpc = protobuf(bytesOf(row.hex));
  const published = rpc.find(({ field }) => field === 2);
  if (published === undefined) {
    assert.match(new TextDecoder("latin1").decode(bytesOf(row.hex)), "hypha/worker");
    return;
  }
  const payload = protobuf(published.bytes).find(({ field }) => field === 2)?.bytes ?? new Uint8Array();
  const request = Result.getOrThrow(decodeWorkerRequest(payload));
  assert.is(hexOf(encodeWorkerRequest(request)), hexOf(payload));
}

/** The length-delimited fields of a protobuf message. */
function protobuf(bytes: Uint8Array): { field: number; bytes: Uint8Array }[] {
  const fields: { field: number; bytes: Uint8Array }[] = [];
  let offset = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = bytes[offset++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (offset < bytes.length) {
    const key = varint();
    if ((key & 7) !== 2) throw new Error(`wire type ${key & 7}`);
    const length = varint();
    fields.push({ field: key >> 3, bytes: bytes.subarray(offset, offset += length) });
  }
  return fields;
}

/** How many rows of each file end how. A capture that grows changes these numbers knowingly. */
const counts: Readonly<Record<string, Partial<Record<Outcome, number>>>> = {
  api: { "same bytes": 53, "canonical bytes": 4, "refused": 12 },
  dispatch: { "same bytes": 10, "canonical bytes": 7, "refused": 12 },
  progress: { "same bytes": 23, "refused": 3 },
  health: { "same bytes": 4, "canonical bytes": 7, "refused": 5 },
  gossip: { "same bytes": 5, "canonical bytes": 8, "refused": 2, "gossip rpc": 5 },
  streams: { "same bytes": 7, "canonical bytes": 1, "refused": 3, "raw file": 2, "more to come": 1 },
};

const test = suite("captures");
for (const file of ["api", "dispatch", "progress", "health", "gossip", "streams"]) {
  rowsOf(file).forEach((row, i) => {
    test(`${file} ${i}: ${row.name} (${row.from}, ${row.kind}): ${expectedOutcome(file, row)}`, () => check(file, row));
  });
  test(`${file}: every row is counted`, () => {
    assert.equal(Object.fromEntries(tally.get(file) ?? []), counts[file]);
  });
}
test.run();
