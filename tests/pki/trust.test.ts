import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { type CrlHighWaterMarks, ownDomain, raiseMarks } from "../../pki/crl_marks.ts";
import { authorityKeyId, subjectKeyId } from "../../pki/issue/extensions.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { integer, octetString, primitive, sequence } from "../../pki/issue/der_writer.ts";
import { verifyPath } from "../../pki/path.ts";
import { formatPem } from "../../pki/pem.ts";
import {
  anchorsMax,
  defaultPolicy,
  makeTrustSnapshot,
  readAuthorities,
  TrustError,
  type TrustInput,
  type TrustMade,
} from "../../pki/trust.ts";
import { at, dayMs, forge, type Forged, forgeList, forgeListPem, later } from "../support/forge.ts";

const test = suite("makeTrustSnapshot()");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle });
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;
const make = (input: Partial<TrustInput>) =>
  makeTrustSnapshot({ trustPem: root.pem, policy: defaultPolicy, generation: 3, at, ...input });
const names = (input: Partial<TrustInput>) =>
  Result.getOrThrow(make(input)).snapshot.anchors.map(({ subject }) => subject.commonName).join(",");
const codes = (input: Partial<TrustInput>) =>
  Result.getOrThrow(make(input)).warnings.map(({ code }) => code).sort().join(",");

test("makes every CA an anchor, intermediates too, and nobody else", () => {
  assert.is(names({ trustPem: leaf.pem + middle.pem + root.pem }), "middle,root");
});

test("takes a certificate that is there twice once", () => {
  assert.is(names({ trustPem: root.pem + middle.pem + root.pem }), "root,middle");
});

test("takes the generation and the policy as they are", () => {
  const { snapshot } = Result.getOrThrow(make({}));
  assert.is(snapshot.generation, 3);
  assert.equal(snapshot.policy, defaultPolicy);
  assert.is(snapshot.revocation, undefined);
});

test("leaves an intermediate out that its issuer's list revokes, where both are given", () => {
  const crlsPem = forgeListPem(root, { revoked: [serial(middle)] });
  const input = { trustPem: root.pem + middle.pem, crlsPem };
  assert.is(names(input), "root");
  assert.is(codes(input), "anchor-revoked");
  assert.is(names({ ...input, crlsPem: forgeListPem(root) }), "root,middle");
  assert.is(names({ trustPem: middle.pem, crlsPem }), "middle");
});

test("leaves it out also where the list is overdue, and never by another issuer's list", () => {
  const trustPem = root.pem + middle.pem;
  const overdue = forgeListPem(root, { revoked: [serial(middle)], thisUpdate: later(-90), nextUpdate: later(-60) });
  assert.is(names({ trustPem, crlsPem: overdue }), "root");
  assert.is(names({ trustPem, crlsPem: forgeListPem(middle, { revoked: [serial(middle)] }) }), "root,middle");
});

test("does not leave it out by the list of a namesake's key", () => {
  const named = (id: number) => forge("named", { ca: true, add: [subjectKeyId(Uint8Array.of(id))] });
  const [own, other] = [named(1), named(2)];
  const under = forge("under", { ca: true, issuer: own });
  const aki = { oid: "2.5.29.35", critical: false, value: Uint8Array.of(0x30, 3, 0x80, 1, 2) };
  const crlsPem = forgeListPem(other, { revoked: [serial(under)], add: [aki] });
  assert.is(names({ trustPem: own.pem + under.pem, crlsPem }), "named,under");
  assert.is(names({ trustPem: own.pem + other.pem + under.pem, crlsPem }), "named,named,under");
});

test("does not leave it out by a list that its issuer's key signed under another name", () => {
  const renamed = forge("renamed", { ca: true, keyOf: root });
  const input = { trustPem: root.pem + renamed.pem + middle.pem };
  const crlsPem = forgeListPem(renamed, { revoked: [serial(middle)] });
  assert.is(names({ ...input, crlsPem }), "root,renamed,middle");
  assert.is(names({ ...input, crlsPem: forgeListPem(root, { revoked: [serial(middle)] }) }), "root,renamed");
});

