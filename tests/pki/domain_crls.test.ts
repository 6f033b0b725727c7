/** Lists of the state directory together with those of a file: what they may do, and whether any are required. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import type { HeldCrl } from "../../pki/crl.ts";
import { markKey, ownDomain } from "../../pki/crl_marks.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { heldCrls } from "../../pki/held_crls.ts";
import { integer, primitive, sequence } from "../../pki/issue/der_writer.ts";
import { authorityKeyId, type Extension, freshestCrl, subjectKeyId } from "../../pki/issue/extensions.ts";
import { admitLearned } from "../../pki/learned_crls.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustInput, type TrustMade } from "../../pki/trust.ts";
import {
  at,
  dayMs,
  forge,
  type Forged,
  forgeList,
  type ForgeListOptions,
  forgeListPem,
  later,
} from "../support/forge.ts";

const test = suite("learned lists");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const [leaf, other] = [forge("leaf", { issuer: middle }), forge("other", { issuer: middle })];
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const revoking = (...leaves: Forged[]): ForgeListOptions => ({
  revoked: leaves.map((each) => certificate(each).serial),
});
const delta = (base: number): ForgeListOptions => ({
  add: [{ oid: "2.5.29.27", critical: true, value: integer(base) }],
});
const list = (number: number, options: ForgeListOptions = {}) =>
  forgeList(middle, { number: BigInt(number), ...options });
const rootList = forgeList(root);

function read(ders: readonly Uint8Array[], cas: readonly Forged[] = [root, middle]): readonly HeldCrl[] {
  return ders.flatMap((der) => {
    const reader = new CrlReader({ cas: cas.map(certificate) });
    reader.push(der);
    return Result.getOrThrow(reader.finish()).map(({ list }): HeldCrl => ({ ...list, learned: true }));
  });
}
const learned = (...ders: readonly Uint8Array[]) => new Map([[ownDomain, read(ders)]]);
const make = (input: Partial<TrustInput> = {}) =>
  Result.getOrThrow(makeTrustSnapshot({
    trustPem: root.pem + middle.pem,
    policy: defaultPolicy,
    generation: 1,
    at,
    rollback: "report",
    ...input,
  }));
const evaluate = ({ snapshot }: TrustMade, who = leaf, time = at, chain: readonly Forged[] = [who, middle]) => {
  const outcome = verifyPath(chain.map(({ der }) => der), snapshot, { at: time });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
};
const alarms = ({ warnings }: TrustMade) => warnings.filter(({ level }) => level === "error").map(({ code }) => code);
/** The next reading of the running process. */
const next = ({ crlMarks, lists: seenLists }: TrustMade, input: Partial<TrustInput>) =>
  make({ crlMarks, seenLists, generation: 2, ...input });
const long = new Date(at.getTime() + 60 * dayMs);

test("where no list is required, what a learned list revokes is refused, and nobody else", () => {
  for (const crls of [undefined, "optional"] as const) {
    const made = make({ crls, learned: learned(list(5, revoking(leaf))) });
    assert.equal([evaluate(made), evaluate(made, other)], ["certificate-revoked", "accepted"], "none of the root");
    assert.is(evaluate(make({ crls, learned: learned(rootList) })), "accepted", "a list of the root alone");
    assert.equal(
      [evaluate(made, leaf, long), evaluate(made, other, long)],
      ["certificate-revoked", "accepted"],
      "it is out",
    );
  }
});

test("where no list is required, one below its mark, a base alone, and one dated ahead refuse only whom they revoke", () => {
  const { crlMarks } = make({ learned: learned(list(9)) });
  const base: ForgeListOptions = { add: [freshestCrl("http://ca.example/d.crl")] };
  const ahead: ForgeListOptions = { thisUpdate: later(1), nextUpdate: later(9) };
  for (
    const [ders, marks] of [[list(5, revoking(leaf)), crlMarks], [list(5, { ...revoking(leaf), ...base }), {}], [
      list(5, { ...revoking(leaf), ...ahead }),
      {},
    ]] as const
  ) {
    const made = make({ learned: learned(ders), crlMarks: marks });
    assert.equal([evaluate(made), evaluate(made, other)], ["certificate-revoked", "accepted"]);
    assert.is(alarms(made).length, 0);
  }
});

