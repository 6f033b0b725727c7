/** Policies and lines of canonical JSON: each rule has the line that it refuses, and what is wrong with it. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  approvalAlgorithms,
  approversMax,
  makeApprovalPolicy,
  parseApprovalPolicy,
} from "../../../pki/approval/approval_policy.ts";
import { lineCharactersMax, readBase64, readLine, sha256, toBase64 } from "../../../pki/approval/canonical_line.ts";
import { type CanonicalFields, canonicalJson, type CanonicalValue } from "../../../pki/canonical_json.ts";
import { fileSigner } from "../../../pki/issue/mod.ts";
import { type IssuedKeyAlgorithm, makeSigningKey } from "../../../pki/issue/signing_key.ts";

const test = suite("parseApprovalPolicy()");
const keyOf = async (algorithm: IssuedKeyAlgorithm) => fileSigner((await makeSigningKey(algorithm)).keyPem).spki();
const [one, two, other] = [await keyOf("ed25519"), await keyOf("ecdsa-p256"), await keyOf("ecdsa-p384")];
/** Ed25519 keys that differ in their last octet; any 32 octets are one. */
const keys = (count: number) => Array.from({ length: count }, (_, index) => one.with(one.length - 1, index));
const approver = (name: CanonicalValue, spki: Uint8Array): CanonicalFields => ({ name, spki: toBase64(spki) });
const alice = approver("alice", one);
const bob = approver("bob", two);
const crowd = (count: number) => keys(count).map((key, index) => approver(`approver-${index}`, key));

/** A policy with these fields: what is wrong, or `accepted`. */
function outcomeOf(change: CanonicalFields): string {
  const fields = {
    approvers: [alice, bob],
    operations: ["change-approvers", "rotate-ca"],
    threshold: 2,
    type: "hypha-approval-policy/1",
  };
  return Result.match(parseApprovalPolicy(canonicalJson({ ...fields, ...change })), {
    onSuccess: () => "accepted",
    onFailure: ({ code, detail }) => `${code}: ${detail}`,
  });
}

const longest = `A${"b".repeat(63)}`;
const cases: readonly (readonly [change: CanonicalFields, expected: RegExp])[] = [
  [{}, /^accepted$/],
  [{ type: "hypha-approval/1" }, /^approval-policy-malformed: the policy cannot be used: its type is not/],
  [{ more: 1 }, /its fields are not approvers, operations, threshold$/],
  [{ approvers: crowd(approversMax) }, /^accepted$/],
  [{ approvers: crowd(approversMax + 1) }, /: it lists more than 32 approvers$/],
  [{ approvers: [alice], threshold: 1 }, /^accepted$/],
  [{ approvers: [], threshold: 0 }, /: it lists no approvers$/],
  [{ approvers: { alice }, threshold: 1 }, /: it lists no approvers$/],
  [{ approvers: [alice, "bob"] }, /: approver 2 cannot be read: it has other fields$/],
  [{ approvers: [{ ...alice, more: 1 }, bob] }, /: approver 1 cannot be read: it has other fields$/],
  [{ approvers: [alice, null] }, /: approver 2 cannot be read: it has other fields$/],
  [{ approvers: [alice, approver("alice", two)] }, /approvers alice and alice have the same name or the same key/],
  [{ approvers: [alice, approver("bob", one)] }, /approvers alice and bob have the same name or the same key/],
  [{ approvers: [alice, approver(longest, two)] }, /^accepted$/],
  [{ approvers: [alice, approver(`${longest}b`, two)] }, /: approver 2 cannot be read: a name has up to 64/],
  [{ approvers: [alice, approver("", two)] }, /a name has up to 64/],
  [{ approvers: [alice, approver("-bob", two)] }, /a name has up to 64/],
  [{ approvers: [alice, approver("bob\n", two)] }, /a name has up to 64/],
  [{ approvers: [alice, approver(7, two)] }, /a name has up to 64/],
  [{ approvers: [alice, { name: "bob", spki: "" }] }, /its public key is not base64/],
  [{ approvers: [alice, { name: "bob", spki: 7 }] }, /its public key is not base64/],
  [{ approvers: [alice, { name: "bob", spki: toBase64(two).slice(0, -1) }] }, /its public key is not base64/],
  [{ approvers: [alice, approver("bob", two.subarray(1))] }, /its public key is malformed: /],
  [{ approvers: [alice, approver("bob", Uint8Array.of(...two, 0))] }, /its public key is malformed: /],
  [{ approvers: [alice, approver("bob", other)] }, / is not one of Ed25519, ECDSA P-256$/],
  [{ threshold: 1 }, /^accepted$/],
  [{ threshold: 0 }, /its threshold is not between 1 and 2, the number of its approvers$/],
  [{ threshold: 3 }, /its threshold is not between 1 and 2/],
  [{ threshold: "2" }, /its threshold is not between 1 and 2/],
  [{ operations: ["change-approvers"] }, /^accepted$/],
  [{ operations: [] }, /: change-approvers is not among its operations$/],
  [{ operations: ["rotate-ca"] }, /: change-approvers is not among its operations$/],
  [{ operations: "change-approvers" }, /its operations are not among change-approvers, /],
  [{ operations: { every: 1 } }, /its operations are not among/],
  [{ operations: ["change-approvers", "issue-role:ca"] }, /its operations are not among/],
  [{ operations: ["change-approvers", "change-approvers"] }, /its operations are not among .*, each once$/],
];
for (const [change, expected] of cases) {
  test(`${JSON.stringify(change).slice(0, 100)}: ${expected.source}`, () => assert.match(outcomeOf(change), expected));
}

