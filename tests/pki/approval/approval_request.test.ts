/** Requests: what is read is what was composed, and each rule has the line that it refuses. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeApprovalPolicy } from "../../../pki/approval/approval_policy.ts";
import {
  composeApprovalRequest,
  type OperationParts,
  parseApprovalRequest,
} from "../../../pki/approval/approval_request.ts";
import { sha256, toBase64 } from "../../../pki/approval/canonical_line.ts";
import { composeIntermediateTbs } from "../../../pki/approval/intermediate_tbs.ts";
import { type CanonicalFields, canonicalJson } from "../../../pki/canonical_json.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("parseApprovalRequest()");
const pki = await makeTestPki();
const root = Result.getOrThrow(parseCertificate(pki.root.der));
const intermediate = Result.getOrThrow(parseCertificate(pki.intermediate.der));
const leaf = Result.getOrThrow(parseCertificate((await pki.node("w-1")).der));
const [notBefore, notAfter] = [new Date("2026-03-01T12:00:00Z"), new Date("2027-03-01T12:00:00Z")];
const hash = sha256("a key");
const parts = { issuer: root, publicKey: intermediate.publicKey, commonName: "CA 2", notBefore, notAfter };
const tbs = Uint8Array.from(composeIntermediateTbs({ ...parts, pathLength: 0 }));
const policy = Result.getOrThrow(makeApprovalPolicy({
  approvers: [{ name: "alice", spki: leaf.publicKey.spki }],
  threshold: 1,
  operations: ["change-approvers"],
}));
const operations: readonly OperationParts[] = [
  { name: "issue-intermediate", tbs },
  { name: "revoke-ca", certificate: intermediate, reason: "keyCompromise" },
  { name: "change-approvers", policy },
];
const frame = { ca: hash, expires: notBefore, nonce: "5a".repeat(32), policy: hash };

test("what was composed is read, with the digest of its line", () => {
  for (const operation of operations) {
    const line = composeApprovalRequest(operation, frame);
    const { operation: read, digest, ...others } = Result.getOrThrow(parseApprovalRequest(line));
    assert.equal(others, frame);
    assert.is(digest, sha256(line));
    assert.is(composeApprovalRequest(read as OperationParts, frame), line);
  }
});

const fieldsOf = (operation: OperationParts) =>
  JSON.parse(composeApprovalRequest(operation, frame)) as Record<string, CanonicalFields>;

/** A request with other fields, or other parameters: what is wrong, or `accepted`. */
function outcomeOf(operation: OperationParts, change: CanonicalFields, parameters: CanonicalFields = {}): string {
  const fields = fieldsOf(operation);
  const changed = { ...fields, parameters: { ...fields["parameters"], ...parameters }, ...change };
  return Result.match(parseApprovalRequest(canonicalJson(changed)), {
    onSuccess: () => "accepted",
    onFailure: ({ code, detail }) => `${code}: ${detail}`,
  });
}

const [issue, revoke, change] = operations as [OperationParts, OperationParts, OperationParts];
const cases: readonly (readonly [OperationParts, CanonicalFields, CanonicalFields, RegExp])[] = [
  [issue, {}, {}, /^accepted$/],
  [issue, { type: "hypha-approval/1" }, {}, /^approval-request-malformed: the request cannot be used: its type is not/],
  [issue, { ca: hash.slice(1) }, {}, /: ca, nonce or policy is not 32 octets$/],
  [issue, { nonce: 7 }, {}, /: ca, nonce or policy is not 32 octets$/],
  [issue, { nonce: [hash] }, {}, /: ca, nonce or policy is not 32 octets$/],
  [issue, { policy: hash.toUpperCase() }, {}, /: ca, nonce or policy is not 32 octets$/],
  [issue, { expires: 7 }, {}, /: expires is no time in UTC, in whole seconds$/],
  [issue, { expires: "2026-03-01T12:00:00.5Z" }, {}, /: expires is no time in UTC/],
  [issue, { expires: "2026-03-01T13:00:00+01:00" }, {}, /: expires is no time in UTC/],
  [issue, { expires: "tomorrow" }, {}, /: expires is no time in UTC/],
  [issue, { parameters: [] }, {}, /: it has no parameters$/],
  [issue, { operation: "toString" }, {}, /: its operation is not known here$/],
  [issue, { operation: 7 }, {}, /: its operation is not known here$/],
  [issue, {}, { more: 1 }, /: its parameters are not tbs$/],
  [issue, {}, { tbs: "a" }, /: its certificate is not base64$/],
  [issue, {}, { tbs: toBase64(tbs.subarray(1)) }, /: its certificate is malformed/],
  [issue, {}, { tbs: toBase64(leaf.tbs) }, /: its certificate is not a CA's$/],
  [issue, {}, { tbs: toBase64(Uint8Array.from(composeIntermediateTbs({ ...parts, pathLength: 3 }))) }, /^accepted$/],
  [revoke, {}, {}, /^accepted$/],
  [revoke, {}, { certificate: "a" }, /: the certificate to revoke cannot be read$/],
  [revoke, {}, { certificate: toBase64(Uint8Array.of(1, 2, 3)) }, /: the certificate to revoke cannot be read$/],
  [revoke, {}, { certificate: toBase64(leaf.der), serial: leaf.serial }, /: the certificate to revoke is not a CA's$/],
  [revoke, {}, { serial: leaf.serial }, /: its serial is not the certificate's$/],
  [revoke, {}, { reason: "because" }, /: its reason is not known$/],
  [revoke, {}, { reason: 1 }, /: its reason is not known$/],
  [change, {}, {}, /^accepted$/],
  [change, {}, { policy: "{}" }, /: the policy cannot be used: its type is not/],
];
for (const [index, [operation, fields, parameters, expected]] of cases.entries()) {
  test(`${index}: ${operation.name} ${JSON.stringify({ ...fields, ...parameters }).slice(0, 60)}`, () => {
    assert.match(outcomeOf(operation, fields, parameters), expected);
  });
}

test("an intermediate names its issuer's key as the issuer does; where that has no identifier, by its hash", () => {
  const { subjectKeyId } = root;
  const unnamed = { ...root, subjectKeyId: undefined };
  for (const [issuer, expected] of [[{ ...root, subjectKeyId: "0102" }, "0102"], [unnamed, subjectKeyId]] as const) {
    const made = composeIntermediateTbs({ ...parts, issuer, pathLength: 0 });
    const line = composeApprovalRequest({ name: "issue-intermediate", tbs: Uint8Array.from(made) }, frame);
    const { operation } = Result.getOrThrow(parseApprovalRequest(line));
    assert.is(operation.name === "issue-intermediate" && operation.certificate.authorityKeyId, expected);
  }
});

test.run();