test("where no list is required, a CA that a learned list revokes is no anchor, and none is unclear", () => {
  const made = make({ learned: learned(forgeList(root, { number: 5n, ...revoking(middle) })) });
  assert.is(evaluate(made), "certificate-revoked");
  assert.is(made.snapshot.anchors.length, 1);
  const lost = make({ crlMarks: made.crlMarks });
  assert.is(lost.snapshot.anchors.length, 2, "the list is lost: it refuses nobody");
  assert.equal(heldCrls(lost.snapshot).lacking.map(({ number }) => number), ["5"], "and it is asked for");
});

test("where lists are required, learned lists clear, and none at all refuses everybody", () => {
  const required = { crls: "required" } as const;
  assert.is(evaluate(make(required)), "revocation-unknown");
  assert.is(evaluate(make({ ...required, learned: learned(rootList) })), "revocation-unknown");
  const made = make({ ...required, learned: learned(rootList, list(5, revoking(leaf))) });
  assert.equal([evaluate(made), evaluate(made, other)], ["certificate-revoked", "accepted"]);
  assert.is(evaluate(made, other, long), "crl-expired");
});

test("warns of a base without its delta, and of a CA without a list, where lists are required, and only there", () => {
  const base = learned(list(5, { add: [freshestCrl("http://ca.example/d.crl")] }));
  const codes = (crls: "required" | "optional", input: Partial<TrustInput>) =>
    make({ crls, ...input }).warnings.filter(({ level }) => level !== "debug").map(({ code }) => code);
  assert.equal(codes("required", { learned: base }), ["no-list-for-anchor", "list-lacks-delta"]);
  assert.equal(codes("required", {}), ["no-list-for-anchor", "no-list-for-anchor"]);
  assert.equal(codes("optional", { learned: base }), []);
  assert.equal(codes("optional", {}), ["no-lists-configured"]);
  assert.equal(codes("optional", { learned: learned(rootList), at: later(31) }), ["list-overdue"]);
});

test("a file of lists makes them required, whatever else is said", () => {
  const crlsPem = Buffer.from(rootList);
  assert.is(evaluate(make({ crlsPem, crls: "optional" }), leaf, at, [leaf, middle]), "revocation-unknown");
  const made = make({ crlsPem, learned: learned(list(5, revoking(leaf))) });
  assert.equal([evaluate(made), evaluate(made, other)], ["certificate-revoked", "accepted"]);
});

test("lists are required in each trust domain for itself", () => {
  const partner = forge("partner", { ca: true });
  const theirs = forge("theirs", { issuer: partner });
  const domain = { name: "partner.example", trust: partner.pem };
  const of = (input: Partial<TrustInput>) => {
    const made = make(input);
    return [evaluate(made, other), evaluate(made, theirs, at, [theirs])];
  };
  assert.equal(of({ crls: "required", domains: [domain] }), ["revocation-unknown", "accepted"]);
  assert.equal(of({ domains: [{ ...domain, crls: "required" }] }), ["accepted", "revocation-unknown"]);
  const lists = new Map([[
    "partner.example",
    read([forgeList(partner, { number: 5n, ...revoking(theirs) })], [partner]),
  ]]);
  assert.equal(of({ domains: [domain], learned: lists }), ["accepted", "certificate-revoked"]);
});

test("a learned list stays in force when its file is gone, until a newer one takes its place", () => {
  const first = make({ crls: "required", learned: learned(rootList, list(5, revoking(leaf))) });
  const gone = next(first, { crls: "required" });
  assert.equal([evaluate(gone), evaluate(gone, other)], ["certificate-revoked", "accepted"]);
  const later = next(gone, { crls: "required", learned: learned(list(6)) });
  assert.is(evaluate(later), "accepted");
  const numbers = (later.lists.get(ownDomain) ?? []).map(({ number }) => number).toSorted();
  assert.equal(numbers, ["1", "6"], "the older one is let go");
});

test("a learned list of a CA that the domain has not, or has no more, counts for nothing", () => {
  const stranger = forge("stranger", { ca: true });
  const lists = read([forgeList(stranger, { number: 5n })], [stranger]);
  assert.equal(make({ learned: new Map([[ownDomain, lists]]) }).lists.get(ownDomain), []);
  const first = make({ learned: learned(list(5)) });
  assert.equal(next(first, { trustPem: root.pem }).lists.get(ownDomain), []);
});

