/** High-water marks of revocation lists: one effective number for each domain, key and scope. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { compareNumbers, type HeldCrl } from "../../pki/crl.ts";
import {
  type CrlHighWaterMarks,
  type CrlMark,
  equivocates,
  groupCrls,
  marksOfFiles,
  mergeMarks,
  newerThan,
  ownDomain,
  placeOf,
  raiseMarks,
} from "../../pki/crl_marks.ts";
import { scopeName, scopeNamePattern } from "../../pki/crl_scope.ts";
import { crlsToKeep, findEquivocations, keepBeside, withKnownKeys } from "../../pki/crl_union.ts";
import { integer, primitive, sequence } from "../../pki/issue/der_writer.ts";
import { authorityKeyId, type Extension } from "../../pki/issue/extensions.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustInput, type TrustMade } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeList, type ForgeListOptions, later } from "../support/forge.ts";

const test = suite("CRL marks");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const [leaf, other] = [forge("leaf", { issuer: middle }), forge("other", { issuer: middle })];
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const revoking = (...leaves: Forged[]) => ({ revoked: leaves.map((each) => certificate(each).serial) });
const keyOf = (ca: Forged) => createHash("sha256").update(certificate(ca).publicKey.spki).digest("hex");
const delta = (base: number): { add: Extension[] } => ({
  add: [{ oid: "2.5.29.27", critical: true, value: integer(base) }],
});
const users: Extension = { oid: "2.5.29.28", critical: true, value: sequence(primitive(0x81, Uint8Array.of(0xff))) };

/** Lists as they are read, checked under `cas`. */
function read(ders: readonly Uint8Array[], cas: readonly Forged[] = [root, middle]): readonly HeldCrl[] {
  return ders.flatMap((der) => {
    const reader = new CrlReader({ cas: cas.map(certificate) });
    reader.push(der);
    return Result.getOrThrow(reader.finish()).map(({ list }) => list);
  });
}
const list = (number: number, options: ForgeListOptions = {}) =>
  forgeList(middle, { number: BigInt(number), ...options });
const marksOf = (ders: readonly Uint8Array[], before: CrlHighWaterMarks = {}) =>
  raiseMarks(before, ownDomain, read(ders));
const place = placeOf(ownDomain, keyOf(middle), "all");
const markOf = (...ders: Uint8Array[]) => marksOf(ders)[place]!;
const hash = (der: Uint8Array) => createHash("sha256").update(der).digest("hex");

test("orders numbers as numbers, of any length", () => {
  const numbers = ["0", "9", "10", "99", "100", "340282366920938463463374607431768211456"];
  for (const [index, number] of numbers.entries()) {
    assert.is(compareNumbers(number, number), 0);
    for (const next of numbers.slice(index + 1)) {
      assert.ok(compareNumbers(number, next) < 0 && compareNumbers(next, number) > 0, `${number} ${next}`);
    }
  }
});

test("has one effective number: the delta's where one is applied, else the complete list's", () => {
  const [base, change] = [list(5), list(7, delta(5))];
  assert.equal(markOf(base), {
    ...markOf(base),
    domain: "@own",
    key: keyOf(middle),
    scope: "all",
    number: "5",
    thisUpdate: undefined,
    unapplied: undefined,
    sha256: { complete: hash(base), delta: undefined },
  });
  const both = markOf(base, change);
  assert.equal([both.number, both.sha256], ["7", { complete: hash(base), delta: hash(change) }]);
  assert.equal([both.unapplied, Object.keys(marksOf([base, change])).length], [undefined, 1]);
  const bare = markOf(list(0, { omitNumber: true, thisUpdate: later(-3) }));
  assert.equal([bare.number, bare.thisUpdate], [undefined, later(-3).getTime()]);
});

test("a delta that fits no complete list is remembered beside the number, until a list has caught up", () => {
  const lone = markOf(list(3), list(7, delta(5)));
  assert.equal([lone.number, lone.unapplied], ["3", "7"]);
  const alone = markOf(list(7, delta(5)));
  assert.equal([alone.number, alone.unapplied], [undefined, "7"]);
  const after = (number: number) => marksOf([list(number)], { [place]: lone })[place]!;
  assert.equal([after(6).number, after(6).unapplied], ["6", "7"]);
  assert.equal([after(7).number, after(7).unapplied], ["7", undefined]);
});