test("takes no CA of another name for its issuer, even where both have one key", () => {
  const renamed = forge("renamed", { ca: true, keyOf: root });
  const input = { trustPem: renamed.pem + middle.pem, crlsPem: forgeListPem(root, { revoked: [serial(middle)] }) };
  assert.is(names(input), "renamed,middle");
  assert.is(names({ ...input, trustPem: input.trustPem + root.pem }), "renamed,root");
});

test("does not leave it out by a list of users' certificates only", () => {
  const only = (tag: number) => {
    const value = sequence(primitive(tag, Uint8Array.of(0xff)));
    return forgeListPem(root, { revoked: [serial(middle)], add: [{ oid: "2.5.29.28", critical: true, value }] });
  };
  const trustPem = root.pem + middle.pem;
  assert.is(names({ trustPem, crlsPem: only(1) }), "root,middle");
  assert.is(names({ trustPem, crlsPem: only(2) }), "root");
});

test("takes lists that were read already", () => {
  const reader = new CrlReader({ cas: Result.getOrThrow(readAuthorities(root.pem + middle.pem)) });
  reader.push(Buffer.from(forgeListPem(root, { revoked: [serial(middle)] })));
  const crlsPem = Result.getOrThrow(reader.finish());
  assert.is(names({ trustPem: root.pem + middle.pem, crlsPem }), "root");
});

test("trusts nobody when every CA is revoked, and says so", () => {
  const input = { crlsPem: forgeListPem(root, { revoked: [serial(root)] }) };
  assert.is(names(input), "");
  assert.ok(codes(input).includes("no-anchors"));
});

test("changes anchorsId with the anchors and the policy, and with nothing else", () => {
  const id = (input: Partial<TrustInput>) => Result.getOrThrow(make(input)).snapshot.anchorsId;
  const both = root.pem + middle.pem;
  const first = id({ trustPem: both });
  assert.is(id({ trustPem: middle.pem + leaf.pem + root.pem, generation: 9, at: later(1) }), first);
  assert.is(id({ trustPem: both, crlsPem: forgeListPem(root) }), first);
  assert.is.not(id({ trustPem: both, crlsPem: forgeListPem(root, { revoked: [serial(middle)] }) }), first);
  assert.is.not(id({}), first);
  assert.is.not(id({ trustPem: both, policy: { ...defaultPolicy, roles: "require" } }), first);
});

const rubbish = formatPem("X509 CRL", octetString(new Uint8Array(3)));
const namesake = forge("root", { ca: true });
const rootListPem = forgeListPem(root);
const behind = (pem: string) => pem.trimEnd().split("\n").length + 1;
const refused: [name: string, input: Partial<TrustInput>, problem: string, line: number | undefined][] = [
  ["an empty bundle", { trustPem: "" }, "trust_pem empty", undefined],
  ["a bundle of comments", { trustPem: "# nothing here\n" }, "trust_pem empty", undefined],
  ["a bundle without a CA", { trustPem: leaf.pem }, "trust_pem no-ca", undefined],
  [
    "a bundle with a key in it",
    { trustPem: root.pem + formatPem("PRIVATE KEY", root.der) },
    "trust_pem wrong-label",
    behind(root.pem),
  ],
  ["a bundle with a list in it", { trustPem: rootListPem }, "trust_pem wrong-label", 1],
  [
    "a bundle that is cut off",
    { trustPem: `${root.pem}-----BEGIN CERTIFICATE-----\nMAA=\n` },
    "trust_pem pem",
    behind(root.pem),
  ],
  [
    "a bundle with a malformed certificate",
    { trustPem: `${root.pem}\n${formatPem("CERTIFICATE", root.der.subarray(1))}` },
    "trust_pem certificate",
    behind(root.pem) + 1,
  ],
  ["a file of lists with nothing in it", { crlsPem: "" }, "crls_pem empty", undefined],
  ["a file of lists with a certificate in it", { crlsPem: root.pem }, "crls_pem wrong-label", 1],
  ["a list that is none", { crlsPem: rootListPem + rubbish }, "crls_pem crl", behind(rootListPem)],
  ["a list that a namesake signed", { crlsPem: forgeListPem(namesake) }, "crls_pem crl-signature", 1],
];