test("what is made is what is read: sorted operations, each once, in well-formed text", () => {
  const parts = { approvers: [{ name: "alice", spki: one }], threshold: 1 };
  const { line, digest, operations, approvers } = Result.getOrThrow(
    makeApprovalPolicy({ ...parts, operations: ["rotate-ca", "change-approvers", "rotate-ca"] }),
  );
  assert.equal(operations, ["change-approvers", "rotate-ca"]);
  assert.equal([digest, approvers[0]?.keyId], [sha256(line), sha256(one)]);
  assert.is(Result.getOrThrow(parseApprovalPolicy(line)).line, line);
  const refused = (change: object) =>
    Result.match(makeApprovalPolicy({ ...parts, operations: ["change-approvers"], ...change }), {
      onSuccess: () => "accepted",
      onFailure: ({ detail }) => detail,
    });
  assert.match(refused({ threshold: 0.5 }), /its threshold is not a whole number/);
  assert.match(refused({ threshold: 2 ** 53 }), /its threshold is not a whole number/);
  assert.match(refused({ approvers: [{ name: "\ud800", spki: one }] }), /a name has up to 64/);
  assert.equal(approvalAlgorithms, { "ed25519": "1.3.101.112", "ecdsa-p256": "1.2.840.10045.4.3.2" });
});

test("base64 holds one octet or more, in its only spelling", () => {
  for (const text of ["", "AA", "AB==", "AA==\n", ["AA=="], 7]) assert.is(readBase64(text), undefined, String(text));
  assert.equal([...readBase64("AA==")!], [0]);
});

test("a line has at most 131,072 characters, is an object, and canonical", () => {
  const approval = (text: string) => `{"a":"${text}","type":"hypha-approval/1"}`;
  const read = (line: string, names: readonly string[] = ["a"]) => {
    const fields = readLine(line, "approval", names);
    return typeof fields === "string" ? fields : "read";
  };
  const room = lineCharactersMax - approval("").length;
  assert.is(lineCharactersMax, 131_072);
  assert.is(read(approval("x".repeat(room))), "read");
  assert.is(read(approval("x".repeat(room + 1))), "it has more than 131072 characters");
  assert.is(read("{"), "it is not JSON");
  for (const line of ["[]", "null", "1", '"text"']) assert.is(read(line), "it is not a JSON object");
  assert.is(read(approval("x").replace(":", ": ")), "it is not canonical JSON");
  assert.is(read(approval("x"), ["b"]), "its fields are not b");
  assert.is(read(approval("x"), ["a", "b"]), "its fields are not a, b");
  assert.is(read('{"type":"hypha-approval/1"}', ["a"]), "its fields are not a");
  assert.is(read('{"type":"hypha-approval/2"}', []), "its type is not hypha-approval/1");
});

test.run();