test("a list that an earlier process vouched for counts only as long as its CA, once known, signed it", () => {
  const forged = read([list(99, { ...revoking(leaf), signer: root })], [root])
    .map((each): HeldCrl => ({ ...each, vouchedBy: markKey(certificate(middle)) }));
  const made = make({ learned: new Map([[ownDomain, forged]]) });
  assert.equal([made.lists.get(ownDomain), Object.keys(made.crlMarks)], [[], []]);
  const honest = read([list(5, revoking(leaf))], [root])
    .map((each): HeldCrl => ({ ...each, vouchedBy: markKey(certificate(middle)) }));
  assert.is(evaluate(make({ learned: new Map([[ownDomain, honest]]) })), "certificate-revoked");
});

test("a delta that was learned goes onto its base, and one that is lost clears nobody", () => {
  const required = { crls: "required" } as const;
  const [base, change] = [list(5, revoking(other)), list(7, { ...delta(5), ...revoking(leaf) })];
  const both = make({ ...required, learned: learned(rootList, base, change) });
  assert.equal([evaluate(both), evaluate(both, other)], ["certificate-revoked", "certificate-revoked"]);
  const lost = make({ ...required, crlMarks: both.crlMarks, learned: learned(rootList, base) });
  assert.equal([evaluate(lost), evaluate(lost, other)], ["crl-rollback", "certificate-revoked"]);
  assert.equal(alarms(lost), ["crl-rollback"]);
  assert.equal(heldCrls(lost.snapshot).lacking.map(({ number }) => number), ["7"]);
  const cumulative = next(both, { ...required, learned: learned(list(8, { ...delta(5), ...revoking(leaf, other) })) });
  const held = (cumulative.lists.get(ownDomain) ?? []).map(({ number }) => number).toSorted();
  assert.equal(held, ["1", "5", "8"], "the delta before it is let go");
});

test("bug: a delta that another key of the same name signed was put onto a list", () => {
  const id = Uint8Array.of(2);
  const [former, present] = [forge("twin", { ca: true }), forge("twin", { ca: true, add: [subjectKeyId(id)] })];
  const [good, bad] = [forge("good", { issuer: present }), forge("bad", { issuer: present })];
  const listOf = (issuer: Forged, number: bigint, options: ForgeListOptions) =>
    forgeList(issuer, { number, ...options, add: [...options.add ?? [], authorityKeyId(id)] });
  const complete = listOf(present, 5n, revoking(bad));
  const foreign = listOf(former, 6n, delta(1));
  const verdicts = (made: TrustMade) => [good, bad].map((who) => evaluate(made, who, at, [who]));
  const right = ["accepted", "certificate-revoked"];
  const both = { trustPem: former.pem + present.pem };
  const lists = (...ders: Uint8Array[]) => new Map([[ownDomain, read(ders, [former, present])]]);
  assert.equal(verdicts(make({ ...both, learned: lists(complete, foreign) })), right, "optional");
  const file = { crlsPem: Buffer.concat([complete, forgeList(former)]) };
  const required = make({ ...both, ...file, learned: lists(foreign) });
  assert.equal(verdicts(required), right, "required");
  const alone = { trustPem: present.pem, crlsPem: Buffer.from(complete) };
  const removed = next(required, { ...alone, learned: lists(foreign) });
  assert.equal(verdicts(removed), right, "without the CA that signed it");
  const marks = required.crlMarks;
  const terms = { domain: ownDomain, key: markKey(certificate(former)), marks, marksFile: "read", at } as const;
  const admitted = admitLearned(read([foreign], []), terms).lists;
  assert.is(admitted.length, 1);
  const restarted = make({ ...alone, crlMarks: marks, learned: new Map([[ownDomain, admitted]]) });
  assert.equal(verdicts(restarted), right, "after a restart");
});