for (const [name, input, problem, line] of refused) {
  test(`refuses ${name}`, () => {
    const outcome = make(input);
    assert.ok(Result.isFailure(outcome), "it was accepted");
    const { failure } = outcome;
    assert.instance(failure, TrustError);
    assert.equal([`${failure.input} ${failure.problem}`, failure.line], [problem, line]);
    assert.ok(failure.hint.length > 0 && failure.detail.length > 0);
    assert.is(failure.refusal?.code, problem.endsWith("crl-signature") ? "crl-signature" : undefined);
  });
}

test("takes both labels of a list", () => {
  for (const label of ["X509 CRL", "CRL"]) {
    const made = Result.getOrThrow(make({ crlsPem: formatPem(label, forgeList(root)) }));
    assert.is(made.snapshot.revocation?.lists.length, 1);
  }
});

test("takes a list of a CA's other key, as long as it says so", () => {
  const add = [subjectKeyId(Uint8Array.of(1, 2, 3))];
  const old = forge("root", { ca: true, add });
  const aki = (id: number) => ({ oid: "2.5.29.35", critical: false, value: Uint8Array.of(0x30, 3, 0x80, 1, id) });
  assert.ok(Result.isSuccess(make({ trustPem: old.pem, crlsPem: forgeListPem(namesake, { add: [aki(9)] }) })));
  assert.ok(Result.isFailure(make({ trustPem: old.pem, crlsPem: forgeListPem(namesake) })));
});

test("refuses an older list than it has seen, and takes the same or a newer one", () => {
  const number = (crlsPem: string, crlMarks?: CrlHighWaterMarks) => make({ crlsPem, crlMarks });
  const seen = Result.getOrThrow(number(forgeListPem(root, { number: 10n }))).crlMarks;
  const older = number(forgeListPem(root, { number: 9n }), seen);
  assert.ok(Result.isFailure(older));
  assert.is(older.failure.problem, "crl-rollback");
  assert.ok(older.failure.refusal?._tag === "CrlRollback");
  assert.equal([older.failure.refusal.number, older.failure.refusal.seen], ["9", "10"]);
  assert.is(older.failure.refusal.code, "crl-rollback");
  assert.equal(Result.getOrThrow(number(forgeListPem(root, { number: 10n }), seen)).crlMarks, seen);
  const newer = Result.getOrThrow(number(forgeListPem(root, { number: 11n }), seen)).crlMarks;
  assert.equal(valuesOf(newer), ["11"]);
  const beside = forgeListPem(root, { number: 9n }) + forgeListPem(root, { number: 12n });
  const behind = forgeListPem(root, { number: 12n }) + forgeListPem(root, { number: 9n });
  for (const lists of [beside, behind]) {
    assert.equal(valuesOf(Result.getOrThrow(number(lists, newer)).crlMarks), ["12"]);
  }
});

/** What marks say, whatever keys they stand under. */
const valuesOf = (marks: CrlHighWaterMarks) => Object.values(marks).map(({ number }) => number).sort();

