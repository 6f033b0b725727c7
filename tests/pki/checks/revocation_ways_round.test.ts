/** Ways round a revocation that somebody might try, each of which must lead nowhere. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../../pki/certificate.ts";
import { constructed, integer, primitive, sequence } from "../../../pki/issue/der_writer.ts";
import { authorityKeyId, type Extension, keyUsage } from "../../../pki/issue/extensions.ts";
import { CrlReader } from "../../../pki/crl_reader.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustInput } from "../../../pki/trust.ts";
import {
  at,
  dayMs,
  forge,
  type Forged,
  forgeList,
  type ForgeListOptions,
  forgeListPem,
  later,
} from "../../support/forge.ts";

const test = suite("ways round revocation");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle });
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;
const rootList = forgeListPem(root);
const revoking: ForgeListOptions = { revoked: [serial(leaf)] };

const make = (crlsPem: TrustInput["crlsPem"], more: Partial<TrustInput> = {}) =>
  makeTrustSnapshot({ trustPem: root.pem, crlsPem, policy: defaultPolicy, generation: 1, at, ...more });

function evaluate(crlsPem: string, chain: readonly Forged[] = [leaf, middle], time = at, trustPem = root.pem): string {
  const made = make(crlsPem, { trustPem });
  if (Result.isFailure(made)) return `file: ${made.failure.problem}`;
  const outcome = verifyPath(chain.map(({ der }) => der), made.success.snapshot, { at: time });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

const delta = (base: number, ...more: Extension[]): Extension[] => [
  { oid: "2.5.29.27", critical: true, value: integer(base) },
  ...more,
];
const scope = (...parts: Uint8Array[]): Extension => ({ oid: "2.5.29.28", critical: true, value: sequence(...parts) });
const flag = (number: number) => primitive(number, Uint8Array.of(0xff));
const point = (uri: string) => constructed(0, constructed(0, primitive(6, Buffer.from(uri))));
const back = { revoked: [{ serial: serial(leaf), reason: 8 }] };
const held = { revoked: [{ serial: serial(leaf), reason: 6 }] };

test("a list of users only does not clear a CA that the CA's own list revokes", () => {
  const users = forgeListPem(root, { number: 9n, add: [scope(flag(1))] });
  const cas = forgeListPem(root, { number: 1n, revoked: [serial(middle)], add: [scope(flag(2))] });
  const lists = users + cas + forgeListPem(middle);
  assert.is(evaluate(lists), "certificate-revoked");
  assert.is(evaluate(users + forgeListPem(middle)), "revocation-unknown", "nobody speaks about the CA");
});

test("a list of another distribution point does not clear", () => {
  const points = (uri: string) => ({ oid: "2.5.29.31", critical: false, value: sequence(sequence(point(uri))) });
  const sharded = forge("leaf", { issuer: middle, add: [points("http://crl.example/1")] });
  const own = forgeListPem(middle, { ...{ revoked: [serial(sharded)] }, add: [scope(point("http://crl.example/1"))] });
  const other = forgeListPem(middle, { number: 9n, add: [scope(point("http://crl.example/2"))] });
  assert.is(evaluate(rootList + own + other, [sharded, middle]), "certificate-revoked");
  assert.is(evaluate(rootList + other, [sharded, middle]), "revocation-unknown");
});

test("a list of other reasons does not clear, and one of the reason at hand revokes", () => {
  const reasons = (octet: number, more: number) => scope(Uint8Array.of(0x83, 3, 7, octet, more));
  const compromise = forgeListPem(middle, { ...revoking, add: [reasons(0x40, 0)] });
  const others = forgeListPem(middle, { number: 9n, add: [reasons(0x3f, 0x80)] });
  assert.is(evaluate(rootList + others), "revocation-unknown");
  assert.is(evaluate(rootList + compromise + others), "certificate-revoked");
});

test("takes nothing back by removeFromCRL in a complete list", () => {
  assert.is(evaluate(rootList + forgeListPem(middle, back)), "file: crl");
});

test("takes nothing back by a delta of another base, another issuer, another key or another scope", () => {
  const complete = (number: bigint) => rootList + forgeListPem(middle, { ...held, number });
  const change = (base: number, options: ForgeListOptions = {}) =>
    forgeListPem(middle, { number: 9n, add: delta(base), ...back, ...options });
  assert.is(evaluate(complete(5n) + change(5)), "accepted", "this one fits");
  assert.is(evaluate(complete(5n) + change(6)), "certificate-revoked");
  assert.is(evaluate(complete(5n) + forgeListPem(root, { number: 9n, add: delta(5), ...back })), "certificate-revoked");
  assert.is(evaluate(complete(5n) + change(5, { signer: forge("middle", { ca: true }) })), "crl-signature");
  const keyed = change(5, { add: delta(5, authorityKeyId(new Uint8Array(20))) });
  assert.is(evaluate(complete(5n) + keyed), "certificate-revoked");
  assert.is(evaluate(complete(5n) + change(5, { add: delta(5, scope(flag(1))) })), "certificate-revoked");
});

test("takes nothing back by a delta that is not in force yet, and revokes by it", () => {
  const [thisUpdate, nextUpdate] = [later(1), later(40)];
  const complete = rootList + forgeListPem(middle, { ...held, number: 5n });
  const early = forgeListPem(middle, { number: 6n, add: delta(5), ...back, thisUpdate, nextUpdate });
  assert.is(evaluate(complete + early), "crl-not-yet-valid");
  assert.is(evaluate(complete + early, [leaf, middle], new Date(thisUpdate.getTime() - 1)), "crl-not-yet-valid");
  assert.is(evaluate(complete + early, [leaf, middle], thisUpdate), "accepted");
  const clean = rootList + forgeListPem(middle, { number: 5n });
  const coming = forgeListPem(middle, { number: 6n, add: delta(5), ...revoking, thisUpdate, nextUpdate });
  assert.is(evaluate(clean + coming), "certificate-revoked");
});

test("takes the newest delta, whatever lists without a number stand among them", () => {
  // By date the list without a number is older than one delta and newer than the other, by number nothing is known.
  const numbers: [bigint, number, ForgeListOptions][] = [[6n, 3, back], [7n, 1, {}]];
  const deltas = numbers.map(([number, days, options]) =>
    forgeListPem(middle, { number, add: delta(5), thisUpdate: later(-10 + days), ...options })
  );
  const bare = forgeListPem(forge("other", { ca: true }), { omitNumber: true, thisUpdate: later(-8) });
  const complete = rootList + forgeListPem(middle, { ...held, number: 5n, thisUpdate: later(-11) });
  for (const order of [[0, 1], [1, 0]] as const) {
    const lists = order.map((index) => deltas[index]!);
    assert.is(evaluate(complete + lists[0] + bare + lists[1]), "certificate-revoked");
  }
});

test("does not read a serial another way: with leading zeros, negative, or cut", () => {
  const high = forge("leaf", { issuer: middle, serial: Buffer.from("00ff01", "hex") });
  assert.is(evaluate(rootList + forgeListPem(middle, { revoked: ["ff01"] }), [high, middle]), "certificate-revoked");
  for (const other of ["ff", "ff0100", "01ff01", "7f01"]) {
    assert.is(evaluate(rootList + forgeListPem(middle, { revoked: [other] }), [high, middle]), "accepted", other);
  }
  const bend = (from: string, to: string) => {
    const der = Buffer.from(forgeList(middle, { revoked: ["7a7b7c"] }));
    const place = der.indexOf(Buffer.from(from, "hex"));
    return Buffer.concat([der.subarray(0, place), Buffer.from(to, "hex"), der.subarray(place + from.length / 2)]);
  };
  const file = (der: Buffer) => Result.isFailure(make(der)) ? "refused" : "taken";
  assert.is(file(bend("02037a7b7c", "02037a7b7c")), "taken");
  assert.is(file(bend("02037a7b7c", "0203fa7b7c")), "refused", "negative");
  assert.is(file(bend("02037a7b7c", "0203007b7c")), "refused", "not minimal");
});

test("is not cleared by a list of a namesake, nor by one without the right to sign lists", () => {
  const namesake = forge("middle", { ca: true, issuer: root });
  assert.is(evaluate(rootList + forgeListPem(namesake)), "crl-signature");
  assert.is(evaluate(rootList + forgeListPem(namesake, { number: 9n }), [leaf, middle, namesake]), "crl-signature");
  const mute = forge("middle", { ca: true, issuer: root, keyOf: middle, add: [keyUsage(["keyCertSign"])] });
  assert.is(evaluate(rootList + forgeListPem(middle), [leaf, mute]), "crl-signature");
});

test("stays revoked when the newest list is past its time", () => {
  const lists = rootList + forgeListPem(middle, { ...revoking, number: 2n, nextUpdate: later(1) }) +
    forgeListPem(middle, { number: 1n, nextUpdate: later(300) });
  assert.is(evaluate(lists, [leaf, middle], new Date(at.getTime() + 30 * dayMs)), "certificate-revoked");
});

test("an anchor is taken out by its issuer's newest list, not by an old one", () => {
  const both = root.pem + middle.pem;
  const now = (old: ForgeListOptions, fresh: ForgeListOptions) =>
    evaluate(
      forgeListPem(root, { number: 1n, ...old }) + forgeListPem(root, { number: 2n, ...fresh }) + forgeListPem(middle),
      [leaf],
      at,
      both,
    );
  const hold = { revoked: [{ serial: serial(middle), reason: 6 }] };
  assert.is(now({}, hold), "unknown-issuer");
  assert.is(now(hold, {}), "accepted");
  assert.is(now({}, { ...hold, add: [scope(flag(1))] }), "accepted", "a list of users only says nothing of CAs");
});

/** The marks that a first file leaves, and what then becomes of a second. */
function afterwards(first: TrustInput["crlsPem"], second: TrustInput["crlsPem"]): string {
  const { crlMarks, lists: seenLists } = Result.getOrThrow(make(first));
  const made = make(second, { crlMarks, seenLists, generation: 2 });
  return Result.isSuccess(made) ? "taken" : made.failure.problem;
}

