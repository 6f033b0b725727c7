import { Buffer } from "node:buffer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { derValue, integer, namedBits, oid, time } from "../../../pki/issue/der_writer.ts";

const test = suite("DER writer");
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("writes lengths in their shortest form", () => {
  const header = (size: number) => hex(derValue(0x04, [new Uint8Array(size)]).subarray(0, 5));
  assert.is(header(0), "0400");
  assert.is(header(127).slice(0, 4), "047f");
  assert.is(header(128).slice(0, 6), "048180");
  assert.is(header(255).slice(0, 6), "0481ff");
  assert.is(header(256).slice(0, 8), "04820100");
  assert.is(header(65_536).slice(0, 10), "0483010000");
});

const integers: [name: string, value: number | bigint | Uint8Array, expected: string][] = [
  ["zero", 0, "020100"],
  ["127", 127, "02017f"],
  ["128 with a leading zero", 128, "02020080"],
  ["256", 256, "02020100"],
  ["more than 64 bits", 2n ** 64n, "0209010000000000000000"],
  ["octets without needless zeros", Uint8Array.of(0, 0, 0x7f), "02017f"],
  ["octets with the zero that keeps them positive", Uint8Array.of(0xff), "020200ff"],
  ["octets that are all zero", Uint8Array.of(0, 0), "020100"],
];
for (const [name, value, expected] of integers) {
  test(`writes integers: ${name}`, () => assert.is(hex(integer(value)), expected));
}

test("refuses a negative integer", () => assert.throws(() => integer(-1), RangeError));

test("writes object identifiers", () => {
  assert.is(hex(oid("1.3.101.112")), "06032b6570");
  assert.is(hex(oid("2.5.29.35")), "0603551d23");
  assert.is(hex(oid("1.2.840.113549.1.1.11")), "06092a864886f70d01010b");
  assert.is(hex(oid("2.999.3")), "0603883703");
});

test("writes named bits without trailing zeros", () => {
  assert.is(hex(namedBits([0])), "03020780");
  assert.is(hex(namedBits([0, 4])), "03020388");
  assert.is(hex(namedBits([5, 6])), "03020106");
  assert.is(hex(namedBits([7])), "03020001");
  assert.is(hex(namedBits([8])), "0303070080");
  assert.is(hex(namedBits([])), "030100");
});

test("writes UTCTime through 2049 and GeneralizedTime from 2050", () => {
  const text = (at: string) => Buffer.from(time(new Date(at)).subarray(2)).toString("latin1");
  assert.is(text("2049-12-31T23:59:59.999Z"), "491231235959Z");
  assert.is(text("2050-01-01T00:00:00Z"), "20500101000000Z");
  assert.is(time(new Date("2049-12-31T23:59:59Z"))[0], 0x17);
  assert.is(time(new Date("2050-01-01T00:00:00Z"))[0], 0x18);
  assert.is(text("1950-01-01T00:00:00Z"), "500101000000Z");
  assert.is(text("9999-12-31T23:59:59Z"), "99991231235959Z");
});

test("refuses times that no certificate can hold", () => {
  assert.throws(() => time(new Date("1949-12-31T23:59:59Z")), RangeError);
  assert.throws(() => time(new Date(Number.NaN)), RangeError);
});

test.run();