test("keeps marks apart: each scope, each key; of a list and its delta one", () => {
  const scope = (tag: number) => ({
    oid: "2.5.29.28",
    critical: true,
    value: sequence(primitive(tag, Uint8Array.of(0xff))),
  });
  const delta = (base: number) => ({ oid: "2.5.29.27", critical: true, value: integer(base) });
  const users = (number: bigint) => forgeListPem(root, { number, add: [scope(0x81)] });
  const cas = (number: bigint) => forgeListPem(root, { number, add: [scope(0x82)] });
  const change = (number: bigint) => forgeListPem(root, { number, add: [delta(10)] });
  const all = forgeListPem(root, { number: 10n }) + users(3n) + cas(4n) + change(20n);
  const { crlMarks, snapshot } = Result.getOrThrow(make({ crlsPem: all }));
  assert.is(snapshot.revocation?.lists.length, 3, "the delta is on its list, and not beside it too");
  assert.equal(valuesOf(crlMarks), ["20", "3", "4"]);
  const code = (crlsPem: string) => {
    const made = make({ crlsPem, crlMarks });
    return Result.isFailure(made) ? made.failure.problem : "made";
  };
  assert.is(code(forgeListPem(root, { number: 11n }) + users(3n) + cas(4n) + change(20n)), "made");
  assert.is(code(users(2n)), "crl-rollback");
  assert.is(code(cas(3n)), "crl-rollback");
  assert.is(code(change(19n)), "crl-rollback");
  assert.is(code(forgeListPem(root, { number: 9n })), "crl-rollback");
  assert.is(code(forgeListPem(root, { number: 19n })), "crl-rollback", "the delta was lost");
  assert.is(code(forgeListPem(root, { number: 20n })), "made");
});

test("goes on from a snapshot that had no lists", () => {
  const { lists: seenLists, crlMarks } = Result.getOrThrow(make({}));
  const made = Result.getOrThrow(make({ seenLists, crlMarks, crlsPem: forgeListPem(root, { number: 4n }) }));
  assert.equal(valuesOf(made.crlMarks), ["4"]);
});

test("never lowers a mark for a list that was in force before", () => {
  const { lists, crlMarks } = Result.getOrThrow(make({ crlsPem: forgeListPem(root, { number: 8n }) }));
  const own = lists.get(ownDomain)!;
  const at = (number: string) => raiseMarks(allAt(crlMarks, number), ownDomain, own);
  assert.equal(at("10"), allAt(crlMarks, "10"));
  assert.equal(valuesOf(at("7")), ["8"]);
  assert.equal(raiseMarks({}, ownDomain, own), crlMarks);
  assert.is(raiseMarks(crlMarks, ownDomain, own), crlMarks, "the same object where nothing changed");
});

const allAt = (marks: CrlHighWaterMarks, number: string): CrlHighWaterMarks =>
  Object.fromEntries(Object.entries(marks).map(([place, mark]) => [place, { ...mark, number }]));

test("lets a CA's new key count from one again", () => {
  const keyed = (id: number) => forge("root", { ca: true, add: [subjectKeyId(Uint8Array.of(id))] });
  const [old, renewed] = [keyed(1), keyed(2)];
  const list = (by: Forged, id: number, number: bigint) =>
    forgeListPem(by, {
      number,
      add: [{ oid: "2.5.29.35", critical: false, value: Uint8Array.of(0x30, 3, 0x80, 1, id) }],
    });
  const trustPem = old.pem + renewed.pem;
  const { crlMarks } = Result.getOrThrow(make({ trustPem, crlsPem: list(old, 1, 50n) }));
  assert.ok(Result.isSuccess(make({ trustPem, crlMarks, crlsPem: list(renewed, 2, 1n) })));
  assert.ok(Result.isFailure(make({ trustPem, crlMarks, crlsPem: list(old, 1, 49n) })));
});

test("lets a CA's new key count from one again where its lists name no key, or nobody could check them yet", () => {
  const [old, renewed] = [forge("root", { ca: true }), forge("root", { ca: true })];
  const named = (id: number) => ({ oid: "2.5.29.35", critical: false, value: Uint8Array.of(0x30, 3, 0x80, 1, id) });
  const list = (by: Forged, number: bigint, id?: number) =>
    forgeListPem(by, { number, add: id === undefined ? [] : [named(id)] });
  const evaluated = (trustPem: string, crlsPem: string, { crlMarks, lists: seenLists }: TrustMade) => {
    const made = make({ trustPem, crlsPem, crlMarks, seenLists });
    return Result.isFailure(made) ? made.failure.problem : "made";
  };
  const nameless = Result.getOrThrow(make({ trustPem: old.pem, crlsPem: list(old, 50n) }));
  assert.is(evaluated(old.pem + renewed.pem, list(renewed, 1n), nameless), "made");
  assert.is(evaluated(old.pem + renewed.pem, list(old, 49n), nameless), "crl-rollback");
  const keyed = Result.getOrThrow(make({ trustPem: old.pem, crlsPem: list(old, 50n, 1) }));
  const elsewhere = forge("elsewhere", { ca: true }).pem;
  assert.is(evaluated(elsewhere, list(renewed, 1n, 2), keyed), "made");
  assert.is(evaluated(elsewhere, list(old, 49n, 1), keyed), "made", "it may be another CA's with that name");
});

