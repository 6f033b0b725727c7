import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeDer, type DerCursor } from "../../pki/der.ts";
import {
  readDistributionPoints,
  readGeneralNames,
  readNameConstraints,
  readOneName,
  readReasonFlags,
} from "../../pki/general_name.ts";
import { constructed, derNull, derValue, oid, primitive, sequence } from "../../pki/issue/der_writer.ts";
import { encodeCommonName } from "../support/forge.ts";

/** What was read, or why it was refused. */
function read<A>(der: Uint8Array, decode: (cursor: DerCursor) => A): A | string {
  const outcome = decodeDer(der, decode);
  return Result.isSuccess(outcome) ? outcome.success : outcome.failure.detail;
}
const has = (said: unknown, words: string) => assert.ok(String(said).includes(words), String(said));

const names = suite("readGeneralNames()");
const text = (value: string) => Buffer.from(value, "latin1");
const directory = constructed(4, encodeCommonName("worker-1"));
const other = constructed(0, oid("1.3.6.1.4.1.311.20.2.3"), constructed(0, derNull));
const shown = (...general: Uint8Array[]) => {
  const outcome = read(sequence(...general), readGeneralNames);
  return typeof outcome === "string" ? outcome : outcome.map(({ type, value }) => `${type} ${value}`).join(", ");
};

const kinds: [name: Uint8Array, expected: string][] = [
  [primitive(1, text("ops@acme.example")), "email ops@acme.example"],
  [primitive(2, text("worker-1.example")), "dns worker-1.example"],
  [primitive(6, text("spiffe://acme/worker/1")), "uri spiffe://acme/worker/1"],
  [primitive(7, Uint8Array.of(192, 0, 2, 1)), "ip 192.0.2.1"],
  [primitive(8, oid("1.2.3").subarray(2)), "other [8]"],
  [directory, "directory CN=worker-1"],
  [other, "other [0]"],
  [constructed(3, derNull), "other [3]"],
  [constructed(5, constructed(1, derNull)), "other [5]"],
  [constructed(5, constructed(0, derNull), constructed(1, derNull)), "other [5]"],
];
for (const [name, expected] of kinds) names(`reads ${expected}`, () => assert.is(shown(name), expected));

names("reads several, in their order", () => {
  assert.is(
    shown(directory, primitive(2, text("b")), primitive(1, text("a@b"))),
    "directory CN=worker-1, dns b, email a@b",
  );
});

names("refuses kinds that there are none of, and other names without a type or a value", () => {
  has(shown(primitive(0, text("a"))), "unknown type");
  has(shown(primitive(3, text("a"))), "unknown type");
  has(shown(derNull), "unknown type");
  has(shown(constructed(0, constructed(0, derNull))), "otherName's type");
  has(shown(constructed(0, oid("1.2.3"))), "the name's value is missing");
  has(shown(constructed(0, oid("1.2.3"), constructed(0, derNull), derNull)), "after the end");
});

