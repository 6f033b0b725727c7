import { Buffer } from "node:buffer";
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { composeApproval } from "../../../pki/approval/approval.ts";
import { approversMax, makeApprovalPolicy, type OperationName } from "../../../pki/approval/approval_policy.ts";
import { approvalHints, type ApprovalRefusalCode } from "../../../pki/approval/approval_refused.ts";
import { composeApprovalRequest, type RequestFrame } from "../../../pki/approval/approval_request.ts";
import { sha256 } from "../../../pki/approval/canonical_line.ts";
import { composeIntermediateTbs } from "../../../pki/approval/intermediate_tbs.ts";
import {
  type CeremonyContext,
  type CeremonyTexts,
  requestLifeMaxMs,
  requestSkewMs,
  verifyApprovals,
} from "../../../pki/approval/verify_approvals.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { fileSigner, type Signer } from "../../../pki/issue/mod.ts";
import { makeSigningKey } from "../../../pki/issue/signing_key.ts";
import { randomOf, type RandomStream } from "../../../actors/runtime/random.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("verifyApprovals()");
const pki = await makeTestPki();
const root = Result.getOrThrow(parseCertificate(pki.root.der));
const intermediate = Result.getOrThrow(parseCertificate(pki.intermediate.der));
const signers: readonly Signer[] = await Promise.all(
  (["ed25519", "ecdsa-p256", "ed25519", "ed25519"] as const).map(async (algorithm) =>
    fileSigner((await makeSigningKey(algorithm)).keyPem)
  ),
);
const names = ["alice", "bob", "carol", "mallory"];
const now = new Date("2026-03-01T12:00:00Z");

/** A policy of the approvers with these numbers. */
const policyOf = (numbers: readonly number[], threshold: number, ...operations: readonly OperationName[]) =>
  Result.getOrThrow(makeApprovalPolicy({
    approvers: numbers.map((each) => ({ name: names[each]!, spki: signers[each]!.spki() })),
    threshold,
    operations: ["change-approvers", ...operations],
  }));

const policy = policyOf([0, 1, 2], 2, "issue-intermediate", "revoke-ca");
const tbs = composeIntermediateTbs({
  issuer: root,
  publicKey: intermediate.publicKey,
  commonName: "Acme CA 2",
  notBefore: now,
  notAfter: new Date(+now + 86_400_000),
  pathLength: 0,
});
const frame: RequestFrame = {
  ca: sha256(root.publicKey.spki),
  expires: new Date(+now + 3_600_000),
  nonce: "5a".repeat(32),
  policy: policy.digest,
};
const request = composeApprovalRequest({ name: "issue-intermediate", tbs }, frame);
const approve = (text: string, number: number) => composeApproval(sha256(text), signers[number]!);
const approvals = await Promise.all(signers.map((_, number) => approve(request, number)));
const [alice = "", bob = "", carol = "", mallory = ""] = approvals;
const texts: CeremonyTexts = { policy: policy.line, request, approvals: [alice, bob] };
const context: CeremonyContext = { at: now, usedNonces: new Set(), ca: frame.ca };

type Change = Partial<CeremonyTexts & CeremonyContext>;

function outcomeOf(change: Change = {}): ApprovalRefusalCode | "accepted" {
  const result = verifyApprovals({ ...texts, ...change }, { ...context, ...change });
  return Result.match(result, { onSuccess: () => "accepted", onFailure: ({ code }) => code });
}

test("accepts two of three, in either order, and more than must approve", () => {
  for (const approvals of [[alice, bob], [bob, alice], [carol, bob], [carol, alice, bob]]) {
    assert.is(outcomeOf({ approvals }), "accepted");
  }
});

test("tells who approved, in the order of the policy", () => {
  const { approvers, request } = Result.getOrThrow(verifyApprovals({ ...texts, approvals: [carol, alice] }, context));
  assert.equal(approvers.map(({ name }) => name), ["alice", "carol"]);
  assert.is(request.operation.name, "issue-intermediate");
});

/** A ceremony of the same approvers about another request. */
async function other(change: Partial<RequestFrame>, under = policy): Promise<Change> {
  const text = composeApprovalRequest({ name: "issue-intermediate", tbs }, {
    ...frame,
    policy: under.digest,
    ...change,
  });
  return { policy: under.line, request: text, approvals: [await approve(text, 0), await approve(text, 1)] };
}

const swapped = (text: string, from: string | RegExp, to: string) => text.replace(from, to);
const forged = (number: number, signature: string) => {
  const fields = JSON.parse(approvals[number]!) as Record<string, string>;
  return JSON.stringify({ ...fields, signature: (JSON.parse(signature) as Record<string, string>)["signature"] });
};
const late = new Date(+now + requestLifeMaxMs + requestSkewMs);