const group = (...ders: Uint8Array[]) => groupCrls(read(ders))[0]!;
const older: [name: string, mark: CrlMark, lists: readonly Uint8Array[], seen: string | undefined][] = [
  ["a number below", markOf(list(5)), [list(4)], "5"],
  ["the number itself", markOf(list(5)), [list(5, revoking(leaf))], undefined],
  ["a number of more digits", markOf(list(9)), [list(10)], undefined],
  ["a base whose delta is gone", markOf(list(5), list(7, delta(5))), [list(5)], "7"],
  ["a complete list below the delta", markOf(list(5), list(7, delta(5))), [list(6)], "7"],
  ["a complete list of the delta's number", markOf(list(5), list(7, delta(5))), [list(7)], undefined],
  ["the base with an older delta", markOf(list(5), list(7, delta(5))), [list(5), list(6, delta(5))], "7"],
  ["an old delta alone", markOf(list(5), list(7, delta(5))), [list(6, delta(5))], "7"],
  ["the delta alone", markOf(list(5), list(7, delta(5))), [list(7, delta(5))], undefined],
  ["a base whose unapplied delta is gone", markOf(list(3), list(7, delta(5))), [list(3)], "7"],
  ["a base with the same unapplied delta", markOf(list(3), list(7, delta(5))), [list(3), list(7, delta(5))], undefined],
  ["a base with an older unapplied delta", markOf(list(3), list(7, delta(5))), [list(3), list(6, delta(5))], "7"],
  ["a list that lost its number", markOf(list(5)), [list(0, { omitNumber: true, thisUpdate: later(9) })], "5"],
  [
    "an earlier date, without numbers",
    markOf(list(0, { omitNumber: true })),
    [list(0, { omitNumber: true, thisUpdate: later(-2) })],
    later(-1).toISOString(),
  ],
  ["the same date, without numbers", markOf(list(0, { omitNumber: true })), [list(0, { omitNumber: true })], undefined],
  ["a number where there was none", markOf(list(0, { omitNumber: true })), [list(1)], undefined],
];
for (const [name, mark, ders, seen] of older) {
  test(`${name} is ${seen === undefined ? "not older" : "older"}`, () =>
    assert.is(newerThan(group(...ders), mark), seen));
}
test("nothing is older than no mark", () => assert.is(newerThan(group(list(0)), undefined), undefined));

test("merges marks to the higher of each, whichever comes first", () => {
  const [low, high] = [marksOf([list(5)]), marksOf([list(7)])];
  const elsewhere = raiseMarks({}, "partner.example", read([list(2)]));
  for (const [a, b] of [[low, high], [high, low]] as const) {
    const merged = mergeMarks({ ...a, ...elsewhere }, b);
    assert.equal(Object.values(merged).map(({ domain, number }) => [domain, number]).sort(), [
      ["@own", "7"],
      ["partner.example", "2"],
    ]);
  }
  const lone = marksOf([list(3), list(9, delta(8))]);
  assert.equal(mergeMarks(high, lone)[place]!.unapplied, "9");
  assert.equal(mergeMarks(lone, high)[place]!.unapplied, "9");
  const first = marksOf([list(5, revoking(leaf))]);
  assert.equal(mergeMarks(first, low)[place]!.sha256, first[place]!.sha256, "of equals the first");
});

