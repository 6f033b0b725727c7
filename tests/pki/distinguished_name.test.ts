import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeDer, tags } from "../../pki/der.ts";
import { readName } from "../../pki/distinguished_name.ts";
import { derValue, oid, sequence, setOfOne } from "../../pki/issue/der_writer.ts";

const test = suite("readName()");

const attribute = (type: string, tag: number, value: Uint8Array) => sequence(oid(type), derValue(tag, [value]));
const read = (...relative: Uint8Array[]) => {
  const outcome = decodeDer(sequence(...relative), (cursor) => readName(cursor, "subject"));
  return Result.isSuccess(outcome) ? outcome.success : outcome.failure.detail;
};
const textOf = (tag: number, value: Uint8Array) => {
  const name = read(setOfOne(attribute("2.5.4.10", tag, value)));
  return typeof name === "string" ? name : name.text;
};
const latin1 = (text: string) => Buffer.from(text, "latin1");
const octets = (hex: string) => Buffer.from(hex, "hex");

const values: [what: string, tag: number, value: Uint8Array, expected: string][] = [
  ["a UTF8String", tags.utf8String, Buffer.from("Bö"), "O=Bö"],
  ["a UTF8String that is none", tags.utf8String, octets("ff"), "not UTF-8"],
  ["a PrintableString", tags.printableString, latin1("Acme"), "O=Acme"],
  ["an IA5String", tags.ia5String, latin1("a@b"), "O=a@b"],
  ["a NumericString", tags.numericString, latin1("12"), "O=12"],
  ["a PrintableString with the last octet of ASCII", tags.printableString, octets("7e"), "O=~"],
  ["a PrintableString outside of ASCII", tags.printableString, octets("80"), "outside of ASCII"],
  ["a TeletexString", tags.teletexString, latin1("Bö"), "O=Bö"],
  ["a BMPString", tags.bmpString, octets("004200f6"), "O=Bö"],
  ["the last character before the surrogates", tags.bmpString, octets("d7ff"), "O=\ud7ff"],
  ["the first character behind them", tags.bmpString, octets("e000"), "O=\ue000"],
  ["the first half of a pair", tags.bmpString, octets("d800"), "no character"],
  ["the last half of a pair", tags.bmpString, octets("dfff"), "no character"],
  ["a BMPString that is cut off", tags.bmpString, octets("004200"), "no character"],
  ["a UniversalString", tags.universalString, octets("0001f600"), "O=\u{1f600}"],
  ["Unicode's last character", tags.universalString, octets("0010ffff"), "O=\u{10ffff}"],
  ["a character beyond it", tags.universalString, octets("00110000"), "no character"],
  ["a BIT STRING", tags.bitString, octets("0040"), "O=#03020040"],
  ["a BIT STRING of one bit", tags.bitString, octets("0780"), "O=#03020780"],
  ["a BIT STRING without a bit", tags.bitString, octets("00"), "O=#030100"],
  ["unused bits of a BIT STRING without a bit", tags.bitString, octets("01"), "unused bits is wrong"],
  ["eight unused bits", tags.bitString, octets("0800"), "unused bits is wrong"],
  ["an unused bit that is set", tags.bitString, octets("0101"), "unused bits is wrong"],
  ["a BIT STRING without its first octet", tags.bitString, octets(""), "unused bits is wrong"],
  ["a SEQUENCE", tags.sequence, octets(""), "O=#3000"],
  ["an INTEGER", tags.integer, octets("01"), "neither a string nor a structure"],
];
for (const [what, tag, value, expected] of values) {
  test(`${what}: ${JSON.stringify(expected)}`, () => {
    const text = textOf(tag, value);
    if (expected.startsWith("O=")) assert.is(text, expected);
    else assert.ok(text.includes(expected), text);
  });
}

test("names a type by its number where it has no short name, and joins the parts", () => {
  const utf8 = (type: string, text: string) => attribute(type, tags.utf8String, Buffer.from(text));
  const name = read(
    setOfOne(utf8("1.2.3.4", "x")),
    derValue(0x31, [utf8("2.5.4.3", "a"), utf8("2.5.4.11", "b")]),
    setOfOne(utf8("2.5.4.3", "second")),
  );
  assert.is(typeof name !== "string" && name.text, "1.2.3.4=x, CN=a+OU=b, CN=second");
  assert.is(typeof name !== "string" && name.commonName, "a");
});

test("gives no common name where there is none, or none of characters", () => {
  for (
    const only of [
      attribute("2.5.4.10", tags.utf8String, latin1("a")),
      attribute("2.5.4.3", tags.bitString, octets("00")),
    ]
  ) {
    const name = read(setOfOne(only));
    assert.is(typeof name === "string" ? name : name.commonName, undefined);
  }
});

test("escapes a common name's control characters", () => {
  const name = read(setOfOne(attribute("2.5.4.3", tags.utf8String, latin1("a\n"))));
  assert.is(typeof name !== "string" && name.commonName, "a\\u{a}");
});

test.run();