const cases: readonly (readonly [name: string, change: Change, expected: ReturnType<typeof outcomeOf>])[] = [
  ["a policy that is not canonical", { policy: ` ${policy.line}` }, "approval-policy-malformed"],
  ["a policy with one more field", {
    policy: swapped(policy.line, '"threshold"', '"a":1,"threshold"'),
  }, "approval-policy-malformed"],
  ["a threshold of none", {
    policy: swapped(policy.line, '"threshold":2', '"threshold":0'),
  }, "approval-policy-malformed"],
  ["a threshold above the number of approvers", {
    policy: swapped(policy.line, '"threshold":2', '"threshold":4'),
  }, "approval-policy-malformed"],
  ["a lower threshold", { policy: policyOf([0, 1, 2], 1, "issue-intermediate").line }, "approval-other-policy"],
  ["a policy from which an approver was removed", {
    policy: policyOf([0, 2], 2, "issue-intermediate", "revoke-ca").line,
  }, "approval-other-policy"],
  ["a request that is not JSON", { request: request.slice(1) }, "approval-request-malformed"],
  [
    "a nonce in upper case",
    { request: swapped(request, "5a".repeat(32), "5A".repeat(32)) },
    "approval-request-malformed",
  ],
  ["parameters of another operation", {
    request: swapped(request, '"issue-intermediate"', '"revoke-ca"'),
  }, "approval-request-malformed"],
  ["another CA", { ca: sha256("another key") }, "approval-other-ca"],
  ["the CA where it is not checked", { ca: undefined }, "accepted"],
  ["an operation that needs no approvals", await other({}, policyOf([0, 1, 2], 2)), "approval-not-needed"],
  ["the millisecond before the end", { at: new Date(+frame.expires - 1) }, "accepted"],
  ["the end itself", { at: frame.expires }, "approval-expired"],
  ["a day and the clocks' difference ahead", await other({ expires: late }), "accepted"],
  ["one second more", await other({ expires: new Date(+late + 1_000) }), "approval-expires-late"],
  ["an invalid time", { at: new Date(Number.NaN) }, "approval-expired"],
  ["a nonce that was used", { usedNonces: new Set([frame.nonce]) }, "approval-replayed"],
  [
    "an approval with base64 of other spelling",
    { approvals: [alice, swapped(bob, '"signature":"', '"signature":" ')] },
    "approval-malformed",
  ],
  ["an approval of another request", {
    approvals: [alice, await approve("another", 1)],
  }, "approval-other-request"],
  ["an approver who is not listed", { approvals: [alice, bob, mallory] }, "approval-unlisted"],
  ["one approver twice", { approvals: [alice, alice] }, "approval-repeated"],
  ["one approver twice among enough", { approvals: [alice, bob, alice] }, "approval-repeated"],
  ["a signature of another approver", { approvals: [alice, forged(2, alice)] }, "approval-signature"],
  ["one bad signature among enough", { approvals: [alice, bob, forged(2, alice)] }, "approval-signature"],
  ["one approval", { approvals: [alice] }, "approvals-missing"],
  ["no approval", { approvals: [] }, "approvals-missing"],
  ["more approvals than a policy has approvers", {
    approvals: Array.from({ length: approversMax + 1 }, () => alice),
  }, "approval-too-many-files"],
];
for (const [name, change, expected] of cases) {
  test(`${expected === "accepted" ? "accepts" : "refuses"} ${name}`, () => assert.is(outcomeOf(change), expected));
}

test("a request lives a day, clocks may differ by five minutes, a policy has 32 approvers", () => {
  assert.equal([requestLifeMaxMs, requestSkewMs, approversMax], [86_400_000, 300_000, 32]);
  assert.is(outcomeOf({ approvals: Array.from({ length: 32 }, () => alice) }), "approval-repeated");
});

test("refuses approvals with fields of another form as malformed", async () => {
  const fields = JSON.parse(bob) as Record<string, string>;
  for (const change of [{ approver: "bob" }, { request: "request" }, { signature: "" }, { type: "hypha-approval/2" }]) {
    assert.is(outcomeOf({ approvals: [alice, JSON.stringify({ ...fields, ...change })] }), "approval-malformed");
  }
  assert.is(outcomeOf({ approvals: [alice, "{}"] }), "approval-malformed");
  const detailOf = (text: string) =>
    Result.match(verifyApprovals({ ...texts, approvals: [text] }, context), {
      onSuccess: () => "accepted",
      onFailure: ({ detail }) => detail,
    });
  assert.match(detailOf(await approve("another", 1)), "approval of bob is");
  assert.match(detailOf(await approve("another", 3)), sha256(signers[3]!.spki()));
});

test("every code of a refusal has a case", () => {
  const produced = new Set(cases.map(([, , expected]) => expected));
  assert.equal(Object.keys(approvalHints).filter((code) => !produced.has(code as ApprovalRefusalCode)), []);
});