test("a list that is taken out of the file clears no anchor that it revoked, nor any other of its issuer", () => {
  const trustPem = root.pem + middle.pem;
  const hold = { revoked: [{ serial: serial(middle), reason: 6 }] };
  const first = Result.getOrThrow(
    make(forgeListPem(root, { number: 5n, ...hold }) + forgeListPem(middle), { trustPem }),
  );
  const second = (rollback: "refuse" | "report", seenLists: TrustInput["seenLists"], crlsPem: string) => {
    const made = make(crlsPem, { trustPem, crlMarks: first.crlMarks, seenLists, rollback, generation: 2 });
    const { snapshot, warnings } = Result.getOrThrow(made);
    const outcome = verifyPath([leaf.der], snapshot, { at });
    return [Result.isSuccess(outcome) ? "accepted" : outcome.failure.code, warnings.map(({ code }) => code)] as const;
  };
  for (const rollback of ["refuse", "report"] as const) {
    for (const seen of [first.lists, undefined]) {
      const [outcome, warnings] = second(rollback, seen, forgeListPem(middle));
      assert.is(outcome, "unknown-issuer");
      // The list stays in force where it is still known; where only its mark is, the CA is neither cleared nor revoked.
      assert.ok(warnings.includes(seen === undefined ? "anchor-unclear" : "anchor-revoked"), warnings.join());
    }
    const [back] = second(rollback, first.lists, forgeListPem(root, { number: 6n }) + forgeListPem(middle));
    assert.is(back, "accepted", "a newer list that clears it");
  }
});