test("bug: of two CAs of one name, without key identifiers, one delta was put onto the lists of both", () => {
  const cas = ["first", "second"].map(() => forge("twin", { ca: true }));
  const groups = cas.map((issuer) => {
    const [good, bad, worse] = ["good", "bad", "worse"].map((name) => forge(name, { issuer }));
    const complete = forgeList(issuer, { number: 5n, ...revoking(bad!) });
    const change = forgeList(issuer, { number: 6n, ...delta(5), ...revoking(worse!) });
    return { lists: [complete, change], leaves: [good!, bad!, worse!] };
  });
  const lists = new Map([[ownDomain, read(groups.flatMap(({ lists }) => lists), cas)]]);
  for (const crls of ["required", "optional"] as const) {
    const made = make({ trustPem: cas.map(({ pem }) => pem).join(""), crls, learned: lists });
    for (const { leaves } of groups) {
      const verdicts = leaves.map((who) => evaluate(made, who, at, [who]));
      assert.equal(verdicts, ["accepted", "certificate-revoked", "certificate-revoked"], crls);
    }
  }
});

test("a learned list with the number of another and other content: an alarm, and what either revokes is refused", () => {
  const first = make({ crls: "required", learned: learned(rootList, list(5, revoking(leaf))) });
  const twin = next(first, { crls: "required", learned: learned(rootList, list(5, revoking(other))) });
  assert.equal([evaluate(twin), evaluate(twin, other)], ["certificate-revoked", "certificate-revoked"]);
  assert.equal(alarms(twin), ["crl-equivocation"]);
  assert.is(
    evaluate(next(twin, { crls: "required", learned: learned(list(6)) })),
    "accepted",
    "a higher number ends it",
  );
});

test("the operator's file may lie behind what was learned without an alarm, and not behind itself", () => {
  const file = (number: number) => ({ crlsPem: Buffer.concat([rootList, list(number)]) });
  const started = make(file(5));
  const ahead = next(started, { ...file(5), learned: learned(list(9, revoking(leaf))) });
  assert.equal([evaluate(ahead), alarms(ahead)], ["certificate-revoked", []]);
  const renewed = next(ahead, { ...file(6), learned: learned(list(9, revoking(leaf))) });
  assert.equal([evaluate(renewed), alarms(renewed)], ["certificate-revoked", []]);
  const back = next(renewed, { ...file(5), learned: learned(list(9, revoking(leaf))) });
  assert.equal([evaluate(back), alarms(back)], ["certificate-revoked", ["crl-rollback"]]);
  const restarted = make({ ...file(6), crlMarks: ahead.crlMarks, learned: learned(list(9, revoking(leaf))) });
  assert.equal([evaluate(restarted), alarms(restarted)], ["certificate-revoked", []]);
  const lost = make({ ...file(6), crlMarks: ahead.crlMarks });
  assert.equal([evaluate(lost), alarms(lost)], ["crl-rollback", ["crl-rollback"]], "the learned list is lost");
  const caughtUp = next(ahead, file(10));
  assert.equal(Object.values(caughtUp.crlMarks).map(({ number, given }) => [number, given]).toSorted(), [
    ["1", undefined],
    ["10", undefined],
  ]);
});

test("where lists are required, a CA whose key another certificate has is no anchor while the list of that key is lost", () => {
  const trustPem = root.pem + forge("root", { ca: true, keyOf: root }).pem;
  const made = make({ trustPem, crls: "required", learned: learned(rootList) });
  assert.is(made.snapshot.anchors.length, 2);
  assert.is(make({ trustPem, crls: "required", crlMarks: made.crlMarks }).snapshot.anchors.length, 0);
  assert.is(make({ trustPem: root.pem, crls: "required", crlMarks: made.crlMarks }).snapshot.anchors.length, 1);
});

test("where lists are required, an older list takes those CAs out of the anchors that it covers, and no others", () => {
  const scope = (tag: number): { add: Extension[] } => ({
    add: [{ oid: "2.5.29.28", critical: true, value: sequence(primitive(tag, Uint8Array.of(0xff))) }],
  });
  const anchorsOf = (tag: number) => {
    const numbered = (number: bigint) => learned(forgeList(root, { number, ...scope(tag) }));
    const { crlMarks } = make({ crls: "required", learned: numbered(9n) });
    return make({ crls: "required", crlMarks, learned: numbered(8n) }).snapshot.anchors.length;
  };
  const [users, cas] = [0x81, 0x82];
  assert.equal([anchorsOf(users), anchorsOf(cas)], [2, 1]);
});