/** The mark that lists of the operator's file and learned ones make together. */
const markWith = (files: readonly Uint8Array[], learned: readonly Uint8Array[]) => {
  const lists = [...read(files), ...read(learned).map((each) => ({ ...each, learned: true as const }))];
  return raiseMarks({}, ownDomain, lists)[place]!;
};
const learnedToo: [name: string, mark: CrlMark, number: string | undefined, given: string | undefined][] = [
  ["a file's list alone", markWith([list(5)], []), "5", undefined],
  ["a newer learned list", markWith([list(5)], [list(7)]), "7", "5"],
  ["a learned delta of the file's list", markWith([list(5)], [list(7, delta(5))]), "7", "5"],
  ["an older learned list", markWith([list(7)], [list(5)]), "7", undefined],
  ["a learned list alone", markWith([], [list(7)]), "7", "0"],
  ["a learned delta alone", markWith([], [list(7, delta(5))]), undefined, undefined],
];
for (const [name, mark, number, given] of learnedToo) {
  test(`${name}: the mark has the number in force, and that of the file where it is another`, () =>
    assert.equal([mark.number, mark.given], [number, given]));
}

test("the marks of the files alone have the files' numbers", () => {
  const of = (mark: CrlMark) => marksOfFiles({ [place]: mark })[place]!;
  const behind = markWith([list(5)], [list(7), list(9, delta(8))]);
  assert.equal([behind.number, behind.unapplied], ["7", "9"]);
  assert.equal(of(behind), { ...behind, number: "5", given: undefined, unapplied: undefined });
  const alone = markWith([list(5)], []);
  assert.equal(of(alone), alone);
});

test("merged marks have the highest number of a file, whichever comes first", () => {
  const marks = {
    "5 of 7": markWith([list(5)], [list(7)]),
    "6 of 9": markWith([list(6)], [list(9)]),
    "6": markWith([list(6)], []),
    "8": markWith([list(8)], []),
    "dated": markWith([list(0, { omitNumber: true })], []),
  };
  const cases: [one: keyof typeof marks, other: keyof typeof marks, number: string, given: string | undefined][] = [
    ["5 of 7", "6 of 9", "9", "6"],
    ["5 of 7", "6", "7", "6"],
    ["5 of 7", "8", "8", undefined],
    ["6 of 9", "8", "9", "8"],
    ["5 of 7", "dated", "7", "5"],
    ["8", "dated", "8", undefined],
  ];
  for (const [one, other, number, given] of cases) {
    for (const [a, b] of [[one, other], [other, one]] as const) {
      const merged = mergeMarks({ [place]: marks[a] }, { [place]: marks[b] })[place]!;
      assert.equal([merged.number, merged.given], [number, given], `${a} and ${b}`);
    }
  }
});

test("names every scope in its own way, fit for a file's name", () => {
  const scopes = [
    { only: undefined, points: undefined, reasons: 0x1fe },
    { only: "users" as const, points: undefined, reasons: 0x1fe },
    { only: "cas" as const, points: undefined, reasons: 0x1fe },
    { only: undefined, points: undefined, reasons: 2 },
    { only: undefined, points: ["aa"], reasons: 0x1fe },
    { only: undefined, points: ["aa", "bb"], reasons: 0x1fe },
    { only: "users" as const, points: ["aa"], reasons: 2 },
  ];
  const names = scopes.map(scopeName);
  assert.equal(names.slice(0, 4), ["all", "users", "cas", "all-r2"]);
  assert.is(new Set(names).size, scopes.length);
  for (const name of names) assert.match(name, scopeNamePattern);
  const points = (...all: string[]) => scopeName({ only: undefined, points: all, reasons: 0x1fe });
  assert.is(points("aa", "bb"), points("bb", "aa"), "points are a set");
  assert.not.match("../x", scopeNamePattern);
});

const hashes: [name: string, mark: CrlMark["sha256"], lists: CrlMark["sha256"], contradict: boolean][] = [
  ["the same list", { complete: "a", delta: undefined }, { complete: "a", delta: undefined }, false],
  ["another list", { complete: "a", delta: undefined }, { complete: "b", delta: undefined }, true],
  ["a base and a delta for a list", { complete: "a", delta: undefined }, { complete: "b", delta: "c" }, false],
  ["a list for a base and a delta", { complete: "a", delta: "c" }, { complete: "b", delta: undefined }, false],
  ["another base below the same delta", { complete: "a", delta: "c" }, { complete: "b", delta: "c" }, false],
  ["another delta", { complete: "a", delta: "c" }, { complete: "a", delta: "d" }, true],
  ["a list that has no hash", { complete: "a", delta: undefined }, { complete: undefined, delta: undefined }, false],
  ["a mark that has no hash", { complete: undefined, delta: undefined }, { complete: "b", delta: undefined }, false],
];
for (const [name, marked, lists, contradict] of hashes) {
  test(`${name} ${contradict ? "contradicts" : "does not contradict"} the mark of its number`, () => {
    const mark = { ...markOf(list(5)), sha256: marked };
    assert.is(equivocates(mark, lists), contradict);
    assert.is(equivocates({ ...mark, number: undefined }, lists), false, "only a number can be given twice");
    const next = mergeMarks({ [place]: mark }, { [place]: { ...mark, sha256: lists } })[place]!.sha256;
    assert.equal(
      next,
      contradict || lists.complete === undefined ? marked : lists,
      "the newest form, but of the first content",
    );
  });
}

