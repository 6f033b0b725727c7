import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeDer, type DerCursor, derDepthMax, oidOctetsMax, tags } from "../../pki/der.ts";
import { readTime } from "../../pki/time.ts";

const test = suite("decodeDer()");

const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
const octets = (cursor: DerCursor) => {
  cursor.read(tags.octetString, "value");
  return cursor.content.length;
};
const bool = (cursor: DerCursor) => cursor.boolean("value");
const small = (cursor: DerCursor) => cursor.small("value");
const oid = (cursor: DerCursor) => cursor.oid("value");
const bits = (cursor: DerCursor) => cursor.octetBits("value").length;
const when = (cursor: DerCursor) => readTime(cursor, "value").toISOString();
const text = (tag: string, value: string) =>
  `${tag} ${value.length.toString(16).padStart(2, "0")} ${Buffer.from(value).toString("hex")}`;

const rows: [name: string, bytes: string, decode: (cursor: DerCursor) => unknown, expected: unknown][] = [
  ["takes a short length", "04 01 aa", octets, 1],
  ["refuses content that is cut off", "04 02 aa", octets, "longer than what surrounds it"],
  ["refuses a header that is cut off", "04", octets, "cut off"],
  ["refuses nothing at all", "", octets, "missing"],
  ["refuses bytes behind the value", "04 01 aa 00", octets, "1 bytes after the end"],
  ["refuses another tag", "05 00", octets, "has tag 0x05, not 0x04"],
  ["says a tag in hexadecimal", "bf 00", octets, "has tag 0xbf, not 0x04"],
  ["refuses an indefinite length", "04 80 00 00", octets, "indefinite"],
  ["takes the first long length", `04 81 80 ${"00".repeat(128)}`, octets, 128],
  ["refuses a long form for a short length", `04 81 7f ${"00".repeat(127)}`, octets, "not minimal"],
  ["refuses a length with a leading zero", `04 82 00 80 ${"00".repeat(128)}`, octets, "not minimal"],
  ["takes a length of two octets", `04 82 01 00 ${"00".repeat(256)}`, octets, 256],
  ["refuses a length of five octets", "04 85 01 00 00 00 00", octets, "does not fit"],
  ["refuses a tag of two octets", "1f 81 00", (cursor) => cursor.readAny("value"), "multi-byte tag"],
  ["takes TRUE", "01 01 ff", bool, true],
  ["takes FALSE", "01 01 00", bool, false],
  ["refuses a boolean of BER", "01 01 01", bool, "not a DER boolean"],
  ["refuses a boolean of two octets", "01 02 ff ff", bool, "not a DER boolean"],
  ["takes zero", "02 01 00", small, 0],
  ["takes 2^31-1", "02 04 7f ff ff ff", small, 0x7fffffff],
  ["refuses 2^31", "02 05 00 80 00 00 00", small, "larger than 2^31-1"],
  ["refuses a negative integer", "02 01 80", small, "negative"],
  ["refuses an integer with a superfluous zero", "02 02 00 7f", small, "not minimal"],
  ["refuses an empty integer", "02 00", small, "empty"],
  ["takes an object identifier", "06 03 2b 65 70", oid, "1.3.101.112"],
  ["takes one of the second arc above 39", "06 03 88 37 03", oid, "2.999.3"],
  ["takes an arc over 2^64", "06 0b 2b 83 ff ff ff ff ff ff ff ff 7f", oid, `1.3.${(4n << 63n) - 1n}`],
  ["refuses an arc with leading zeros", "06 03 2b 80 01", oid, "not an object identifier"],
  ["refuses an arc that does not end", "06 02 2b 81", oid, "not an object identifier"],
  ["takes the longest identifier", `06 40 ${"01".repeat(oidOctetsMax)}`, oid, `0.1${".1".repeat(oidOctetsMax - 1)}`],
  ["refuses a longer one", `06 41 ${"01".repeat(oidOctetsMax + 1)}`, oid, "not an object identifier"],
  ["takes whole octets", "03 02 00 aa", bits, 1],
  ["refuses unused bits", "03 02 01 aa", bits, "not a whole number of octets"],
  ["refuses a bit string without its first octet", "03 00", bits, "not a whole number of octets"],
  ["takes the last UTCTime", text("17", "491231235959Z"), when, "2049-12-31T23:59:59.000Z"],
  ["takes a UTCTime of the last century", text("17", "500101000000Z"), when, "1950-01-01T00:00:00.000Z"],
  ["takes the first GeneralizedTime", text("18", "20500101000000Z"), when, "2050-01-01T00:00:00.000Z"],
  ["refuses a GeneralizedTime before it", text("18", "20491231235959Z"), when, "must be a UTCTime"],
  ["refuses a time without seconds", text("17", "4912312359Z"), when, "with seconds"],
  ["refuses a time with an offset", text("17", "491231235959+0100"), when, "in GMT"],
  ["refuses a time with a digit in place of its Z", text("17", "4912312359590"), when, "in GMT"],
  ["refuses fractions of a second", text("18", "20500101000000.5Z"), when, "with seconds"],
  ["takes 29 February of a leap year", text("17", "280229000000Z"), when, "2028-02-29T00:00:00.000Z"],
  ["refuses 29 February of another", text("17", "270229000000Z"), when, "not a date of the calendar"],
  ["refuses hour 24", text("17", "270228240000Z"), when, "not a date of the calendar"],
];

for (const [name, bytes, decode, expected] of rows) {
  test(name, () => {
    const outcome = decodeDer(hex(bytes), decode);
    if (Result.isSuccess(outcome)) assert.is(outcome.success, expected);
    else assert.ok(typeof expected === "string" && outcome.failure.detail.includes(expected), outcome.failure.detail);
  });
}

test("stops at the depth limit, not before", () => {
  const nested = (depth: number) => {
    let der: number[] = [];
    for (let level = 0; level < depth; level++) der = [0x30, der.length, ...der];
    return new Uint8Array(der);
  };
  const descend = (cursor: DerCursor): number => cursor.done ? 0 : 1 + descend(cursor.enter(tags.sequence, "value"));
  assert.is(Result.getOrThrow(decodeDer(nested(derDepthMax), descend)), derDepthMax);
  const deeper = decodeDer(nested(derDepthMax + 1), descend);
  assert.ok(Result.isFailure(deeper) && deeper.failure.detail.includes("nested"));
});

test("lets a programmer's mistake through as it is", () => {
  assert.throws(() =>
    decodeDer(hex("0500"), () => {
      throw new TypeError("mistake");
    }), /mistake/);
});

test.run();