test("refuses bytes to sign that hold more than a CA's certificate shows", () => {
  const parts = { issuer: root, publicKey: intermediate.publicKey, notBefore: now, notAfter: now, pathLength: 0 };
  const usual = composeIntermediateTbs({ commonName: "Acme CA 2", ...parts });
  const critical = Buffer.from(usual);
  // The authority key identifier becomes an extension of another OID: 2.5.29.35 to 2.5.29.70.
  critical[critical.indexOf(Buffer.from([0x55, 0x1d, 0x23])) + 2] = 70;
  // The last second of validity moves before the first one: the second UTCTime begins behind the first one's 15 octets.
  const ended = Buffer.from(usual);
  ended[ended.indexOf(Buffer.from([0x17, 0x0d])) + 15 + 2] = 0x30;
  const table = [
    [usual, "approvals-missing"],
    ...[critical, ended].map((b) => [b, "approval-request-malformed"] as const),
  ];
  for (const [bytes, expected] of table as readonly (readonly [Uint8Array, string])[]) {
    const text = composeApprovalRequest({ name: "issue-intermediate", tbs: bytes }, frame);
    assert.is(outcomeOf({ request: text, approvals: [] }), expected);
  }
});

/** A text with one octet changed, left out, doubled or put in. */
function mutated(text: string, random: RandomStream): string {
  const at = random.whole(0, text.length);
  const octet = String.fromCharCode(random.whole(32, 127));
  const [before, here, after] = [text.slice(0, at), text.slice(at, at + 1), text.slice(at + 1)];
  const one = random.pick([`${before}${octet}${after}`, `${before}${after}`, `${before}${here}${here}${after}`]);
  return one === text ? mutated(text, random) : one;
}

/** Replaces one approval by another text. */
const replaced = (texts: readonly string[], at: number, text: string) => texts.map((each, i) => i === at ? text : each);

const foreign = await other({ nonce: "a5".repeat(32) });
const mutations: Readonly<Record<string, (random: RandomStream, approvals: readonly string[]) => Change>> = {
  policy: (random) => ({ policy: mutated(policy.line, random) }),
  request: (random) => ({ request: mutated(request, random) }),
  approval: (random, all) => {
    const at = random.whole(0, all.length);
    return { approvals: replaced(all, at, mutated(all[at]!, random)) };
  },
  signature: (random, all) => {
    const at = random.whole(0, all.length);
    const fields = JSON.parse(all[at]!) as Record<string, string>;
    const bytes = Buffer.from(fields["signature"]!, "base64");
    const bit = random.whole(0, 8 * bytes.length);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    return { approvals: replaced(all, at, JSON.stringify({ ...fields, signature: bytes.toString("base64") })) };
  },
  replayed: () => ({ usedNonces: new Set([frame.nonce]) }),
  expired: (random) => ({ at: new Date(+frame.expires + random.whole(0, 1e9)) }),
  early: (random) => ({ at: new Date(+frame.expires - requestLifeMaxMs - requestSkewMs - 1 - random.whole(0, 1e9)) }),
  twice: (random, all) => ({ approvals: random.shuffle([...all, random.pick(all)]) }),
  "one approver alone, repeatedly": (_, all) => ({ approvals: all.map(() => all[0]!) }),
  missing: (random, all) => ({ approvals: [random.pick(all)] }),
  unlisted: (random, all) => ({ approvals: random.shuffle([...all, mallory]) }),
  removed: (random) => ({
    policy: policyOf(random.pick([[0, 1], [0, 2], [1, 2], [0, 1, 2, 3]]), 2, "issue-intermediate", "revoke-ca").line,
  }),
  "other request": () => ({ request: foreign.request! }),
  "approvals of another request": (random, all) => ({
    approvals: replaced(all, random.whole(0, all.length), random.pick(foreign.approvals!)),
  }),
  "other CA": (random) => ({ ca: sha256(random.bytes(8)) }),
  "request and policy swapped": () => ({ request: policy.line, policy: request }),
};

test("executes none of 10,000 mutated ceremonies, and each of the unchanged ones", () => {
  const many = Number(process.env["HYPHA_CEREMONIES"] ?? 10_000);
  const seed = process.env["HYPHA_SEED"] ?? "approvals";
  const random = randomOf(seed, "ceremonies");
  const kinds = Object.keys(mutations);
  for (let count = 0; count < many; count++) {
    const approvals = random.shuffle([alice, bob, carol]).slice(0, random.whole(2, 4));
    const kind = kinds[count % kinds.length]!;
    const change = mutations[kind]!(random, approvals);
    const outcome = outcomeOf({ approvals, ...change });
    assert.is.not(outcome, "accepted", `seed ${seed}, ceremony ${count}: ${kind} ${JSON.stringify(change)}`);
    if (count % 100 === 0) assert.is(outcomeOf({ approvals }), "accepted");
  }
});

test.run();
