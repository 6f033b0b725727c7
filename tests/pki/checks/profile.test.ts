/**
 * Profile `network` relaxes what the rows of `tests/fixtures/profile_network.json` say, and nothing else.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../../pki/certificate.ts";
import { authorityKeyId, type Extension, subjectKeyId } from "../../../pki/issue/extensions.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy } from "../../../pki/trust.ts";
import { at, forge, type Forged, forgeListPem } from "../../support/forge.ts";

const test = suite("profiles");

interface Row {
  readonly rule: string;
  readonly absentFrom: string;
  readonly code: string;
}
const rows = JSON.parse(
  readFileSync(new URL("../../fixtures/profile_network.json", import.meta.url), "utf8"),
) as readonly Row[];

const [rootKey, middleKey] = [new Uint8Array(20).fill(1), new Uint8Array(20).fill(2)];
const whole = {
  root: [subjectKeyId(rootKey)],
  middle: [subjectKeyId(middleKey), authorityKeyId(rootKey)],
  leaf: [authorityKeyId(middleKey)],
};
type Extensions = { readonly [K in keyof typeof whole]: readonly Extension[] };

function evaluate(policy: Policy, extensions: Extensions, numbered = true): string {
  const root = forge("root", { ca: true, add: extensions.root });
  const middle = forge("middle", { ca: true, issuer: root, add: extensions.middle });
  const leaf = forge("leaf", { issuer: middle, add: extensions.leaf });
  const list = (ca: Forged, key: Uint8Array) => forgeListPem(ca, { omitNumber: !numbered, add: [authorityKeyId(key)] });
  const crlsPem = list(root, rootKey) + list(middle, middleKey);
  const made = makeTrustSnapshot({ trustPem: root.pem, crlsPem, policy, generation: 1, at });
  if (Result.isFailure(made)) return made.failure.problem === "crl" ? "crl-malformed" : made.failure.problem;
  const outcome = verifyPath([leaf.der, middle.der], made.success.snapshot, { at });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

const strict: Policy = { ...defaultPolicy, profile: "rfc5280" };
const without: Record<string, readonly [Extensions, boolean?]> = {
  "authority key identifier/leaf": [{ ...whole, leaf: [] }],
  "authority key identifier/intermediate": [{ ...whole, middle: [subjectKeyId(middleKey)] }],
  "subject key identifier/CA": [{ ...whole, middle: [authorityKeyId(rootKey)] }],
  "CRL number/list": [whole, false],
};

test("accepts in both what has all identifiers", () => {
  assert.is(evaluate(defaultPolicy, whole), "accepted");
  assert.is(evaluate(strict, whole), "accepted");
});

test("has a test for each row, and a row for each test", () => {
  assert.equal(rows.map(({ rule, absentFrom }) => `${rule}/${absentFrom}`), Object.keys(without));
});

for (const { rule, absentFrom, code } of rows) {
  test(`relaxes: ${rule}, absent from ${absentFrom}`, () => {
    const [extensions, numbered] = without[`${rule}/${absentFrom}`]!;
    assert.is(evaluate(defaultPolicy, extensions, numbered), "accepted");
    assert.is(evaluate(strict, extensions, numbered), code);
  });
}

test("asks for no authority key identifier of what signed itself", () => {
  assert.is(
    Result.getOrThrow(parseCertificate(forge("root", { ca: true, add: whole.root }).der)).authorityKeyId,
    undefined,
  );
  assert.is(evaluate(strict, { ...whole, root: [subjectKeyId(rootKey), authorityKeyId(rootKey)] }), "accepted");
});

test("believes that an old root signed itself where its algorithm is not checked here, and no other certificate", () => {
  const unchecked = forge("odd", { algorithm: "ed448" });
  const under = (anchor: Forged) => {
    const leaf = forge("leaf", { issuer: anchor, add: whole.leaf });
    const made = makeTrustSnapshot({ trustPem: anchor.pem, policy: strict, generation: 1, at });
    const outcome = verifyPath([leaf.der], Result.getOrThrow(made).snapshot, { at });
    return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
  };
  const add = whole.root;
  assert.is(under(forge("root", { ca: true, add, signer: unchecked })), "accepted");
  assert.is(under(forge("root", { ca: true, add, signer: forge("root") })), "malformed-certificate");
  const above = forge("above", { ca: true });
  assert.is(under(forge("middle", { ca: true, add, issuer: above, signer: unchecked })), "malformed-certificate");
});

test("asks for a subject key identifier of the root, too", () => {
  assert.is(evaluate(strict, { ...whole, root: [] }), "malformed-certificate");
  assert.is(evaluate(defaultPolicy, { ...whole, root: [] }), "accepted");
});

test.run();
