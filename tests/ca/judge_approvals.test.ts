/** The CA's decision about a ceremony, from texts alone: no mutated ceremony is executed. */
import { Buffer } from "node:buffer";
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { judgeApprovals, type RegisteredCeremony } from "../../actors/ca/judge_approvals.ts";
import { randomOf, type RandomStream } from "../../actors/runtime/random.ts";
import { composeApproval } from "../../pki/approval/approval.ts";
import { composeApprovalRequest } from "../../pki/approval/approval_request.ts";
import { sha256 } from "../../pki/approval/canonical_line.ts";
import { fileSigner } from "../../pki/issue/mod.ts";
import { approverKeys, type Person, policyOfKeys } from "../support/approvers.ts";

const test = suite("judgeApprovals()");
const keys = await approverKeys();
const policy = policyOfKeys(keys);
const [ca, now] = [sha256("the CA's key"), new Date("2026-03-01T12:00:00Z")];
const frame = { ca, expires: new Date(+now + 3_600_000), nonce: "5a".repeat(32), policy: policy.digest };
const operation = {
  name: "revoke-many",
  certificates: [{ identity: "spiffe://acme.example/worker/w-1", issuer: ca, serial: "4a1b" }],
  identities: ["spiffe://acme.example/worker/w-1"],
  reason: "keyCompromise",
} as const;
const line = composeApprovalRequest(operation, frame);
const approvalBy = (person: Person, text = line) => composeApproval(sha256(text), fileSigner(keys[person]));
const [alice, bob, carol, mallory] = await Promise.all(
  (["alice", "bob", "carol", "mallory"] as const).map((each) => approvalBy(each)),
) as [string, string, string, string];
const idOf = (text: string) => sha256(text).slice(0, 16);
const ceremony: RegisteredCeremony = {
  id: idOf(line),
  line,
  state: "open",
  policy: policy.line,
  approvals: [alice, bob],
};
const terms = { at: now, ca };

type Change = Partial<RegisteredCeremony & typeof terms>;
const outcomeOf = (change: Change = {}) =>
  Result.match(judgeApprovals({ ...ceremony, ...change }, { ...terms, ...change }), {
    onSuccess: ({ isApproved }) => isApproved ? "executed" : "waits",
    onFailure: ({ code }) => code,
  });

test("two of three are enough in any order, one is not, and a request is executed once", () => {
  for (const approvals of [[alice, bob], [bob, alice], [carol, alice, bob]]) {
    assert.is(outcomeOf({ approvals }), "executed");
  }
  for (const approvals of [[], [carol]]) assert.is(outcomeOf({ approvals }), "waits");
  for (const state of ["executed", "denied", "lapsed"] as const) assert.is(outcomeOf({ state }), "approval-replayed");
  assert.is(outcomeOf({ policy: undefined }), "approval-other-policy");
  assert.is(outcomeOf({ id: "5a".repeat(8) }), "approval-other-request");
});

function mutated(text: string, random: RandomStream): string {
  const at = random.whole(0, text.length);
  const octet = String.fromCharCode(random.whole(32, 127));
  const [before, here, after] = [text.slice(0, at), text.slice(at, at + 1), text.slice(at + 1)];
  const one = random.pick([`${before}${octet}${after}`, `${before}${after}`, `${before}${here}${here}${after}`]);
  return one === text ? mutated(text, random) : one;
}

const other = composeApprovalRequest({ ...operation, reason: "superseded" }, frame);
const foreign = [await approvalBy("alice", other), await approvalBy("bob", other)];
const replaced = (texts: readonly string[], at: number, text: string) => texts.map((each, i) => i === at ? text : each);

const mutations: Readonly<Record<string, (random: RandomStream, approvals: readonly string[]) => Change>> = {
  "bytes of the policy": (random) => ({ policy: mutated(policy.line, random) }),
  "bytes of the request": (random) => {
    const text = mutated(line, random);
    return { line: text, id: random.pick([idOf(text), ceremony.id]) };
  },
  "bytes of an approval": (random, all) => {
    const at = random.whole(0, all.length);
    return { approvals: replaced(all, at, mutated(all[at]!, random)) };
  },
  "a bit of a signature": (random, all) => {
    const at = random.whole(0, all.length);
    const fields = JSON.parse(all[at]!) as Record<string, string>;
    const bytes = Buffer.from(fields["signature"]!, "base64");
    const bit = random.whole(0, 8 * bytes.length);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    return { approvals: replaced(all, at, JSON.stringify({ ...fields, signature: bytes.toString("base64") })) };
  },
  "order of the fields": (random, all) => {
    const at = random.whole(0, all.length);
    const fields = Object.entries(JSON.parse(all[at]!) as Record<string, string>);
    return { approvals: replaced(all, at, JSON.stringify(Object.fromEntries(fields.toReversed()))) };
  },
  replayed: (random) => ({ state: random.pick(["executed", "denied", "lapsed"]) }),
  expired: (random) => ({ at: new Date(+frame.expires + random.whole(0, 1e9)) }),
  "one approver twice": (random, all) => ({ approvals: random.shuffle([...all, random.pick(all)]) }),
  "one approver alone, repeatedly": (_, all) => ({ approvals: all.map(() => all[0]!) }),
  "too few": (random, all) => ({ approvals: [random.pick(all)] }),
  unlisted: (random, all) => ({ approvals: random.shuffle([...all, mallory]) }),
  "an approver left": (random) => ({
    policy: policyOfKeys(keys, random.pick<readonly Person[]>([["alice", "bob"], ["bob", "carol"]])).line,
  }),
  "an approver came": () => ({ policy: policyOfKeys(keys, ["alice", "bob", "carol", "mallory"]).line }),
  "the operation left the list": () => ({ policy: policyOfKeys(keys, undefined, ["change-approvers"]).line }),
  "wrong id": (random) => ({ id: sha256(random.bytes(8)).slice(0, 16) }),
  "another request": (random) => ({ line: other, id: random.pick([idOf(other), ceremony.id]) }),
  "approvals of another request": (random, all) => ({
    approvals: replaced(all, random.whole(0, all.length), random.pick(foreign)),
  }),
  "another CA": (random) => ({ ca: sha256(random.bytes(8)) }),
};

test("10,000 mutated ceremonies: none is executed, each unchanged one is", () => {
  const many = Number(process.env["HYPHA_CEREMONIES"] ?? 10_000);
  const seed = process.env["HYPHA_SEED"] ?? "approvals";
  const random = randomOf(seed, "ca-ceremonies");
  const kinds = Object.keys(mutations);
  for (let count = 0; count < many; count++) {
    const approvals = random.shuffle([alice, bob, carol]).slice(0, random.whole(2, 4));
    const kind = kinds[count % kinds.length]!;
    const change = mutations[kind]!(random, approvals);
    const outcome = outcomeOf({ approvals, ...change });
    assert.is.not(outcome, "executed", `seed ${seed}, ceremony ${count}: ${kind} ${JSON.stringify(change)}`);
    if (count % 100 === 0) assert.is(outcomeOf({ approvals }), "executed");
  }
});

test.run();
