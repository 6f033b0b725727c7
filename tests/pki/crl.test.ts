import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import {
  arrangeCrls,
  compareAge,
  crlBytesMax,
  findRevocation,
  type HeldCrl,
  isSignedBy,
  parseCrl,
  refuseBareCrl,
  sealCrl,
  verifierOf,
} from "../../pki/crl.ts";
import {
  bitString,
  constructed,
  derNull,
  derValue,
  enumerated,
  integer,
  oid,
  primitive,
  sequence,
  time,
  utf8String,
} from "../../pki/issue/der_writer.ts";
import { encodeExtensions } from "../../pki/issue/extensions.ts";
import { findEntry, findRepeated } from "../../pki/serial_index.ts";
import { at, encodeCommonName, forge, forgeList, type ForgeListOptions, later } from "../support/forge.ts";

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

test("puts a delta onto a complete list of its issuer, key and scope that is not older than its base, and onto no other", () => {
  const base = (number: number) => extension("2.5.29.27", true, integer(number));
  const key = (id: number) => extension("2.5.29.35", false, Uint8Array.of(0x30, 3, 0x80, 1, id));
  const users = scope(flag(0x81));
  const other = (options: ForgeListOptions) =>
    Result.getOrThrow(parseCrl(forgeList(forge("other", { ca: true }), options)));
  const delta = (number: bigint, of: number, ...add: ReturnType<typeof extension>[]) =>
    parse({ number, add: [base(of), ...add] });
  const cases: [name: string, lists: HeldCrl[], merged: boolean][] = [
    ["its base", [parse({ number: 5n }), delta(6n, 5)], true],
    ["one between base and delta", [parse({ number: 6n }), delta(8n, 5)], true],
    ["one of the same key", [parse({ number: 5n, add: [key(1)] }), delta(6n, 5, key(1))], true],
    ["one of the same scope", [parse({ number: 5n, add: [users] }), delta(6n, 5, users)], true],
    ["one older than its base", [parse({ number: 4n }), delta(6n, 5)], false],
    ["one of its own number", [parse({ number: 6n }), delta(6n, 5)], false],
    ["one newer than itself", [parse({ number: 7n }), delta(6n, 5)], false],
    ["another issuer's", [other({ number: 5n }), delta(6n, 5)], false],
    ["another key's", [parse({ number: 5n, add: [key(1)] }), delta(6n, 5, key(2))], false],
    ["one of another scope", [parse({ number: 5n, add: [users] }), delta(6n, 5)], false],
    ["one without a number", [parse({ omitNumber: true }), delta(6n, 5)], false],
    ["another delta", [delta(6n, 5), delta(7n, 6)], false],
  ];
  for (const [name, lists, merged] of cases) {
    for (const given of [lists, lists.toReversed()]) {
      const arranged = arrangeCrls(given);
      assert.equal(
        [arranged.length, arranged.some((list) => list.delta !== undefined)],
        [merged ? 1 : 2, merged],
        name,
      );
    }
  }
});

test("says what profile rfc5280 misses in a list", () => {
  const key = extension("2.5.29.35", false, Uint8Array.of(0x30, 3, 0x80, 1, 7));
  const detail = (options: ForgeListOptions) => refuseBareCrl(parse(options))?.detail;
  assert.is(refuseBareCrl(parse({ add: [key] })), undefined);
  assert.match(detail({ omitNumber: true, add: [key] }) ?? "", "CRL number");
  assert.match(detail({}) ?? "", "authority key identifier");
});