test("groups lists by key and scope, and an unchecked one by the names of marks", () => {
  const namesake = forge("middle", { ca: true });
  const keyed = { add: [authorityKeyId(new Uint8Array(20).fill(7))] };
  const checked = read([list(5), list(6, { add: [users] }), forgeList(root)]);
  const groups = groupCrls([...checked, ...read([forgeList(namesake, { number: 7n, ...keyed })], [])]);
  assert.equal(groups.map(({ scope, number }) => [scope, number]), [["all", "5"], ["users", "6"], ["all", "1"]]);
  const unchecked = read([list(4), list(3, { add: [users] }), list(2, keyed), forgeList(root)], []);
  assert.equal(groupCrls(unchecked), []);
  const found = groupCrls(unchecked, [markOf(list(5))]);
  assert.equal(found.map(({ key, scope, number }) => [key, scope, number]), [[keyOf(middle), "all", "4"]]);
});

// ── What stands beside a file ──

const numbersBeside = (kept: readonly Uint8Array[], given: readonly Uint8Array[]) =>
  keepBeside(read(kept), read(given)).map(({ number, baseNumber }) =>
    baseNumber === undefined ? String(number) : `d${number}`
  );
const beside: [name: string, kept: readonly Uint8Array[], given: readonly Uint8Array[], stay: string][] = [
  ["a newer list", [list(5)], [list(4)], "5"],
  ["an older list", [list(4)], [list(5)], ""],
  ["the same list", [list(5)], [list(5)], ""],
  ["another of the same number", [list(5)], [list(5, revoking(leaf))], "5"],
  ["the delta that is gone", [list(5), list(7, delta(5))], [list(5)], "d7"],
  ["a base and its delta, of a newer base", [list(5), list(7, delta(5))], [list(7)], ""],
  ["a base and its delta, of an older one", [list(5), list(7, delta(5))], [list(4)], "5,d7"],
  ["another delta of the same number", [list(5), list(7, delta(5))], [
    list(5),
    list(7, { ...delta(5), ...revoking(leaf) }),
  ], "d7"],
  ["another base of the same number", [list(5), list(7, delta(5))], [list(5, revoking(leaf)), list(7, delta(5))], "5"],
  ["a list that is as new as a base with its delta", [list(7)], [list(5), list(7, delta(5))], ""],
  ["a newer list of a scope that the file lacks", [list(5, { add: [users] })], [list(4)], ""],
  ["a list of an issuer that the file lacks", [list(5)], [forgeList(root)], ""],
  ["a base where the file has deltas only", [list(5)], [list(7, delta(5))], ""],
  ["a date of which the file has an older", [list(0, { omitNumber: true })], [
    list(0, { omitNumber: true, thisUpdate: later(-2) }),
  ], "undefined"],
  ["a date of which the file has a newer", [list(0, { omitNumber: true, thisUpdate: later(-2) })], [
    list(0, { omitNumber: true }),
  ], ""],
  ["two of one date", [list(0, { omitNumber: true })], [list(0, { omitNumber: true, ...revoking(leaf) })], "undefined"],
  ["a list of which the file has two", [list(5)], [list(5), list(5, revoking(leaf))], ""],
  ["a list of which the file has two, the other first", [list(5)], [list(5, revoking(leaf)), list(5)], ""],
  ["a delta alone, where the file's base is older", [list(7, delta(5))], [list(3)], "d7"],
  ["a date where the file has a number", [list(0, { omitNumber: true })], [list(1)], ""],
  ["a number where the file lost it", [list(5)], [list(0, { omitNumber: true })], "5"],
];
for (const [name, kept, given, stay] of beside) {
  test(`${stay === "" ? "lets go of" : "keeps"} ${name}`, () => assert.is(numbersBeside(kept, given).join(","), stay));
}