test("a domain that is read later does not take back the marks of another", () => {
  const domains = [{ name: "a.example", trust: root.pem + middle.pem }, { name: "b.example", trust: root.pem }];
  const listsOf = (number: number) => new Map([["a.example", read([list(number)])]]);
  const first = make({ domains, learned: listsOf(5) });
  const { crlMarks } = next(first, { domains, learned: listsOf(6) });
  assert.equal(Object.values(crlMarks).map(({ domain, number }) => [domain, number]), [["a.example", "6"]]);
});

test("a list that comes twice is kept once, and lists without a hash are all kept", () => {
  const lists = read([rootList, list(5)]);
  const kept = (seen: readonly HeldCrl[], again: readonly HeldCrl[]) =>
    make({ seenLists: new Map([[ownDomain, seen]]), learned: new Map([[ownDomain, again]]) }).lists.get(ownDomain)
      ?.length;
  assert.is(kept(lists, lists), 2);
  assert.is(kept(lists.map(({ sha256: _, ...rest }) => rest), []), 2);
});

test("a file with a list that is older than before is refused with the list's line, and the domain's name", () => {
  const pem = (number: bigint) => forgeListPem(root) + forgeListPem(middle, { number });
  const trust = root.pem + middle.pem;
  const line = pem(5n).split("\n").lastIndexOf("-----BEGIN X509 CRL-----") + 1;
  const own = { trustPem: trust, policy: defaultPolicy, at };
  const problemOf = (input: Pick<TrustInput, "domains" | "crlsPem">, before: TrustInput["domains"]) => {
    const first = make({ ...input, domains: before, crlsPem: before === undefined ? pem(5n) : undefined });
    const { crlMarks, lists: seenLists } = first;
    const made = makeTrustSnapshot({ ...own, ...input, generation: 2, crlMarks, seenLists });
    if (Result.isSuccess(made)) throw new Error("it is taken");
    const { problem, line, domain } = made.failure;
    return [problem, line, domain];
  };
  const partner = (number: bigint) => [{ name: "a.example", trust, crlsPem: pem(number) }];
  assert.equal(problemOf({ crlsPem: pem(4n) }, undefined), ["crl-rollback", line, undefined]);
  assert.equal(problemOf({ domains: partner(4n) }, partner(5n)), ["crl-rollback", line, "a.example"]);
});

test("says of each older list whether a newer one is saved, and of each lost one whether that refuses anything", () => {
  const side = forge("side", { ca: true, issuer: root });
  const trustPem = root.pem + middle.pem + side.pem;
  const pem = (number: bigint) => forgeListPem(root, { number }) + forgeListPem(middle, { number });
  const sideList = (number: bigint) => new Map([[ownDomain, read([forgeList(side, { number })], [side])]]);
  const { crlMarks, lists } = make({ trustPem, crlsPem: pem(9n), learned: sideList(9n) });
  const saved = new Map([[ownDomain, (lists.get(ownDomain) ?? []).filter(({ issuer }) => issuer.text === "CN=root")]]);
  const { warnings } = make({ trustPem, crlsPem: pem(5n), crlMarks, seenLists: saved, learned: sideList(8n) });
  const said = warnings.filter(({ code }) => code === "crl-rollback");
  const line = pem(5n).split("\n").lastIndexOf("-----BEGIN X509 CRL-----") + 1;
  assert.equal(said.map(({ subject, line, level }) => [subject, line, level]), [
    ["CN=root", 1, "error"],
    ["CN=middle", line, "error"],
    ["CN=side", undefined, "error"],
  ]);
  assert.match(said[0]!.message, ": the node uses the newer list that it saved.");
  assert.match(said[1]!.message, "it clears no certificate, so that certificates of CN=middle are refused");
  assert.match(said[2]!.message, "it clears no certificate, so that certificates of CN=side are refused, until");
  const optional = make({ trustPem, crlMarks, learned: sideList(8n) }).warnings;
  const lost = optional.filter(({ code }) => code === "crl-rollback");
  assert.equal(lost.map(({ subject, level }) => [subject, level]), [["CN=side", "warn"]]);
  assert.match(lost[0]!.message, "it clears no certificate, until the newer one is fetched again");
});

test.run();