const ed25519 = sequence(oid("1.3.101.112"));
/** A list of parts, proper or not. Its signature is none: parsing does not check it. */
function rawList(parts: {
  readonly version?: Uint8Array;
  readonly inner?: Uint8Array;
  readonly outer?: Uint8Array;
  readonly issuer?: Uint8Array;
  readonly times?: readonly Uint8Array[];
  readonly entries?: Uint8Array;
  readonly extensions?: readonly Uint8Array[];
  readonly behindFields?: Uint8Array;
  readonly behind?: Uint8Array;
}): Uint8Array {
  const { version = integer(1), inner = ed25519, outer = ed25519, issuer = encodeCommonName("ca") } = parts;
  const { times = [time(later(-1)), time(later(1))], entries, extensions, behindFields, behind } = parts;
  const some = (value: Uint8Array | undefined) => value === undefined ? [] : [value];
  const wrapped = extensions === undefined ? [] : [constructed(0, ...extensions)];
  const fields = sequence(version, inner, issuer, ...times, ...some(entries), ...wrapped, ...some(behindFields));
  return sequence(fields, outer, bitString(new Uint8Array(64)), ...some(behind));
}
const numberOf = (octets: number) => derValue(0x02, [Uint8Array.from({ length: octets }, () => 0x41)]);
const one = (id: string, critical: boolean, value: Uint8Array) => [encodeExtensions([{ oid: id, critical, value }])];
const keyOf7 = Uint8Array.of(0x30, 3, 0x80, 1, 7);
const shapes: [name: string, list: Parameters<typeof rawList>[0], detail: string | undefined][] = [
  ["a plain list", {}, undefined],
  ["a list of one moment", { times: [time(at), time(at)] }, undefined],
  ["a list until 2051", { times: [time(at), time(new Date("2051-01-01T00:00:00Z"))] }, undefined],
  ["a number of 20 octets", { extensions: one("2.5.29.20", false, numberOf(20)) }, undefined],
  ["a number of 21 octets", { extensions: one("2.5.29.20", false, numberOf(21)) }, "more than 20 octets"],
  ["a number with something behind it", {
    extensions: one("2.5.29.20", false, Buffer.concat([integer(1), derNull])),
  }, ""],
  ["a key identifier", { extensions: one("2.5.29.35", false, keyOf7) }, undefined],
  ["a critical key identifier", { extensions: one("2.5.29.35", true, keyOf7) }, "must not be critical"],
  ["where its deltas are", { extensions: one("2.5.29.46", false, sequence()) }, undefined],
  ["the same, critical", { extensions: one("2.5.29.46", true, sequence()) }, "must not be critical"],
  ["a key identifier with something behind it", {
    extensions: one("2.5.29.35", false, Buffer.concat([keyOf7, derNull])),
  }, ""],
  ["a scope with something behind it", {
    extensions: one("2.5.29.28", true, Buffer.concat([sequence(flag(0x81)), derNull])),
  }, ""],
  ["a scope with something in it that is none", {
    extensions: one("2.5.29.28", true, sequence(flag(0x81), flag(0x86))),
  }, ""],
  ["something behind the extensions", { extensions: [...one("2.5.29.20", false, integer(1)), derNull] }, ""],
  ["something behind the fields", { extensions: one("2.5.29.20", false, integer(1)), behindFields: derNull }, ""],
  ["something behind the signature", { behind: derNull }, ""],
  ["no version", { version: new Uint8Array() }, "version is not 2"],
  ["version 1", { version: integer(0) }, "version is not 2"],
  ["no issuer", { issuer: sequence() }, "issuer is empty"],
  ["no next update", { times: [time(at)] }, "nextUpdate is missing"],
  ["a next update before the update", { times: [time(at), time(later(-1))] }, "lies before"],
  ["an empty sequence of entries", { entries: sequence() }, "revokedCertificates are empty"],
  ["another algorithm outside", { outer: sequence(oid("1.3.101.113")) }, "differs between"],
  ["an algorithm that is none", { inner: sequence(derNull), outer: sequence(derNull) }, "algorithm is malformed"],
];
for (const [name, parts, detail] of shapes) {
  test(`${detail === undefined ? "reads" : "refuses"} ${name}`, () => {
    const outcome = parseCrl(rawList(parts));
    if (detail === undefined) assert.ok(Result.isSuccess(outcome), JSON.stringify(outcome));
    else {
      assert.ok(Result.isFailure(outcome));
      assert.match(outcome.failure.detail, detail);
    }
  });
}

test("refuses an entry whose serial is empty, negative, not minimal or longer than 20 octets", () => {
  const evaluated = (serial: string) => {
    const entries = sequence(sequence(derValue(0x02, [Buffer.from(serial, "hex")]), time(at)));
    return Result.isSuccess(parseCrl(rawList({ entries })));
  };
  for (const serial of ["00", "7f", "0080", "7f".repeat(20), `00${"80".repeat(19)}`]) {
    assert.ok(evaluated(serial), serial);
  }
  for (const serial of ["", "80", "ff00", "0001", "007f", "7f".repeat(21), `00${"80".repeat(20)}`]) {
    assert.not.ok(evaluated(serial), serial);
  }
});