test("a list of another key of the same name neither stands for a list nor takes its place", () => {
  const renewed = forge("middle", { ca: true });
  const both = [root, middle, renewed];
  const [kept] = read([list(5)], both);
  const beside = (given: readonly HeldCrl[]) => keepBeside([kept!], given).length;
  assert.is(beside(read([forgeList(renewed, { number: 9n })], both)), 1, "by their keys");
  assert.is(beside(read([list(9)], both)), 0);
  const keyed = { add: [authorityKeyId(new Uint8Array(20).fill(7))] };
  assert.is(beside(read([forgeList(renewed, { number: 9n, ...keyed })], [])), 1, "by the key that one names");
  assert.is(beside(read([forgeList(renewed, { number: 9n })], [])), 0, "nobody can tell them apart yet");
});

test("a list that nobody has checked stands beside nothing, unless an earlier process vouched for it", () => {
  const [unknown] = read([list(5)], [root]);
  const given = read([list(4)], [root]);
  assert.equal(keepBeside([unknown!], given), []);
  assert.equal(
    keepBeside([unknown!], [...given, ...read([forgeList(root, { number: 5n })])]),
    [],
    "another issuer's number",
  );
  const vouched = { ...unknown!, vouchedBy: keyOf(middle) };
  assert.equal(keepBeside([vouched], given), [vouched]);
});

test("a list whose content was not noted stands beside an older one as well", () => {
  const [newer, older] = read([list(5), list(4)]).map(({ sha256: _, ...each }): HeldCrl => each);
  assert.equal(keepBeside([newer!], [older!]), [newer]);
});

test("bug: all lists of a key and scope were sorted once more for each list in force that a new file lacks", () => {
  let reads = 0;
  const counted = (numbers: number) =>
    read(Array.from({ length: 40 }, (_, index) => list(numbers + index, index % 2 === 0 ? {} : delta(1)))).map((each) =>
      Object.defineProperty({ ...each }, "baseNumber", {
        enumerable: true,
        get() {
          reads += 1;
          return each.baseNumber;
        },
      })
    );
  const [kept, given] = [counted(50), counted(1)];
  assert.equal(keepBeside(kept, given).map(({ number }) => number), ["88", "89"]);
  assert.ok(reads < 5 * 80 ** 2, `${reads} reads of a base's number`);
});

test("a list of a file gets the key of a list in force by its content alone, and only where that was checked", () => {
  const keys = (given: readonly HeldCrl[], seen: readonly HeldCrl[]) =>
    withKnownKeys(given, seen).map(({ vouchedBy }) => vouchedBy);
  const read5 = () => read([list(5)], [root]);
  const vouched = read5().map((each) => ({ ...each, vouchedBy: keyOf(middle) }));
  assert.equal(keys(read5(), vouched), [keyOf(middle)], "an earlier process checked it");
  assert.equal(keys(read5(), read([list(5)])), [keyOf(middle)], "this process did");
  assert.equal(keys(read5(), read5()), [undefined], "nobody did");
  assert.equal(keys(read([list(5, revoking(leaf))], [root]), vouched), [undefined], "the same number, another content");
  const unnoted = ({ sha256: _, ...each }: HeldCrl): HeldCrl => each;
  assert.equal(keys(read5().map(unnoted), vouched.map(unnoted)), [undefined], "no content was noted");
  const [own] = read([list(5)]);
  assert.is(withKnownKeys([own!], vouched)[0], own, "what is checked already stays as it is");
});