test("remembers the number of an issuer whose list is taken out for a while", () => {
  const trustPem = root.pem + middle.pem;
  const lists = forgeListPem(root, { number: 5n }) + forgeListPem(middle, { number: 8n });
  const { crlMarks: first } = Result.getOrThrow(make({ trustPem, crlsPem: lists }));
  const crlsPem = forgeListPem(root, { number: 5n });
  const { crlMarks: second } = Result.getOrThrow(make({ trustPem, crlsPem, crlMarks: first }));
  const back = make({ trustPem, crlsPem: forgeListPem(middle, { number: 7n }), crlMarks: second });
  assert.ok(Result.isFailure(back));
});

test("marks the number of a list that only a peer's path can check once it did, and not before", () => {
  const lists = (number: bigint) => forgeListPem(root) + forgeListPem(middle, { number });
  const first = Result.getOrThrow(make({ crlsPem: lists(8n) }));
  const marks = { crlMarks: first.crlMarks, seenLists: first.lists };
  assert.ok(Result.isSuccess(make({ crlsPem: lists(7n), ...marks })));
  assert.ok(Result.isSuccess(verifyPath([leaf.der, middle.der], first.snapshot, { at })));
  const back = Result.getOrThrow(make({ crlsPem: lists(7n), ...marks }));
  assert.ok(back.warnings.some(({ code }) => code === "crl-rollback"));
  const { snapshot } = Result.getOrThrow(make({ crlsPem: lists(7n), crlMarks: back.crlMarks }));
  const outcome = verifyPath([leaf.der, middle.der], snapshot, { at });
  assert.is(
    Result.isFailure(outcome) && outcome.failure.code,
    "crl-rollback",
    "the key is known where a peer sends it",
  );
  const on = Result.getOrThrow(make({ crlsPem: lists(9n), ...marks }));
  const later = Result.getOrThrow(make({ crlsPem: lists(7n), crlMarks: on.crlMarks, seenLists: on.lists }));
  assert.ok(later.warnings.some(({ code }) => code === "crl-rollback"));
});

test("without lists each trust domain is warned of by its name", () => {
  const other = forge("other", { ca: true }).pem;
  const domains = [{ name: "a.example", trust: other }, { name: "b.example", trust: other }];
  const { warnings } = Result.getOrThrow(make({ domains }));
  const said = warnings.filter(({ code }) => code === "no-lists-configured");
  assert.equal(said.map(({ message, subject }) => [subject, message.split(" is not")[0]]), [
    [undefined, "crls_pem"],
    ["a.example", "crls_pem of trust domain a.example"],
    ["b.example", "crls_pem of trust domain b.example"],
  ]);
});

