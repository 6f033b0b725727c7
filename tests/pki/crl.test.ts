import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { compareAge, crlBytesMax, findRevocation, isSignedBy, parseCrl, sealList, verifierOf } from "../../pki/crl.ts";
import {
  constructed,
  derNull,
  enumerated,
  integer,
  primitive,
  sequence,
  utf8String,
} from "../../pki/issue/der_writer.ts";
import { at, forge, forgeList, type ForgeListOptions, later } from "../support/forge.ts";

const test = suite("parseCrl()");

const ca = forge("ca", { ca: true });
const parse = (options: ForgeListOptions = {}) => Result.getOrThrow(parseCrl(forgeList(ca, options)));
const extension = (oid: string, critical: boolean, value = derNull) => ({ oid, critical, value });
const scope = (...parts: Uint8Array[]) => extension("2.5.29.28", true, sequence(...parts));
const flag = (number: number, value = 0xff) => primitive(number, Uint8Array.of(value));
const point = (uri: string) => constructed(0, constructed(0, primitive(6, Buffer.from(uri))));

test("reads an empty list", () => {
  const list = parse({ number: 7n });
  assert.is(list.issuer.text, "CN=ca");
  assert.equal([list.number, list.entryCount], ["7", 0]);
  assert.equal([list.thisUpdate, list.nextUpdate], [later(-1), later(30)]);
  assert.is(findRevocation(list, "01"), undefined);
});

test("refuses more bytes than a list may have, before it looks at one", () => {
  const detail = (size: number) => {
    const outcome = parseCrl(new Uint8Array(size));
    return Result.isFailure(outcome) ? outcome.failure.detail : "parsed";
  };
  assert.match(detail(crlBytesMax + 1), "more than 134217728 bytes");
  assert.not.match(detail(crlBytesMax), "more than");
});

test("orders two lists by date where either has no number", () => {
  const [numbered, bare] = [parse({ number: 9n, thisUpdate: later(-3) }), parse({ omitNumber: true })];
  assert.ok(compareAge(bare, numbered) > 0 && compareAge(numbered, bare) < 0);
  assert.is(compareAge(bare, bare), 0);
});

test("finds what is on the list, and only that", () => {
  const list = parse({ revoked: ["01", { serial: "7fff", reason: 1 }, { serial: "00ab", reason: 6 }] });
  assert.is(list.entryCount, 3);
  assert.equal(findRevocation(list, "01"), { revokedAt: later(-1), reason: "unspecified" });
  assert.equal(findRevocation(list, "7fff"), { revokedAt: later(-1), reason: "keyCompromise" });
  assert.is(findRevocation(list, "00ab")?.reason, "certificateHold");
  for (const serial of ["02", "0001", "7ff", "7fff00", "ff", "ab", ""]) {
    assert.is(findRevocation(list, serial), undefined);
  }
});

test("finds each of 20,000 entries, and none of 20,000 others", () => {
  const serial = (index: number) => `40${(index * 2_654_435_761 % 2 ** 32).toString(16).padStart(8, "0")}`;
  const revoked = Array.from({ length: 20_000 }, (_, index) => serial(index));
  const list = parse({ revoked });
  assert.is(list.entryCount, 20_000);
  const { serials, dates, reasons, buckets } = list.index;
  assert.equal([serials.length, dates.length, reasons.length], [5 * 20_000, 20_000, 0]);
  assert.ok(buckets.length <= 20_000 / 2);
  for (const one of revoked) assert.ok(findRevocation(list, one));
  for (let index = 20_000; index < 40_000; index++) assert.is(findRevocation(list, serial(index)), undefined);
});

test("is kept without its bytes once its CA vouched for it, and still knows who that was", () => {
  const own = Result.getOrThrow(parseCertificate(ca.der));
  const other = Result.getOrThrow(parseCertificate(forge("ca", { ca: true }).der));
  const list = parse({ revoked: ["1234"] });
  assert.is(sealList(list, other), list);
  const sealed = sealList(list, own);
  assert.equal([sealed.tbs, sealed.signature, "entries" in sealed], [undefined, undefined, false]);
  assert.ok(isSignedBy(sealed, own) && verifierOf(sealed) !== undefined);
  assert.not.ok(isSignedBy(sealed, other));
  assert.ok(findRevocation(sealed, "1234"));
});

test("lies in shared memory where that is asked for", () => {
  const list = Result.getOrThrow(parseCrl(forgeList(ca, { revoked: ["1234"] }), { shared: true }));
  assert.ok(list.index.serials.buffer instanceof SharedArrayBuffer);
  assert.ok(findRevocation(list, "1234"));
});

test("survives structured cloning with its index", () => {
  const list = structuredClone(parse({ revoked: ["1234"] }));
  assert.ok(findRevocation(list, "1234"));
});

test("orders lists by number, then by date", () => {
  assert.ok(compareAge(parse({ number: 10n }), parse({ number: 9n })) > 0);
  assert.ok(compareAge(parse({ number: 2n ** 80n }), parse({ number: 2n ** 80n + 1n })) < 0);
  assert.ok(compareAge(parse({ thisUpdate: at }), parse({ thisUpdate: later(-1) })) > 0);
});

test("verifies under its issuer's key and no other", () => {
  const list = parse();
  const certificate = (der: Uint8Array) => Result.getOrThrow(parseCertificate(der));
  const [own, other] = [certificate(ca.der), certificate(forge("ca", { ca: true }).der)];
  for (let again = 0; again < 2; again++) {
    assert.ok(isSignedBy(list, own));
    assert.not.ok(isSignedBy(list, other));
  }
});