test("keeps of each key and scope the list, its delta, and what contradicts them", () => {
  const kept = (ders: readonly Uint8Array[], marks = marksOf(ders)) =>
    crlsToKeep(marks, ownDomain, read(ders)).map(({ complete, delta, other }) => [complete, delta, other]);
  const [base, change, twin] = [list(5), list(7, delta(5)), list(5, revoking(leaf))];
  const other = list(7, { ...delta(5), ...revoking(leaf) });
  for (const order of [[base, change, other], [base, other, change]]) {
    assert.equal(kept(order, marksOf([base, change])), [[hash(base), hash(change), [hash(other)]]]);
    assert.equal(kept(order, marksOf([base, other])), [[hash(base), hash(other), [hash(change)]]]);
  }
  assert.equal(kept([base, change, twin], marksOf([base, change])), [[hash(base), hash(change), [hash(twin)]]]);
  const [bare, later] = [list(0, { omitNumber: true }), list(0, { omitNumber: true, ...revoking(leaf) })];
  assert.equal(kept([bare, later], marksOf([bare])), [[hash(bare), undefined, [hash(later)]]]);
  assert.equal(kept([list(3), change]), [[hash(list(3)), hash(change), []]], "a delta that fits nothing too");
  assert.equal(kept([base]), [[hash(base), undefined, []]]);
  assert.equal(kept([base, change]), [[hash(base), hash(change), []]]);
  assert.equal(kept([list(4), base]), [[hash(base), undefined, []]], "an older list beside it is not worth keeping");
  for (const order of [[base, twin], [twin, base]]) {
    assert.equal(kept(order, marksOf([base])), [[hash(base), undefined, [hash(twin)]]], "the first stays the first");
  }
  assert.equal(kept([base], marksOf([list(6)])), [], "nothing below its mark");
  assert.equal(kept([change]), [[undefined, hash(change), []]]);
});

test("finds numbers with two contents: against each other, and against the mark", () => {
  const found = (ders: readonly Uint8Array[], marked: readonly Uint8Array[]) =>
    findEquivocations(marksOf(marked), ownDomain, read(ders)).map(({ number, hashes }) => [number, hashes]);
  const [base, twin] = [list(5), list(5, revoking(leaf))];
  const [change, changed] = [list(7, delta(5)), list(7, { ...delta(5), ...revoking(leaf) })];
  const [bare, bareTwin] = [list(0, { omitNumber: true }), list(0, { omitNumber: true, ...revoking(leaf) })];
  assert.equal(found([base], [base]), []);
  assert.equal(found([base], []), [], "no mark");
  assert.equal(found([twin], [base]), [["5", [hash(base), hash(twin)]]]);
  assert.equal(found([twin], [list(4)]), [], "another number");
  assert.equal(found([base, changed], [base, change]), [["7", [hash(change), hash(changed)]]]);
  assert.equal(found([list(7)], [base, change]), [], "a list says what base and delta say");
  assert.equal(found([change], [base, change]), [], "no complete list");
  assert.equal(found([base, twin, list(9)], [list(9)]).map(([number]) => number), ["5"], "older ones too");
  assert.equal(found([base, twin, change], [base, change]).map(([number]) => number), ["5"], "below the same delta");
  assert.equal(found([bare, bareTwin], [bare]), [], "without numbers none is given twice");
});

// ── A start ──

const make = (ders: readonly Uint8Array[], input: Partial<TrustInput> = {}) =>
  makeTrustSnapshot({
    trustPem: root.pem,
    crlsPem: Buffer.concat([forgeList(root), ...ders]),
    policy: defaultPolicy,
    generation: 1,
    at,
    ...input,
  });
const evaluate = ({ snapshot }: TrustMade, who = leaf) => {
  const outcome = verifyPath([who.der, middle.der], snapshot, { at });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
};
/** What an earlier process left: its marks, and its lists where they were kept. */
const earlier = (ders: readonly Uint8Array[], keeps: readonly Uint8Array[] = ders): Partial<TrustInput> => {
  const lists = read(keeps, [root]).map((each) => ({ ...each, vouchedBy: keyOf(middle) }));
  return { rollback: "report", crlMarks: marksOf(ders), seenLists: new Map([[ownDomain, lists]]) };
};
const alarms = ({ warnings }: TrustMade) => warnings.filter(({ level }) => level === "error").map(({ code }) => code);