test("a list of users only that is taken out says nothing of CAs", () => {
  const trustPem = root.pem + middle.pem;
  const lists = forgeListPem(root) + forgeListPem(middle);
  const { crlMarks } = Result.getOrThrow(make(lists + forgeListPem(root, { add: [scope(flag(1))] }), { trustPem }));
  assert.is(Result.getOrThrow(make(lists, { trustPem, crlMarks })).snapshot.anchors.length, 2);
});

test("an old list is a rollback, whether the new one was read here or in another thread", () => {
  const [cas] = [[Result.getOrThrow(parseCertificate(root.der))]];
  const apart = (options: ForgeListOptions) => {
    const reader = new CrlReader({ cas, shared: true });
    reader.push(forgeList(root, options));
    return structuredClone(Result.getOrThrow(reader.finish()));
  };
  const here = (options: ForgeListOptions) => forgeListPem(root, options);
  for (const [first, second] of [[apart, here], [here, apart], [apart, apart]] as const) {
    assert.is(afterwards(first({ number: 5n }), second({ number: 4n })), "crl-rollback");
    assert.is(afterwards(first({ number: 5n }), second({ number: 5n })), "taken");
  }
});

test("an old list is a rollback though it names no key, where the new one names one", () => {
  const named = forgeListPem(root, { number: 5n, add: [authorityKeyId(new Uint8Array(20).fill(7))] });
  assert.is(afterwards(named, forgeListPem(root, { number: 4n })), "crl-rollback");
  assert.is(afterwards(named, forgeListPem(root, { number: 6n })), "taken");
  assert.is(afterwards(named, named + forgeListPem(root, { number: 4n })), "taken", "the newest of the file counts");
});

