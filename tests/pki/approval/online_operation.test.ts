/** Requests for operations of `hypha-ca`: what is read is what was composed, and everything else is refused. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describeRequest } from "../../../actors/certutil/approval/describe_request.ts";
import {
  composeApprovalRequest,
  type OperationParts,
  parseApprovalRequest,
} from "../../../pki/approval/approval_request.ts";
import { sha256, toBase64 } from "../../../pki/approval/canonical_line.ts";
import { composeIntermediateTbs } from "../../../pki/approval/intermediate_tbs.ts";
import { isOnline, revokedAtOnceMax, rotatedCasMax } from "../../../pki/approval/online_operation.ts";
import { canonicalJson, type CanonicalValue } from "../../../pki/canonical_json.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { composeCsrTbs, issueCsr } from "../../../pki/issue/mod.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("operations of hypha-ca in requests");
const pki = await makeTestPki();
const [notBefore, notAfter] = [new Date("2026-03-01T12:00:00Z"), new Date("2026-03-02T12:00:00Z")];
const uri = "URI:spiffe://acme.example/worker/w-1";

async function tbsOf(san: readonly string[]): Promise<Uint8Array> {
  const { csrPem } = await issueCsr({ commonName: "w-1", san: [] });
  const identity = { commonName: "w-1", san };
  return Uint8Array.from(await composeCsrTbs({ issuer: pki.intermediate, csrPem, identity, notBefore, notAfter }));
}

const tbs = await tbsOf(["DNS:w-1.acme.example", "IP:10.0.0.1", uri]);
const hash = sha256("a key");
const revoked = { identity: "spiffe://acme.example/worker/w-1", issuer: hash, serial: "4a1b" };
const frame = { ca: hash, expires: notAfter, nonce: hash, policy: hash };
const operations: readonly OperationParts[] = [
  { name: "issue-role:worker", tbs, token: "0123456789abcdef" },
  { name: "issue-role:worker", tbs, token: "0123456789abcdef", replaces: true },
  { name: "revoke-many", certificates: [revoked], identities: [revoked.identity], reason: "keyCompromise" },
  { name: "rotate-ca", issues: hash, next: [hash], retired: [] },
];

/** A request with these parameters: its detail, or `accepted`. */
function outcomeOf(operation: string, parameters: Readonly<Record<string, CanonicalValue>>): string {
  const fields = { ...frame, expires: "2026-03-02T12:00:00Z", operation, parameters, type: "hypha-approval-request/1" };
  return Result.match(parseApprovalRequest(canonicalJson(fields)), {
    onSuccess: () => "accepted",
    onFailure: ({ detail }) => detail,
  });
}

test("what was composed is read, and shown from its bytes", () => {
  for (const each of operations) {
    const { operation, ...read } = Result.getOrThrow(parseApprovalRequest(composeApprovalRequest(each, frame)));
    assert.ok(isOnline(operation));
    const { certificate: _, ...parts } = operation as typeof operation & { readonly certificate?: unknown };
    assert.is(JSON.stringify(parts), JSON.stringify(each));
    const shown = describeRequest({ operation, ...read }).join("\n");
    const expected = {
      "issue-role:worker": [
        /name {9}URI:spiffe:\/\/acme\.example\/worker\/w-1/,
        /name {9}IP:10\.0\.0\.1/,
        /to 2026-03-02/,
      ],
      "revoke-many": [/revoke 1 certificates .*keyCompromise/, /4a1b of spiffe:\/\/acme\.example\/worker\/w-1/],
      "rotate-ca": [new RegExp(`issues {7}${hash}\n  next {9}${hash}\n  by the CA`)],
    }[each.name as "rotate-ca"];
    for (const pattern of expected) assert.match(shown, pattern);
    assert.is(/ {2}replaces {5}what this name has/.test(shown), "replaces" in each);
  }
});