test("at a start the list that was kept stays in force, where the file's is older", () => {
  const started = Result.getOrThrow(make([list(4)], earlier([list(5, revoking(leaf))])));
  assert.equal([evaluate(started), evaluate(started, other)], ["certificate-revoked", "accepted"]);
  assert.equal(alarms(started), ["crl-rollback"]);
  assert.match(started.warnings.find(({ code }) => code === "crl-rollback")!.message, "number 4, older than 5");
});

test("at a start a delta that the file lost stays on its base", () => {
  const [base, change] = [list(5), list(7, { ...delta(5), ...revoking(leaf) })];
  const started = Result.getOrThrow(make([base], earlier([base, change])));
  assert.equal([evaluate(started), evaluate(started, other)], ["certificate-revoked", "accepted"]);
  assert.equal(alarms(started), ["crl-rollback"]);
  assert.equal(alarms(Result.getOrThrow(make([base, change], earlier([base, change])))), []);
});

test("at a start that finds a mark and no kept list, the older list revokes what it names and clears nobody", () => {
  const [base, change] = [list(5, revoking(other)), list(7, { ...delta(5), ...revoking(leaf, other) })];
  const lost = earlier([base, change], []);
  const started = Result.getOrThrow(make([base], lost));
  assert.equal([evaluate(started), evaluate(started, other)], ["crl-rollback", "certificate-revoked"]);
  assert.equal(alarms(started), ["crl-rollback"]);
  const outcome = Result.getOrThrow(Result.flip(verifyPath([leaf.der, middle.der], started.snapshot, { at })));
  assert.ok(outcome._tag === "CrlRollback");
  assert.equal([outcome.issuer, outcome.number, outcome.seen], ["CN=middle", "5", "7"]);
  assert.is(evaluate(Result.getOrThrow(make([list(7)], lost))), "accepted", "a list of the mark's number ends it");
});

test("the same where the mark has no name by which an unchecked list is found", () => {
  const { crlMarks = {} } = earlier([list(5)]);
  const nameless = { [place]: { ...crlMarks[place]!, named: undefined } };
  const started = Result.getOrThrow(make([list(4)], { rollback: "report", crlMarks: nameless }));
  assert.equal([evaluate(started), alarms(started)], ["crl-rollback", []]);
});

test("an unapplied delta that is lost clears nobody", () => {
  const [base, change] = [list(3), list(7, { ...delta(5), ...revoking(leaf) })];
  const first = Result.getOrThrow(make([base, change]));
  assert.equal([evaluate(first), evaluate(first, other)], ["certificate-revoked", "accepted"]);
  const lost = earlier([base, change], []);
  assert.is(evaluate(Result.getOrThrow(make([base], lost))), "crl-rollback");
  assert.is(evaluate(Result.getOrThrow(make([base, change], lost)), other), "accepted");
});

test("marks of one trust domain say nothing in another, nor those of one scope of another", () => {
  const partner = (crls: Uint8Array, input: Partial<TrustInput>) => {
    const domains = [{
      name: "partner.example",
      trust: root.pem,
      crlsPem: Buffer.concat([forgeList(root), crls]),
      rollback: "report" as const,
    }];
    const elsewhere = forge("elsewhere", { ca: true });
    return Result.getOrThrow(make([], { trustPem: elsewhere.pem, crlsPem: forgeList(elsewhere), domains, ...input }));
  };
  const { crlMarks } = earlier([list(5)]);
  assert.is(evaluate(partner(list(4), { crlMarks })), "accepted");
  const theirs = raiseMarks({}, "partner.example", read([list(5)]));
  assert.is(evaluate(partner(list(4), { crlMarks: theirs })), "crl-rollback");
  assert.is(evaluate(Result.getOrThrow(make([list(4)], { crlMarks: theirs }))), "accepted");
  const named = Object.values(partner(list(6), { crlMarks: { ...crlMarks, ...theirs } }).crlMarks);
  const middles = named.filter(({ key }) => key === keyOf(middle));
  assert.equal(middles.map(({ domain, number }) => [domain, number]).sort(), [["@own", "5"], ["partner.example", "5"]]);
  const scoped = marksOf([list(5, { add: [users] })]);
  assert.is(evaluate(Result.getOrThrow(make([list(4)], { rollback: "report", crlMarks: scoped }))), "accepted");
});