/** RFC 5952 §4, and §4.2.2: a single zero group is written out. */
const addresses: [groups: string, expected: string][] = [
  ["20010db8000000000000000000000001", "2001:db8::1"],
  ["00000000000000000000000000000000", "::"],
  ["00000000000000000000000000000001", "::1"],
  ["00010000000000000000000000000000", "1::"],
  ["20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
  ["20010db8000000000001000000000001", "2001:db8::1:0:0:1"],
  ["20010db8000000000001000000000000", "2001:db8:0:0:1::"],
  ["fedcba98765432100123456789abcdef", "fedc:ba98:7654:3210:123:4567:89ab:cdef"],
];
for (const [groups, expected] of addresses) {
  names(`writes the address ${expected}`, () => {
    assert.is(shown(primitive(7, Buffer.from(groups, "hex"))), `ip ${expected}`);
  });
}
names.run();

const one = suite("readOneName()");
one("steps over one name of any kind, and refuses what is none", () => {
  for (const [name] of kinds) assert.is(read(name, readOneName), undefined);
  has(read(derNull, readOneName), "unknown type");
  has(read(primitive(2, text("a\0b")), readOneName), "unprintable");
  has(read(new Uint8Array(0), readOneName), "cut off");
});
one.run();

const flags = suite("readReasonFlags()");
const bits = (...content: number[]) =>
  read(primitive(1, Uint8Array.from(content)), (cursor) => readReasonFlags(cursor, 0x81));
const reasons: [content: number[], expected: number | string][] = [
  [[7, 0x80], 0b1],
  [[6, 0x40], 0b10],
  [[0, 0xff], 0xff],
  [[7, 0x00, 0x80], 0b1_0000_0000],
  [[0, 0x01, 0x80], 0b1_1000_0000],
  [[1, 0x60], 0b110],
  [[], "not a short bit string"],
  [[0], "not a short bit string"],
  [[0, 0x80, 0, 0], "not a short bit string"],
  [[8, 0x80, 0x80], "not a short bit string"],
  [[0, 0], "reasons are empty"],
  [[1, 0x01], "reasons are empty"],
];
for (const [content, expected] of reasons) {
  flags(`reads ${Buffer.from(content).toString("hex") || "nothing"} as ${expected}`, () => {
    if (typeof expected === "number") assert.is(bits(...content), expected);
    else has(bits(...content), expected);
  });
}
flags.run();

const points = suite("readDistributionPoints()");
const uri = primitive(6, text("http://a.example/crl"));
const place = constructed(0, constructed(0, uri));
const relative = constructed(0, constructed(1, sequence(oid("2.5.4.3"), derValue(0x0c, [text("a")]))));
const issuer = constructed(2, directory);
const pointNames = (...list: Uint8Array[]) => read(sequence(...list), readDistributionPoints);
const uriHex = Buffer.from(uri).toString("hex");

points("gives the names of those whose lists the issuer itself makes", () => {
  assert.equal(pointNames(sequence(place)), [uriHex]);
  assert.equal(pointNames(sequence(place), sequence(place)), [uriHex, uriHex]);
  assert.equal(pointNames(sequence(place, primitive(1, Uint8Array.of(7, 0x80)))), [uriHex]);
  assert.equal(pointNames(sequence(place, issuer), sequence(place)), [uriHex]);
  assert.equal(pointNames(sequence(place, primitive(1, Uint8Array.of(7, 0x80)), issuer)), []);
  assert.equal(pointNames(sequence(relative)), []);
  assert.equal(pointNames(sequence(issuer)), []);
});

points("refuses what is none", () => {
  has(pointNames(), "are empty");
  has(pointNames(sequence(constructed(0, constructed(0)))), "has no name");
  has(pointNames(sequence(place, primitive(1, Uint8Array.of(0, 0)))), "reasons are empty");
  has(pointNames(sequence(issuer, place)), "after the end");
});
points.run();

const constraints = suite("readNameConstraints()");
const dns = sequence(primitive(2, text("a.example")));
const subtrees = (...parts: Uint8Array[]) => {
  const outcome = read(sequence(...parts), readNameConstraints);
  if (typeof outcome === "string") return outcome;
  const list = (names: typeof outcome.permitted) => names.map(({ type, value }) => `${type} ${value}`).join(", ");
  return `${list(outcome.permitted)} but ${list(outcome.excluded)}`;
};
constraints("reads one subtree or several, permitted, excluded or both", () => {
  assert.is(subtrees(constructed(0, dns)), "dns a.example but ");
  assert.is(subtrees(constructed(1, dns)), " but dns a.example");
  assert.is(
    subtrees(constructed(0, dns, sequence(directory)), constructed(1, dns)),
    "dns a.example, directory CN=worker-1 but dns a.example",
  );
  const network = sequence(primitive(7, Uint8Array.of(10, 0, 0, 0, 255, 128, 0, 0)));
  assert.is(subtrees(constructed(0, network)), "ip 10.0.0.0/9 but ");
});
constraints("refuses none at all, and lists without one", () => {
  has(subtrees(), "nameConstraints are empty");
  has(subtrees(constructed(0)), "subtrees are empty");
  has(subtrees(constructed(1, dns), constructed(0, dns)), "after the end");
});
constraints.run();
