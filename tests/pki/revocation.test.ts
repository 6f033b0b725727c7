import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { keyUsage } from "../../pki/issue/extensions.ts";
import { verifyPath } from "../../pki/path.ts";
import type { Refusal } from "../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { at, dayMs, forge, type Forged, forgeListPem, later } from "../support/forge.ts";

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

function judge(crlsPem: string | undefined, options: Parameters<typeof verify>[1] = {}): string {
  const outcome = verify(crlsPem, options);
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

function refusalOf(crlsPem: string, options: Parameters<typeof verify>[1] = {}): Refusal {
  const outcome = verify(crlsPem, options);
  if (Result.isSuccess(outcome)) throw new Error("it was accepted");
  return outcome.failure;
}

test("accepts without lists", () => assert.is(judge(undefined), "accepted"));
test("accepts with the lists of all issuers", () => assert.is(judge(rootList + middleList), "accepted"));

test("refuses a revoked leaf, by a list whose issuer only the peer sends", () => {
  const refusal = refusalOf(rootList + forgeListPem(middle, { revoked: [{ serial: serial(leaf), reason: 1 }] }));
  assert.is(refusal.code, "certificate-revoked");
  assert.ok(refusal._tag === "CertificateRevoked");
  assert.equal([refusal.reason, refusal.revokedAt, refusal.issuer], ["keyCompromise", later(-1), "CN=middle"]);
  assert.is(refusal.certificate.serial, serial(leaf));
});

test("refuses a revoked leaf whose issuer is the anchor", () => {
  const lists = forgeListPem(middle, { revoked: [serial(leaf)] });
  assert.is(judge(lists, { anchors: [middle] }), "certificate-revoked");
  assert.is(judge(middleList, { anchors: [middle] }), "accepted");
});

test("refuses a revoked intermediate, and a leaf below it", () => {
  const refusal = refusalOf(forgeListPem(root, { revoked: [serial(middle)] }) + middleList);
  assert.ok(refusal._tag === "CertificateRevoked");
  assert.is(refusal.certificate.subject, "CN=middle");
});

test("does not take a serial for revoked because another issuer revoked it", () => {
  assert.is(judge(forgeListPem(root, { revoked: [serial(leaf)] }) + middleList), "accepted");
});

test("refuses where an issuer has no list, for each certificate below the anchor", () => {
  assert.is(judge(rootList), "revocation-unknown");
  assert.is(judge(middleList), "revocation-unknown");
});

test("does not look the anchor up", () => assert.is(judge(middleList, { anchors: [middle] }), "accepted"));

test("prefers to say that it is revoked to saying that another list is missing", () => {
  assert.is(judge(forgeListPem(root, { revoked: [serial(middle)] })), "certificate-revoked");
  assert.is(judge(forgeListPem(middle, { revoked: [serial(leaf)] })), "certificate-revoked");
});

test("counts a list up to its next update and the grace behind it", () => {
  const nextUpdate = later(0);
  const lists = rootList + forgeListPem(middle, { nextUpdate });
  const end = nextUpdate.getTime() + defaultPolicy.crlGraceMs;
  assert.is(judge(lists, { at: nextUpdate }), "accepted");
  assert.is(judge(lists, { at: new Date(end) }), "accepted");
  assert.is(judge(lists, { at: new Date(end + 1) }), "crl-expired");
});

test("counts a list from its this update on", () => {
  const lists = rootList + forgeListPem(middle, { thisUpdate: at });
  assert.is(judge(lists), "accepted");
  assert.is(judge(lists, { at: new Date(at.getTime() - 1) }), "crl-not-yet-valid");
});

test("keeps refusing a revoked certificate when the list is overdue", () => {
  const lists = rootList + forgeListPem(middle, { nextUpdate: at, revoked: [serial(leaf)] });
  assert.is(judge(lists, { at: new Date(at.getTime() + 3 * dayMs) }), "certificate-revoked");
});

test("takes the newest of several lists, wherever it stands", () => {
  const old = forgeListPem(middle, { number: 1n });
  const fresh = forgeListPem(middle, { number: 2n, revoked: [serial(leaf)] });
  assert.is(judge(rootList + old + fresh), "certificate-revoked");
  assert.is(judge(rootList + fresh + old), "certificate-revoked");
});

test("refuses a list that a namesake of the issuer signed", () => {
  const forged = forgeListPem(middle, { signer: forge("middle", { ca: true }) });
  assert.is(judge(rootList + forged), "crl-signature");
});

test("passes over a forged list beside the right one", () => {
  const forged = forgeListPem(middle, { number: 99n, signer: forge("middle", { ca: true }) });
  assert.is(judge(rootList + forged + middleList), "accepted");
  assert.is(judge(rootList + forged + forgeListPem(middle, { revoked: [serial(leaf)] })), "certificate-revoked");
});

test("refuses a list whose issuer may not sign lists", () => {
  const mute = forge("mute", { ca: true, issuer: root, add: [keyUsage(["keyCertSign"])] });
  const chain = [forge("node", { issuer: mute }), mute];
  const refusal = refusalOf(rootList + forgeListPem(mute), { chain });
  assert.is(refusal.code, "crl-signature");
  assert.match(refusal.message, "cRLSign");
});

test("takes another path where one is revoked", () => {
  const other = forge("other", { ca: true });
  const crossed = forge("middle", { ca: true, issuer: other, keyOf: middle });
  const lists = forgeListPem(root, { revoked: [serial(middle)] }) + middleList;
  const options = { anchors: [root, other], chain: [leaf, middle, crossed] };
  assert.is(judge(lists, options), "certificate-revoked");
  const outcome = Result.getOrThrow(verify(lists + forgeListPem(other), options));
  assert.equal(outcome.path.map(({ subject }) => subject.commonName), ["leaf", "middle", "other"]);
});

test.run();