test("reads an entry's date to the second, and refuses one that is not written as a time", () => {
  const dated = (tag: number, text: string, ...behind: Uint8Array[]) => {
    const entries = sequence(sequence(integer(5), derValue(tag, [Buffer.from(text)]), ...behind));
    return Result.getOrUndefined(Result.map(parseCrl(rawList({ entries })), (list) => findRevocation(list, "05")));
  };
  const good = "191009190959Z";
  assert.equal(dated(0x17, good), { revokedAt: new Date("2019-10-09T19:09:59Z"), reason: "unspecified" });
  assert.equal(dated(0x18, "20590909090909Z")?.revokedAt, new Date("2059-09-09T09:09:09Z"));
  for (let at = 0; at < good.length; at++) {
    for (const odd of ["/", ":", "A"]) assert.is(dated(0x17, good.slice(0, at) + odd + good.slice(at + 1)), undefined);
  }
  for (const text of ["1910091909Z", "191009190959+", "191009190959ZZ", "1191009190959Z", ""]) {
    assert.is(dated(0x17, text), undefined, text);
  }
  for (const text of ["2059090909090Z", "205909090909090Z", "20490909090909Z", "590909090909Z"]) {
    assert.is(dated(0x18, text), undefined, text);
  }
  for (const text of ["500101000000Z", "490101000000Z", "991231235959Z", "200131000000Z", "201201000000Z"]) {
    const year = Number(text.slice(0, 2));
    const full = `${year < 50 ? 20 : 19}${text.slice(0, 2)}`;
    const iso = `${full}-${text.slice(2, 4)}-${text.slice(4, 6)}T${text.slice(6, 8)}:${text.slice(8, 10)}:${
      text.slice(10, 12)
    }Z`;
    const at = new Date(Math.max(0, Date.parse(iso)));
    assert.equal(dated(0x17, text)?.revokedAt, at, text);
  }
  for (const range of ["200001000000", "201301000000", "200100000000", "200132000000", "200101240000"]) {
    assert.is(dated(0x17, `${range}Z`), undefined, range);
  }
  for (const range of ["200101006000", "200101000060"]) assert.is(dated(0x17, `${range}Z`), undefined, range);
  assert.equal(dated(0x18, "20500101000000Z")?.revokedAt, new Date("2050-01-01T00:00:00Z"));
  const invalidity = encodeExtensions([{
    oid: "2.5.29.24",
    critical: true,
    value: derValue(0x18, [Buffer.from("20200101000000Z")]),
  }]);
  assert.is(dated(0x17, good, invalidity)?.reason, "unspecified");
  const reason = (value: Uint8Array) => encodeExtensions([{ oid: "2.5.29.21", critical: false, value }]);
  assert.is(dated(0x17, good, reason(enumerated(1)))?.reason, "keyCompromise");
  assert.is(dated(0x17, good, reason(Buffer.concat([enumerated(1), derNull]))), undefined);
  assert.is(dated(0x17, good, reason(enumerated(1)), derNull), undefined);
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

test("finds serials whose first bit is set, in a table of many buckets", () => {
  const serial = (index: number) => `00${(0x80000000 + index * 7).toString(16)}`;
  const list = parse({ revoked: Array.from({ length: 2_000 }, (_, index) => serial(index)) });
  for (let index = 0; index < 2_000; index++) assert.ok(findRevocation(list, serial(index)), serial(index));
  for (let index = 2_000; index < 4_000; index++) assert.is(findRevocation(list, serial(index)), undefined);
});

test("finds the serial that is listed twice, in whichever bucket and place of it, and none where each is listed once", () => {
  const serial = (index: number) => `40${(index * 2_654_435_761 % 2 ** 32).toString(16).padStart(8, "0")}`;
  const repeated = (revoked: readonly string[]) => findRepeated(parse({ revoked }).index);
  assert.is(repeated([]), undefined);
  assert.is(repeated(["4d"]), undefined);
  assert.is(repeated(["4d", "4d"]), "4d");
  assert.is(repeated(["01", "4d", "4e"]), undefined);
  for (const more of [["01"], ["01", "02"]]) {
    for (const listed of [["4d", "4d", ...more], ["4d", ...more, "4d"], [...more, "4d", "4d"]]) {
      assert.is(repeated(listed), "4d", listed.join(" "));
    }
  }
  const serials = Array.from({ length: 60 }, (_, index) => serial(index));
  const once = parse({ revoked: serials }).index;
  assert.ok(once.buckets.length > 8);
  assert.is(findRepeated(once), undefined);
  for (const twice of serials) {
    const { index } = parse({ revoked: [...serials, twice] });
    assert.equal([findRepeated(index), findRepeated(index)], [twice, twice]);
  }
});

test("holds a date behind 2106 as the last one there is, and none before 1970", () => {
  const dated = (text: string) => {
    const { revokedAt } = findRevocation(parse({ revoked: [{ serial: "4d", date: new Date(text) }] }), "4d")!;
    return revokedAt.toISOString();
  };
  const last = "2106-02-07T06:28:15.000Z";
  assert.is(dated("2106-02-07T06:28:14Z"), "2106-02-07T06:28:14.000Z");
  for (const text of [last, "2106-02-07T06:28:16Z", "9999-12-31T23:59:59Z"]) assert.is(dated(text), last);
  assert.is(dated("1969-12-31T23:59:59Z"), "1970-01-01T00:00:00.000Z");
});

test("takes a serial as DER writes it, and no other spelling for it", () => {
  const found = (revoked: string[], ...serials: string[]) => {
    const list = parse({ revoked });
    return serials.map((serial) => findRevocation(list, serial) !== undefined);
  };
  assert.equal(found(["0080", "7f"], "0080", "80", "7f", "007f", "000080"), [true, false, true, false, false]);
  assert.equal(found(["00"], "0101", "00", "0180", "00", "0000", ""), [false, true, false, true, false, false]);
  assert.equal(found(["01", "02"], "0102", "0201", "01", "02"), [false, false, true, true]);
  assert.equal(found(["0102", "03"], "02", "01", "0003", "0102", "010203"), [false, false, false, true, false]);
  assert.equal(found(["01"], "01".repeat(64), "01".repeat(65), "01".repeat(100)), [false, false, false]);
});

test("of several entries of one serial, takes the one that revokes, wherever it stands", () => {
  const delta = { number: 9n, add: [extension("2.5.29.27", true, integer(8))] };
  const [back, revoked] = [{ serial: "4d", reason: 8 }, { serial: "4d", reason: 1 }];
  for (const entries of [[back, revoked], [revoked, back], [back, revoked, back]]) {
    assert.is(findRevocation(parse({ ...delta, revoked: entries }), "4d")?.reason, "keyCompromise");
  }
  assert.is(findRevocation(parse({ ...delta, revoked: [back] }), "4d"), undefined);
  const plain = parse({ revoked: ["4d"] });
  assert.is(findRevocation(plain, "4d")?.reason, "unspecified");
  assert.equal(findEntry(plain.index, "4d"), { seconds: later(-1).getTime() / 1_000, reason: 0 });
});

test("is kept without its bytes once its CA vouched for it, and still knows who that was", () => {
  const own = Result.getOrThrow(parseCertificate(ca.der));
  const other = Result.getOrThrow(parseCertificate(forge("ca", { ca: true }).der));
  const list = parse({ revoked: ["1234"] });
  assert.is(sealCrl(list, other), list);
  const sealed = sealCrl(list, own);
  assert.equal([sealed.tbs, sealed.signature, "entries" in sealed], [undefined, undefined, false]);
  assert.ok(isSignedBy(sealed, own) && verifierOf(sealed) !== undefined);
  assert.not.ok(isSignedBy(sealed, other));
  assert.ok(findRevocation(sealed, "1234"));
});

test("lies in shared memory where that is asked for, and nowhere else", () => {
  const own = parse({ revoked: ["1234"] }).index;
  for (const { buffer } of [own.serials, own.dates, own.reasons, own.buckets]) assert.instance(buffer, ArrayBuffer);
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
