import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../../pki/certificate.ts";
import { constructed, integer, primitive, sequence } from "../../../pki/issue/der_writer.ts";
import { freshestCrl, keyUsage } from "../../../pki/issue/extensions.ts";
import { checkRevocation, checkValidity, checkWellFormed, findPaths, verifyPath } from "../../../pki/path.ts";
import type { Refusal, Tried } from "../../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { at, dayMs, forge, type Forged, type ForgeListOptions, forgeListPem, later } from "../../support/forge.ts";

const test = suite("checkRevocation()");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle });
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;
const rootList = forgeListPem(root);
const middleList = forgeListPem(middle);

function verify(crlsPem: string | undefined, options: { anchors?: Forged[]; chain?: Forged[]; at?: Date } = {}) {
  const { anchors = [root], chain = [leaf, middle] } = options;
  const trustPem = anchors.map(({ pem }) => pem).join("");
  const made = Result.getOrThrow(
    makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation: 1, at }),
  );
  return verifyPath(chain.map(({ der }) => der), made.snapshot, { at: options.at ?? at });
}

function evaluate(crlsPem: string | undefined, options: Parameters<typeof verify>[1] = {}): string {
  const outcome = verify(crlsPem, options);
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

function refusalOf(crlsPem: string, options: Parameters<typeof verify>[1] = {}): Refusal {
  const outcome = verify(crlsPem, options);
  if (Result.isSuccess(outcome)) throw new Error("it was accepted");
  return outcome.failure;
}

test("accepts without lists", () => assert.is(evaluate(undefined), "accepted"));
test("accepts with the lists of all issuers", () => assert.is(evaluate(rootList + middleList), "accepted"));

test("refuses a revoked leaf, by a list whose issuer only the peer sends", () => {
  const refusal = refusalOf(rootList + forgeListPem(middle, { revoked: [{ serial: serial(leaf), reason: 1 }] }));
  assert.is(refusal.code, "certificate-revoked");
  assert.ok(refusal._tag === "CertificateRevoked");
  assert.equal([refusal.reason, refusal.revokedAt, refusal.issuer], ["keyCompromise", later(-1), "CN=middle"]);
  assert.is(refusal.certificate.serial, serial(leaf));
});

test("refuses a revoked leaf whose issuer is the anchor", () => {
  const lists = forgeListPem(middle, { revoked: [serial(leaf)] });
  assert.is(evaluate(lists, { anchors: [middle] }), "certificate-revoked");
  assert.is(evaluate(middleList, { anchors: [middle] }), "accepted");
});

test("refuses a revoked intermediate, and a leaf below it", () => {
  const refusal = refusalOf(forgeListPem(root, { revoked: [serial(middle)] }) + middleList);
  assert.ok(refusal._tag === "CertificateRevoked");
  assert.is(refusal.certificate.subject, "CN=middle");
});

test("does not take a serial for revoked because another issuer revoked it", () => {
  assert.is(evaluate(forgeListPem(root, { revoked: [serial(leaf)] }) + middleList), "accepted");
});

test("refuses where an issuer has no list, for each certificate below the anchor", () => {
  assert.is(evaluate(rootList), "revocation-unknown");
  assert.is(evaluate(middleList), "revocation-unknown");
});

test("does not look the anchor up", () => assert.is(evaluate(middleList, { anchors: [middle] }), "accepted"));

test("prefers to say that it is revoked to saying that another list is missing", () => {
  assert.is(evaluate(forgeListPem(root, { revoked: [serial(middle)] })), "certificate-revoked");
  assert.is(evaluate(forgeListPem(middle, { revoked: [serial(leaf)] })), "certificate-revoked");
});

test("counts a list up to its next update and the grace behind it", () => {
  const nextUpdate = later(0);
  const lists = rootList + forgeListPem(middle, { nextUpdate });
  const end = nextUpdate.getTime() + defaultPolicy.crlGraceMs;
  assert.is(evaluate(lists, { at: nextUpdate }), "accepted");
  assert.is(evaluate(lists, { at: new Date(end) }), "accepted");
  assert.is(evaluate(lists, { at: new Date(end + 1) }), "crl-expired");
});

test("counts a list from its this update on", () => {
  const lists = rootList + forgeListPem(middle, { thisUpdate: at });
  assert.is(evaluate(lists), "accepted");
  assert.is(evaluate(lists, { at: new Date(at.getTime() - 1) }), "crl-not-yet-valid");
});

test("counts a list with its delta from the later of their this updates on", () => {
  const [early, late] = [later(-0.9), later(-0.5)];
  const lists = (list: Date, delta: Date) => complete(5n, { thisUpdate: list }) + change(6n, 5, { thisUpdate: delta });
  for (const merged of [lists(early, late), lists(late, early)]) {
    assert.is(evaluate(merged, { at: late }), "accepted");
    assert.is(evaluate(merged, { at: new Date(late.getTime() - 1) }), "crl-not-yet-valid");
  }
});

test("keeps refusing a revoked certificate when the list is overdue", () => {
  const lists = rootList + forgeListPem(middle, { nextUpdate: at, revoked: [serial(leaf)] });
  assert.is(evaluate(lists, { at: new Date(at.getTime() + 3 * dayMs) }), "certificate-revoked");
});

test("takes the newest of several lists, wherever it stands", () => {
  const old = forgeListPem(middle, { number: 1n });
  const fresh = forgeListPem(middle, { number: 2n, revoked: [serial(leaf)] });
  assert.is(evaluate(rootList + old + fresh), "certificate-revoked");
  assert.is(evaluate(rootList + fresh + old), "certificate-revoked");
  const held = forgeListPem(middle, { number: 1n, revoked: [{ serial: serial(leaf), reason: 6 }] });
  const released = forgeListPem(middle, { number: 2n });
  assert.is(evaluate(rootList + held + released), "accepted");
  assert.is(evaluate(rootList + released + held), "accepted");
});

test("of lists as old as each other the first one counted alone, so that a revocation was lost behind it", () => {
  const revoking = { revoked: [serial(leaf)] };
  const bare = [forgeListPem(middle, { omitNumber: true }), forgeListPem(middle, { omitNumber: true, ...revoking })];
  const numbered = [forgeListPem(middle), forgeListPem(middle, revoking)];
  const deltas = [change(6n, 5), change(6n, 5, revoking)];
  for (const [first, second] of [bare, numbered, deltas]) {
    const base = first === deltas[0] ? complete(5n) : rootList;
    assert.is(evaluate(base + first + second), "certificate-revoked");
    assert.is(evaluate(base + second + first), "certificate-revoked");
    assert.is(evaluate(base + first + first), "accepted");
  }
});

test("refuses a list that a namesake of the issuer signed", () => {
  const forged = forgeListPem(middle, { signer: forge("middle", { ca: true }) });
  assert.is(evaluate(rootList + forged), "crl-signature");
});

test("passes over a forged list beside the right one", () => {
  const forged = forgeListPem(middle, { number: 99n, signer: forge("middle", { ca: true }) });
  assert.is(evaluate(rootList + forged + middleList), "accepted");
  assert.is(evaluate(rootList + forged + forgeListPem(middle, { revoked: [serial(leaf)] })), "certificate-revoked");
});

const delta = (base: number) => ({ oid: "2.5.29.27", critical: true, value: integer(base) });
const scope = (...parts: Uint8Array[]) => ({ oid: "2.5.29.28", critical: true, value: sequence(...parts) });
const flag = (number: number) => primitive(number, Uint8Array.of(0xff));
const uri = (text: string) => primitive(6, Buffer.from(text));
const point = (of: string) => constructed(0, constructed(0, uri(of)));

const complete = (number: bigint, options: ForgeListOptions = {}) =>
  rootList + forgeListPem(middle, { number, ...options });
const change = (number: bigint, base: number, options: ForgeListOptions = {}) =>
  forgeListPem(middle, { number, add: [delta(base)], ...options });

test("merges a delta onto its base: what it adds is revoked", () => {
  assert.is(evaluate(complete(5n) + change(6n, 5, { revoked: [serial(leaf)] })), "certificate-revoked");
  assert.is(evaluate(complete(5n) + change(6n, 4, { revoked: [serial(leaf)] })), "certificate-revoked");
  assert.is(evaluate(complete(5n) + change(6n, 5, { revoked: ["7e"] })), "accepted");
});

test("merges a delta onto its base: what it takes back is not revoked any more", () => {
  const held = complete(5n, { revoked: [{ serial: serial(leaf), reason: 6 }] });
  const back = { revoked: [{ serial: serial(leaf), reason: 8 }] };
  assert.is(evaluate(held), "certificate-revoked");
  assert.is(evaluate(held + change(6n, 5, back)), "accepted");
  assert.is(evaluate(held + change(7n, 6, back)), "certificate-revoked", "its base is not there");
});

test("takes the newest delta of several", () => {
  const first = change(6n, 5, { revoked: [serial(leaf)] });
  const second = change(7n, 5);
  assert.is(evaluate(complete(5n) + first + second), "accepted");
  assert.is(evaluate(complete(5n) + second + first), "accepted");
  assert.is(evaluate(complete(7n) + first), "accepted", "a delta older than the complete list counts for nothing");
});

test("lets a delta without its base revoke, and clear nobody", () => {
  assert.is(evaluate(complete(3n) + change(6n, 5, { revoked: [serial(leaf)] })), "certificate-revoked");
  assert.is(evaluate(rootList + change(6n, 5)), "revocation-unknown");
  assert.is(evaluate(complete(3n) + change(6n, 5)), "accepted");
});

test("takes the later end of a list and its delta", () => {
  const end = new Date(later(3).getTime() + defaultPolicy.crlGraceMs);
  const lists = complete(5n, { nextUpdate: later(1) }) + change(6n, 5, { nextUpdate: later(3) });
  assert.is(evaluate(lists, { at: end }), "accepted");
  assert.is(evaluate(lists, { at: new Date(end.getTime() + 1) }), "crl-expired");
  const shortened = complete(5n, { nextUpdate: later(3) }) + change(6n, 5, { nextUpdate: later(1) });
  assert.is(evaluate(shortened, { at: end }), "accepted");
});

const based = (options: ForgeListOptions = {}) =>
  complete(5n, { add: [freshestCrl("http://ca.example/d.crl")], ...options });

test("of a base that names its deltas, takes the earlier end of it and its delta", () => {
  const ends: [base: number, delta: number][] = [[14, 3], [3, 14]];
  const end = new Date(later(3).getTime() + defaultPolicy.crlGraceMs);
  for (const [base, delta] of ends) {
    const lists = based({ nextUpdate: later(base) }) + change(6n, 5, { nextUpdate: later(delta) });
    assert.is(evaluate(lists, { at: end }), "accepted");
    assert.is(evaluate(lists, { at: new Date(end.getTime() + 1) }), "crl-expired", `${base} and ${delta} days`);
  }
});

test("a base that names its deltas clears nobody without one, and revokes", () => {
  const refusal = refusalOf(based());
  assert.equal([refusal.code, refusal._tag === "RevocationUnknown" && refusal.why], [
    "revocation-unknown",
    "its issuer's list needs a delta list",
  ]);
  assert.is(evaluate(based({ revoked: [serial(leaf)] })), "certificate-revoked");
  assert.is(evaluate(based() + change(6n, 5)), "accepted");
  assert.is(evaluate(based() + change(7n, 6)), "revocation-unknown", "a delta of a newer base");
  assert.is(evaluate(based() + change(6n, 5, { thisUpdate: later(1) })), "crl-not-yet-valid");
  assert.is(evaluate(based() + forgeListPem(middle, { number: 6n })), "accepted", "a newer complete list");
});

test("refuses a list whose delta somebody else signed", () => {
  const forged = change(6n, 5, { nextUpdate: later(300), signer: forge("middle", { ca: true }) });
  assert.is(evaluate(complete(5n) + forged), "crl-signature");
});

test("honours lists of users only and of CAs only", () => {
  const users = { add: [scope(flag(1))] };
  const cas = { add: [scope(flag(2))] };
  assert.is(evaluate(rootList + forgeListPem(middle, users)), "accepted");
  assert.is(evaluate(rootList + forgeListPem(middle, cas)), "revocation-unknown");
  assert.is(evaluate(middleList + forgeListPem(root, cas)), "accepted");
  assert.is(evaluate(middleList + forgeListPem(root, users)), "revocation-unknown");
  const both = forgeListPem(middle, { ...users, revoked: [serial(leaf)] }) + forgeListPem(middle, { number: 9n });
  assert.is(evaluate(rootList + both), "certificate-revoked", "a list of another scope takes nothing back");
});

test("clears only where the lists cover every reason", () => {
  const reasons = (octet: number, more = 0) => ({ add: [scope(Uint8Array.of(0x83, 3, 7, octet, more))] });
  const [some, others] = [forgeListPem(middle, reasons(0x60)), forgeListPem(middle, reasons(0x1f, 0x80))];
  assert.is(evaluate(rootList + some), "revocation-unknown");
  assert.is(evaluate(rootList + some + others), "accepted");
  assert.is(
    evaluate(rootList + forgeListPem(middle, { ...reasons(0x60), revoked: [serial(leaf)] })),
    "certificate-revoked",
  );
});

test("matches the list's distribution point with the certificate's", () => {
  const points = (uri: string) => ({ oid: "2.5.29.31", critical: false, value: sequence(sequence(point(uri))) });
  const sharded = forge("leaf", { issuer: middle, add: [points("http://crl.example/1")] });
  const shard = (uri: string) => forgeListPem(middle, { add: [scope(point(uri))] });
  assert.is(evaluate(rootList + shard("http://crl.example/1"), { chain: [sharded, middle] }), "accepted");
  assert.is(evaluate(rootList + shard("http://crl.example/2"), { chain: [sharded, middle] }), "revocation-unknown");
  assert.is(evaluate(rootList + shard("http://crl.example/1")), "revocation-unknown");
  const twoPoints = {
    add: [scope(constructed(0, constructed(0, uri("http://crl.example/1"), uri("http://crl.example/2"))))],
  };
  assert.is(evaluate(rootList + forgeListPem(middle, twoPoints), { chain: [sharded, middle] }), "accepted");
});

test("takes the newest list of each distribution point, and not the newest of all", () => {
  const points = ["http://crl.example/1", "http://crl.example/2"].map((of) => sequence(point(of)));
  const both = forge("leaf", {
    issuer: middle,
    serial: 0x4e,
    add: [{ oid: "2.5.29.31", critical: false, value: sequence(...points) }],
  });
  const shard = (of: number, number: bigint, revoked: string[] = []) =>
    forgeListPem(middle, { number, revoked, add: [scope(point(`http://crl.example/${of}`))] });
  assert.is(evaluate(rootList + shard(1, 1n, ["4e"]) + shard(2, 2n), { chain: [both, middle] }), "certificate-revoked");
  assert.is(evaluate(rootList + shard(1, 1n) + shard(2, 2n), { chain: [both, middle] }), "accepted");
});

test("takes a list without a number in the network's profile, and refuses it in RFC 5280's", () => {
  const lists = rootList + forgeListPem(middle, { omitNumber: true });
  assert.is(evaluate(lists), "accepted");
  const { snapshot } = Result.getOrThrow(
    makeTrustSnapshot({ trustPem: root.pem, crlsPem: lists, policy: defaultPolicy, generation: 1, at }),
  );
  const strict = { ...defaultPolicy, profile: "rfc5280" as const };
  const within = Result.getOrThrow(checkValidity(
    Result.getOrThrow(findPaths(Result.getOrThrow(checkWellFormed([leaf.der, middle.der])), snapshot)),
    at,
  ));
  for (const policy of [strict, { ...strict, webPki: "require" as const }]) {
    const outcome = checkRevocation(within, { ...snapshot, policy }, at);
    assert.is(Result.isFailure(outcome) && outcome.failure.code, "crl-malformed");
  }
});

test("names the path on which a revocation was found", () => {
  const refusal = refusalOf(rootList + forgeListPem(middle, { revoked: [serial(leaf)] })) as Refusal & {
    tried?: Tried;
  };
  assert.equal(refusal.tried?.map(({ subject }) => subject), ["CN=leaf", "CN=middle", "CN=root"]);
});

test("refuses a list whose issuer may not sign lists", () => {
  const mute = forge("mute", { ca: true, issuer: root, add: [keyUsage(["keyCertSign"])] });
  const chain = [forge("node", { issuer: mute }), mute];
  const refusal = refusalOf(rootList + forgeListPem(mute), { chain });
  assert.is(refusal.code, "crl-signature");
  assert.match(refusal.message, "cRLSign");
});

test("of two revocations, and of two lists that are missing, tells the one nearer to the leaf", () => {
  const subject = (lists: string) => {
    const refusal = refusalOf(lists);
    return "certificate" in refusal ? `${refusal.code} ${refusal.certificate.subject}` : refusal.code;
  };
  const both = forgeListPem(root, { revoked: [serial(middle)] }) + forgeListPem(middle, { revoked: [serial(leaf)] });
  assert.is(subject(both), "certificate-revoked CN=leaf");
  assert.is(subject(forgeListPem(forge("other", { ca: true }))), "revocation-unknown CN=leaf");
});

test("evaluates by the newest list in whatever order a snapshot holds them", () => {
  const old = forgeListPem(middle, { number: 1n });
  const fresh = forgeListPem(middle, { number: 2n, revoked: [serial(leaf)] });
  const trust = { trustPem: root.pem, crlsPem: rootList + old + fresh, policy: defaultPolicy, generation: 1, at };
  const { snapshot } = Result.getOrThrow(makeTrustSnapshot(trust));
  for (const lists of [snapshot.revocation!.lists, snapshot.revocation!.lists.toReversed()]) {
    const outcome = verifyPath([leaf.der, middle.der], { ...snapshot, revocation: { lists } }, { at });
    assert.is(Result.isFailure(outcome) && outcome.failure.code, "certificate-revoked");
  }
});

test("lets several deltas without any complete list revoke, and one as old as its list say nothing new", () => {
  const revoking = { revoked: [serial(leaf)] };
  assert.is(evaluate(rootList + change(6n, 5, revoking) + change(7n, 6)), "certificate-revoked");
  assert.is(evaluate(rootList + change(6n, 5) + change(7n, 6)), "revocation-unknown");
  assert.is(evaluate(complete(6n) + change(6n, 5, revoking)), "accepted");
});

test("takes a list whose issuer's certificate says nothing of key usage", () => {
  const plain = forge("plain", { ca: true, issuer: root, omit: ["2.5.29.15"] });
  const chain = [forge("node", { issuer: plain, serial: 0x4d }), plain];
  assert.is(evaluate(rootList + forgeListPem(plain), { chain }), "accepted");
  assert.is(evaluate(rootList + forgeListPem(plain, { revoked: ["4d"] }), { chain }), "certificate-revoked");
});

test("says why it cannot tell, where a list is there and does not cover the certificate", () => {
  const why = (lists: string) => {
    const refusal = refusalOf(lists);
    return refusal._tag === "RevocationUnknown" ? refusal.why : refusal.code;
  };
  assert.is(why(rootList), undefined);
  assert.is(why(rootList + forgeListPem(middle, { add: [scope(flag(2))] }))?.includes("reason to revoke"), true);
});

test("takes another path where one is revoked", () => {
  const other = forge("other", { ca: true });
  const crossed = forge("middle", { ca: true, issuer: other, keyOf: middle });
  const lists = forgeListPem(root, { revoked: [serial(middle)] }) + middleList;
  const options = { anchors: [root, other], chain: [leaf, middle, crossed] };
  assert.is(evaluate(lists, options), "certificate-revoked");
  const outcome = Result.getOrThrow(verify(lists + forgeListPem(other), options));
  assert.equal(outcome.path.map(({ subject }) => subject.commonName), ["leaf", "middle", "other"]);
});

test.run();