test("a CA's new key counts from 1 again", () => {
  const renewed = forge("root", { ca: true });
  const first = forgeListPem(root, { number: 5n });
  const { crlMarks } = Result.getOrThrow(make(first));
  const trustPem = root.pem + renewed.pem;
  assert.ok(Result.isSuccess(make(first + forgeListPem(renewed, { number: 1n }), { crlMarks, trustPem })));
});

test("an old delta is a rollback, and an old list of another scope is one of its own", () => {
  const base = forgeListPem(root, { number: 3n });
  const change = (number: bigint) => base + forgeListPem(root, { number, add: delta(3) });
  assert.is(afterwards(change(9n), change(8n)), "crl-rollback");
  assert.is(afterwards(change(8n), change(9n)), "taken");
  assert.is(afterwards(change(9n), change(9n)), "taken");
  const users = (number: bigint) => forgeListPem(root, { number, add: [scope(flag(1))] });
  assert.is(afterwards(users(5n), users(4n)), "crl-rollback");
});

test("a lost delta is a rollback: what it revoked is not cleared by its base, nor by a complete list before it", () => {
  const both = rootList + forgeListPem(root, { number: 9n, add: delta(1) });
  assert.is(afterwards(both, rootList), "crl-rollback");
  assert.is(afterwards(both, forgeListPem(root, { number: 4n })), "crl-rollback");
  assert.is(afterwards(both, forgeListPem(root, { number: 8n })), "crl-rollback");
  assert.is(afterwards(both, forgeListPem(root, { number: 9n })), "taken");
  assert.is(afterwards(both, both), "taken");
});

test("a newer complete list onto which a delta does not fit hides nothing that the newer delta revokes", () => {
  const base = forgeListPem(middle, { number: 5n });
  const change = forgeListPem(middle, { number: 9n, add: delta(5), ...revoking });
  const keyed = forgeListPem(middle, { number: 7n, add: [authorityKeyId(new Uint8Array(20))] });
  assert.is(evaluate(rootList + base + change + keyed), "certificate-revoked");
  const caughtUp = forgeListPem(middle, { number: 10n, add: [authorityKeyId(new Uint8Array(20))] });
  assert.is(evaluate(rootList + base + change + caughtUp), "accepted");
});

test("of two lists with one number what either revokes is revoked, whichever date is the later", () => {
  for (const [first, second] of [[-3, -2], [-2, -3]] as const) {
    const clean = forgeListPem(middle, { number: 5n, thisUpdate: later(first) });
    const lists = clean + forgeListPem(middle, { number: 5n, thisUpdate: later(second), ...revoking });
    assert.is(evaluate(rootList + lists), "certificate-revoked");
    assert.is(evaluate(rootList + lists + forgeListPem(middle, { number: 6n })), "accepted");
  }
});

test.run();