test("a certificate that is no node's, or another role's, is refused", async () => {
  const root = Result.getOrThrow(parseCertificate(pki.root.der));
  const { publicKey } = Result.getOrThrow(parseCertificate(pki.intermediate.der));
  const ca = composeIntermediateTbs({ issuer: root, publicKey, commonName: "CA", notBefore, notAfter, pathLength: 0 });
  const key = Buffer.from(tbs);
  // The key usages digitalSignature and keyAgreement become three, with nonRepudiation.
  key[key.indexOf(Buffer.from([0x03, 0x02, 0x03, 0x88])) + 3] = 0xc8;
  // The last second of validity moves before the first one: its UTCTime begins behind the first one's 15 octets.
  const ended = Buffer.from(tbs);
  ended[ended.indexOf(Buffer.from([0x17, 0x0d])) + 15 + 2] = 0x30;
  // The name of the subject's first attribute becomes no UTF8String.
  const unreadable = Buffer.from(tbs);
  unreadable[unreadable.lastIndexOf(Buffer.from([0x0c, 0x03]))] = 0x1f;
  const token = "0123456789abcdef";
  const table: readonly (readonly [Uint8Array, RegExp])[] = [
    [tbs, /^accepted$/],
    [ca, /holds more than/],
    [key, /holds more than/],
    [ended, /holds more than/],
    [unreadable, /^the request cannot be used: its certificate is malformed: /],
    [tbs.subarray(1), /malformed/],
    [await tbsOf(["URI:spiffe://acme.example/gateway/w-1"]), /not one of role worker/],
    [await tbsOf(["DNS:w-1"]), /not one of role worker/],
    [await tbsOf([uri, "URI:spiffe://acme.example/gateway/w-1"]), /not one of role worker/],
    [await tbsOf(["URI:spiffe://acme.example/worker/w-1/more"]), /not one of role worker/],
  ];
  for (const [bytes, expected] of table) {
    assert.match(outcomeOf("issue-role:worker", { tbs: toBase64(bytes), token }), expected);
  }
  for (const wrong of ["", "0123456789ABCDEF", "0123456789abcde", ["0123456789abcdef"]]) {
    assert.match(outcomeOf("issue-role:worker", { tbs: toBase64(tbs), token: wrong }), /no usual id/);
  }
  for (const replaces of [false, "true", 1, null]) {
    assert.match(outcomeOf("issue-role:worker", { tbs: toBase64(tbs), token, replaces }), /replaces is not true/);
  }
  assert.match(outcomeOf("issue-role:worker", { tbs: toBase64(tbs), token, more: true }), /are not tbs, token/);
  assert.match(outcomeOf("rotate-ca", { issues: hash, next: [], retired: [], replaces: true }), /are not issues/);
  assert.match(outcomeOf("issue-role:worker", { tbs: "", token }), /not base64/);
  assert.match(outcomeOf("issue-role:ca", { tbs: toBase64(tbs), token }), /not known here/);
});

test("lists of certificates and of CAs are bounded, and have no other form", () => {
  const many = (count: number) => Array.from({ length: count }, () => ({ ...revoked, identity: "a" }));
  const fields = { certificates: [revoked], identities: [], reason: "superseded" };
  const revokes: readonly (readonly [Readonly<Record<string, CanonicalValue>>, boolean])[] = [
    [fields, true],
    [{ ...fields, certificates: many(revokedAtOnceMax) }, true],
    [{ ...fields, certificates: many(revokedAtOnceMax + 1) }, false],
    [{ ...fields, certificates: [] }, false],
    [{ ...fields, certificates: [{ ...revoked, serial: "04a1b" }] }, false],
    [{ ...fields, certificates: [{ ...revoked, serial: "a".repeat(41) }] }, false],
    [{ ...fields, certificates: [{ ...revoked, issuer: "ab" }] }, false],
    [{ ...fields, certificates: [{ ...revoked, identity: "" }] }, false],
    [{ ...fields, certificates: [{ ...revoked, more: 1 }] }, false],
    [{ ...fields, certificates: [{ ...revoked, serial: ["4a1b"] }] }, false],
    [{ ...fields, certificates: [{ ...revoked, identity: ["a"] }] }, false],
    [{ ...fields, certificates: [null] }, false],
    [{ ...fields, identities: "a" }, false],
    [{ ...fields, identities: [""] }, false],
    [{ ...fields, identities: ["a".repeat(1_025)] }, false],
    [{ ...fields, identities: ["a".repeat(1_024)] }, true],
    [{ ...fields, reason: "toString" }, false],
    [{ ...fields, reason: ["superseded"] }, false],
    [{ ...fields, more: 1 }, false],
  ];
  for (const [parameters, isTaken] of revokes) {
    assert.is(outcomeOf("revoke-many", parameters) === "accepted", isTaken, JSON.stringify(parameters).slice(0, 200));
  }
  const cas = (count: number) => Array.from({ length: count }, () => hash);
  const rotations: readonly (readonly [Readonly<Record<string, CanonicalValue>>, boolean])[] = [
    [{ issues: hash, next: cas(rotatedCasMax), retired: cas(rotatedCasMax) }, true],
    [{ issues: hash, next: cas(rotatedCasMax + 1), retired: [] }, false],
    [{ issues: hash, next: [], retired: cas(rotatedCasMax + 1) }, false],
    [{ issues: "ab", next: [], retired: [] }, false],
    [{ issues: hash, next: ["ab"], retired: [] }, false],
  ];
  for (const [parameters, isTaken] of rotations) {
    assert.is(outcomeOf("rotate-ca", parameters) === "accepted", isTaken, JSON.stringify(parameters).slice(0, 200));
  }
  assert.equal([revokedAtOnceMax, rotatedCasMax], [500, 8]);
});

test.run();