const refused: [name: string, options: ForgeListOptions, problem: string | undefined][] = [
  ["version 1", { version: 0 }, "version is not 2"],
  ["no CRL number, and no extension at all", { omitNumber: true }, undefined],
  ["no CRL number among other extensions", { omitNumber: true, add: [extension("1.2.3", false)] }, undefined],
  ["a critical CRL number", { omitNumber: true, add: [extension("2.5.29.20", true, integer(1))] }, "not be critical"],
  ["a next update before this update", { thisUpdate: at, nextUpdate: later(-1) }, "before thisUpdate"],
  ["a critical extension that is not known", { add: [extension("1.2.3", true)] }, "critical extension 1.2.3"],
  ["the same, not critical", { add: [extension("1.2.3", false)] }, undefined],
  ["a scope of nothing", { add: [scope()] }, "is empty"],
  ["a scope that is not critical", { add: [extension("2.5.29.28", false, sequence(flag(1)))] }, "must be critical"],
  ["a list of users only", { add: [scope(flag(1))] }, undefined],
  ["a list of CAs only", { add: [scope(flag(2))] }, undefined],
  ["a list of both only", { add: [scope(flag(1), flag(2))] }, "at once"],
  ["a flag that is a default", { add: [scope(flag(1, 0))] }, "not a DER TRUE"],
  ["a list of some reasons", { add: [scope(Uint8Array.of(0x83, 2, 6, 0x40))] }, undefined],
  ["an indirect list", { add: [scope(flag(4))] }, "indirect list"],
  ["a list of attribute certificates", { add: [scope(flag(5))] }, "attribute certificates"],
  ["a list of one distribution point", { add: [scope(point("http://a.example/1"))] }, undefined],
  [
    "a point named relative to the issuer",
    { add: [scope(constructed(0, constructed(1, utf8String("x"))))] },
    "relative",
  ],
  ["a delta list", { number: 2n, add: [extension("2.5.29.27", true, integer(1))] }, undefined],
  ["one that is not critical", { number: 2n, add: [extension("2.5.29.27", false, integer(1))] }, "must be critical"],
  ["a delta that is not newer than its base", { number: 1n, add: [extension("2.5.29.27", true, integer(1))] }, "above"],
  ["a delta without a number", { omitNumber: true, add: [extension("2.5.29.27", true, integer(1))] }, "above"],
  ["removeFromCRL in a delta list", {
    number: 2n,
    add: [extension("2.5.29.27", true, integer(1))],
    revoked: [{ serial: "01", reason: 8 }],
  }, undefined],
  [
    "a critical extension of an entry",
    { revoked: [{ serial: "01", add: [extension("1.2.3", true)] }] },
    "critical entry extension 1.2.3",
  ],
  ["the same, not critical", { revoked: [{ serial: "01", add: [extension("1.2.3", false)] }] }, undefined],
  ["an entry of another issuer", { revoked: [{ serial: "01", add: [extension("2.5.29.29", true)] }] }, "indirect"],
  ["removeFromCRL in a complete list", { revoked: [{ serial: "01", reason: 8 }] }, "removeFromCRL"],
  ["the last reason there is", { revoked: [{ serial: "01", reason: 10 }] }, undefined],
  ["a reason that does not exist", { revoked: [{ serial: "01", reason: 11 }] }, "reason 11"],
  ["reason 7, which is not used", { revoked: [{ serial: "01", reason: 7 }] }, "reason 7"],
  [
    "a reason that is no enumeration",
    { revoked: [{ serial: "01", add: [extension("2.5.29.21", false, Uint8Array.of(2, 1, 1))] }] },
    "reasonCode",
  ],
  [
    "two reasons",
    { revoked: [{ serial: "01", reason: 1, add: [extension("2.5.29.21", false, enumerated(2))] }] },
    "twice",
  ],
  ["a serial of 20 octets", { revoked: ["7f".repeat(20)] }, undefined],
  ["a serial of 21 octets", { revoked: ["7f".repeat(21)] }, "at most 20 octets"],
];

for (const [name, options, problem] of refused) {
  test(`${problem === undefined ? "takes" : "refuses"} ${name}`, () => {
    const outcome = parseCrl(forgeList(ca, options));
    if (problem === undefined) return void assert.ok(Result.isSuccess(outcome), String(outcome));
    assert.ok(Result.isFailure(outcome), "it was accepted");
    assert.is(outcome.failure.code, "crl-malformed");
    assert.ok(outcome.failure.detail.includes(problem), outcome.failure.detail);
  });
}

test("refuses a revocation date that is none, and every prefix of a list", () => {
  const der = Buffer.from(forgeList(ca, { revoked: ["7a7b7c"] }));
  assert.ok(Result.isSuccess(parseCrl(der)));
  const date = der.indexOf(Buffer.from("7a7b7c", "hex")) + 5;
  for (const wrong of ["261324120000Z", "261132120000Z", "261124240000Z", "26112412000xZ", "2611241200000"]) {
    const changed = Buffer.from(der);
    changed.write(wrong, date, "latin1");
    const outcome = parseCrl(changed);
    assert.ok(Result.isFailure(outcome) && outcome.failure.detail.includes("revocation date"), wrong);
  }
  for (let size = 0; size < der.length; size++) assert.ok(Result.isFailure(parseCrl(der.subarray(0, size))));
});

test.run();
