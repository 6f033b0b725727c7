import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  decodeRecordRequest,
  decodeRecordResponse,
  encodeRecordRequest,
  encodeRecordResponse,
  recordAnswerMaxBytes,
  recordKeyMaxBytes,
  recordRequestMaxBytes,
  recordValueMaxBytes,
} from "../../../transport/protocols/record_message.ts";

const test = suite("record messages");
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("request and answers have these bytes (docs/wire.md)", () => {
  const value = new TextEncoder().encode('{"num_slices":3}');
  const rows: [string, Uint8Array, string][] = [
    ["a key", encodeRecordRequest({ key: "digits" }), "a1636b657966646967697473"],
    ["a record", encodeRecordResponse({ value }), "a16576616c7565507b226e756d5f736c69636573223a337d"],
    ["no record", encodeRecordResponse({ value: null }), "a16576616c7565f6"],
  ];
  for (const [name, bytes, expected] of rows) assert.is(hex(bytes), expected, name);
  assert.equal(Result.getOrThrow(decodeRecordRequest(encodeRecordRequest({ key: "digits" }))), { key: "digits" });
  for (const each of [value, null]) {
    assert.equal(Result.getOrThrow(decodeRecordResponse(encodeRecordResponse({ value: each }))), { value: each });
  }
});

test("the largest key and value fit, one byte more does not", () => {
  const key = (size: number) => decodeRecordRequest(encodeRecordRequest({ key: "k".repeat(size) }));
  assert.ok(Result.isSuccess(key(recordKeyMaxBytes)));
  assert.ok(Result.isFailure(key(recordKeyMaxBytes + 1)));
  assert.ok(
    Result.isSuccess(decodeRecordResponse(encodeRecordResponse({ value: new Uint8Array(recordValueMaxBytes) }))),
  );
  const padded = (message: Uint8Array, size: number) => Buffer.concat([message, new Uint8Array(size - message.length)]);
  for (
    const [decode, message, max] of [
      [decodeRecordRequest, encodeRecordRequest({ key: "k" }), recordRequestMaxBytes],
      [decodeRecordResponse, encodeRecordResponse({ value: null }), recordAnswerMaxBytes],
    ] as const
  ) {
    assert.ok(Result.isSuccess(decode(padded(message, max)) as Result.Result<unknown, unknown>));
    assert.ok(Result.isFailure(decode(padded(message, max + 1)) as Result.Result<unknown, unknown>));
  }
});

test("what is no such message is refused", () => {
  for (const bytes of ["", "f6", "a0", "a1636b657901", "a1636b6579"]) {
    assert.ok(Result.isFailure(decodeRecordRequest(Buffer.from(bytes, "hex"))), bytes);
  }
  for (const bytes of ["", "f6", "a16576616c756501", "a16576616c756561"]) {
    assert.ok(Result.isFailure(decodeRecordResponse(Buffer.from(bytes, "hex"))), bytes);
  }
});

test.run();