const listOf = (from: number, to: number) => forgeListPem(root, { thisUpdate: later(from), nextUpdate: later(to) });
const keyed = forge("keyed", { ca: true, add: [subjectKeyId(Uint8Array.of(1))] });
const warned: [name: string, input: Partial<TrustInput>, expected: string][] = [
  ["nothing", { crlsPem: forgeListPem(root) }, ""],
  ["no lists at all", {}, "no-lists-configured"],
  [
    "an anchor without a list",
    { trustPem: root.pem + namesakeOf("x").pem, crlsPem: forgeListPem(root) },
    "no-list-for-anchor",
  ],
  ["an anchor that has expired", { crlsPem: forgeListPem(root), at: later(366) }, "anchor-expired,list-expired"],
  ["a list that is due in less than a day", { crlsPem: listOf(-10, 0.9) }, "list-due"],
  ["a list that is due later", { crlsPem: listOf(-10, 1.1) }, ""],
  ["a root's list for half a year, a third of it left", { crlsPem: listOf(-59, 121) }, ""],
  ["a root's list that ends within four months", { crlsPem: listOf(-300, 119) }, "list-ends"],
  ["a root's list that ends within a month", { crlsPem: listOf(-366, 29) }, "list-due"],
  ["a short-lived list in its last fifth", { crlsPem: listOf(-0.85, 0.15) }, "list-due"],
  ["a short-lived list before it", { crlsPem: listOf(-0.5, 0.5) }, ""],
  ["a list in its grace", { crlsPem: listOf(-10, -0.5) }, "list-overdue"],
  ["a list behind its grace", { crlsPem: listOf(-10, -1.1) }, "list-expired"],
  ["a list of tomorrow", { crlsPem: listOf(1, 9) }, "list-not-yet-valid"],
  ["a leaf in the bundle, softly", { trustPem: leaf.pem + root.pem, crlsPem: forgeListPem(root) }, "leaf-in-bundle"],
  [
    "a list of an issuer that peers will send, softly",
    { crlsPem: forgeListPem(root) + forgeListPem(middle) },
    "list-unverified",
  ],
  [
    "a list of another key of an anchor's name, softly",
    {
      trustPem: keyed.pem,
      crlsPem: forgeListPem(keyed, {
        signer: forge("keyed", { ca: true }),
        add: [authorityKeyId(Uint8Array.of(2))],
      }),
    },
    "list-unverified",
  ],
];

for (const [name, input, expected] of warned) {
  test(`warns of ${name}`, () => {
    assert.is(codes(input), expected);
    const soft = Result.getOrThrow(make(input)).warnings.filter(({ level }) => level === "debug");
    assert.is(soft.length > 0, name.endsWith("softly"));
  });
}

test("takes as many certificates as are allowed, and no more", () => {
  const copies = (count: number) => make({ trustPem: root.pem.repeat(count) });
  assert.ok(Result.isSuccess(copies(anchorsMax)));
  const outcome = copies(anchorsMax + 1);
  assert.is(Result.isFailure(outcome) && outcome.failure.problem, "too-many");
});

function namesakeOf(name: string): Forged {
  return forge(name, { ca: true, notAfter: new Date(at.getTime() + 9_999 * dayMs) });
}

test("remembers the date of a list without a number, and refuses one that lost its number", () => {
  const list = (days: number, number?: bigint) =>
    forgeListPem(root, { thisUpdate: later(days), ...(number === undefined ? { omitNumber: true } : { number }) });
  const first = Result.getOrThrow(make({ crlsPem: list(-2) })).crlMarks;
  assert.ok(Result.isSuccess(make({ crlsPem: list(-2), crlMarks: first })));
  const code = (crlsPem: string, crlMarks: CrlHighWaterMarks) => {
    const made = make({ crlsPem, crlMarks });
    return Result.isFailure(made) ? made.failure.problem : "made";
  };
  assert.is(code(list(-3), first), "crl-rollback");
  const { refusal } = Result.getOrThrow(Result.flip(make({ crlsPem: list(-3), crlMarks: first })));
  assert.match(refusal?.message ?? "", `none, of ${later(-3).toISOString()}`);
  const numbered = Result.getOrThrow(make({ crlsPem: list(-1, 1n), crlMarks: first })).crlMarks;
  assert.is(code(list(-1), numbered), "crl-rollback");
  assert.is(code(list(-4, 2n), numbered), "made");
});

test("reads lists as DER, one behind the other, and as bytes of PEM", () => {
  const der = Buffer.concat([forgeList(root), forgeList(middle)]);
  const lists = (crlsPem: Uint8Array) => Result.getOrThrow(make({ crlsPem })).snapshot.revocation!.lists.length;
  assert.is(lists(der), 2);
  assert.is(lists(Buffer.from(forgeListPem(root) + "a comment\n" + forgeListPem(middle))), 2);
  const cut = make({ crlsPem: der.subarray(0, -1) });
  assert.is(Result.isFailure(cut) && cut.failure.problem, "crl");
});

test.run();