test("a list with a number that was in force, and other content, revokes beside it, with an alarm that names both", () => {
  const [first, twin] = [list(5, revoking(leaf)), list(5, { thisUpdate: later(-0.5) })];
  const started = Result.getOrThrow(make([twin], earlier([first])));
  assert.equal([evaluate(started), evaluate(started, other)], ["certificate-revoked", "accepted"]);
  assert.equal(alarms(started), ["crl-equivocation"]);
  const { message, refusal } = started.warnings.find(({ code }) => code === "crl-equivocation")!;
  assert.equal(refusal?._tag === "CrlEquivocation" && [refusal.code, refusal.issuer, refusal.number, refusal.sha256], [
    "crl-equivocation",
    "CN=middle",
    "5",
    [hash(first), hash(twin)],
  ]);
  assert.match(message, hash(first));
  assert.match(message, hash(twin));
  const changed = make([twin], { crlMarks: marksOf([first]), seenLists: new Map([[ownDomain, read([first])]]) });
  assert.equal(evaluate(Result.getOrThrow(changed)), "certificate-revoked", "in the running process too");
  assert.equal(evaluate(Result.getOrThrow(make([list(6)], earlier([first])))), "accepted", "a higher number ends it");
});

test("bug: a list whose issuer no peer has sent yet gives way to no other content of its number without a word", () => {
  const [first, twin] = [list(5, revoking(leaf)), list(5, { thisUpdate: later(-0.5) })];
  const before = Result.getOrThrow(make([first]));
  const after = Result.getOrThrow(make([twin], { crlMarks: before.crlMarks, seenLists: before.lists }));
  assert.equal(alarms(after), ["crl-equivocation"]);
  assert.equal([evaluate(after), evaluate(after, other)], ["certificate-revoked", "accepted"]);
  const forged = list(5, { signer: other, ...revoking(other) });
  const foreign = Result.getOrThrow(make([twin], { seenLists: new Map([[ownDomain, read([forged], [root])]]) }));
  assert.equal(alarms(foreign), ["crl-equivocation"]);
  assert.is(evaluate(foreign, other), "accepted", "a forged list revokes nothing");
  const next = Result.getOrThrow(make([list(6)], { crlMarks: after.crlMarks, seenLists: after.lists }));
  assert.equal([evaluate(next), alarms(next)], ["accepted", []]);
});

test("an alarm tells of another content where only the mark is left", () => {
  const [first, twin] = [list(5, revoking(leaf)), list(5)];
  const both = [root.pem, middle.pem].join("");
  const started = Result.getOrThrow(make([twin], { ...earlier([first], []), trustPem: both }));
  assert.equal(alarms(started), ["crl-equivocation"]);
  assert.equal(alarms(Result.getOrThrow(make([first], { ...earlier([first], []), trustPem: both }))), []);
});

test("a CA of the bundle is no anchor while the list about it is older than its mark", () => {
  const both = [root.pem, middle.pem].join("");
  const marks = raiseMarks({}, ownDomain, read([forgeList(root, { number: 2n, ...revoking(middle) })]));
  const make2 = (number: bigint) =>
    Result.getOrThrow(makeTrustSnapshot({
      trustPem: both,
      crlsPem: Buffer.concat([forgeList(root, { number }), list(1)]),
      policy: defaultPolicy,
      generation: 1,
      at,
      rollback: "report",
      crlMarks: marks,
    }));
  const started = make2(1n);
  assert.equal(started.snapshot.anchors.map(({ subject }) => subject.text), ["CN=root"]);
  assert.is(evaluate(started), "crl-rollback");
  assert.ok(started.warnings.some(({ code, subject }) => code === "anchor-unclear" && subject === "CN=middle"));
  assert.is(make2(2n).snapshot.anchors.length, 2);
});

test.run();
