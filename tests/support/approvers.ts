/**
 * Three approvers of a CA for tests: alice, bob and carol, of whom two must approve.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { takeApproval } from "../../actors/ca/approval_ceremony.ts";
import { approvalRowOf } from "../../actors/ca/approval_rows.ts";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { setFirstPolicy } from "../../actors/ca/operator_acts.ts";
import { composeApproval } from "../../pki/approval/approval.ts";
import {
  type ApprovalPolicy,
  makeApprovalPolicy,
  onlineOperations,
  type OperationName,
} from "../../pki/approval/approval_policy.ts";
import { sha256 } from "../../pki/approval/canonical_line.ts";
import { fileSigner, type Signer } from "../../pki/issue/mod.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";

/** Names of the approvers; mallory is none. */
export const approverNames = ["alice", "bob", "carol", "mallory"] as const;
/** A person with a key. */
export type Person = typeof approverNames[number];

/** Their keys, PEM. */
export async function approverKeys(): Promise<Readonly<Record<Person, string>>> {
  const keys = await Promise.all(approverNames.map(async (name) => [name, (await makeSigningKey()).keyPem] as const));
  return Object.fromEntries(keys) as Record<Person, string>;
}

/** A policy of some of them. */
export function policyOfKeys(
  keys: Readonly<Record<Person, string>>,
  names: readonly Person[] = ["alice", "bob", "carol"],
  operations: readonly OperationName[] = onlineOperations,
): ApprovalPolicy {
  const approvers = names.map((name) => ({ name, spki: fileSigner(keys[name]).spki() }));
  return Result.getOrThrow(makeApprovalPolicy({ approvers, threshold: 2, operations }));
}

/** The approvers of a CA, at work. */
export interface TestApprovers {
  readonly keys: Readonly<Record<Person, string>>;
  readonly signers: Readonly<Record<Person, Signer>>;
  readonly policy: ApprovalPolicy;
  /** The line of a person's approval of a request. */
  readonly sign: (id: string, person: Person) => Promise<string>;
  /** Approves a request: its state, or the refusal. */
  readonly approve: (id: string, person: Person, at: Date) => Promise<string>;
}

/** Sets approvers of all operations. */
export async function testApprovers(
  ca: CertificateAuthority,
  operations: readonly OperationName[] = onlineOperations,
): Promise<TestApprovers> {
  const keys = await approverKeys();
  const signers = Object.fromEntries(approverNames.map((name) => [name, fileSigner(keys[name])])) as Record<
    Person,
    Signer
  >;
  const policy = policyOfKeys(keys, undefined, operations);
  await Effect.runPromise(setFirstPolicy(ca, policy.line));
  const sign = (id: string, person: Person) => {
    const row = Result.getOrThrow(ca.register.read((rows) => approvalRowOf(rows, id)));
    return composeApproval(sha256(row?.line ?? ""), signers[person]);
  };
  return {
    keys,
    signers,
    policy,
    sign,
    approve: async (id, person, at) => {
      const taken = takeApproval(ca, { id, approval: await sign(id, person) }, at);
      return await Effect.runPromise(Effect.match(taken, {
        onSuccess: ({ state, reason }) => reason === undefined ? state : `${state}: ${reason}`,
        onFailure: (error) => error.message,
      }));
    },
  };
}
