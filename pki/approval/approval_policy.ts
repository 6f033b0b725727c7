/**
 * Who approves: k of n persons, each with a key of their own, and which operations wait for them.
 *
 * @module
 */
import * as Result from "effect/Result";
import { canonicalJson } from "../canonical_json.ts";
import type { Certificate } from "../certificate.ts";
import { decodeDer } from "../der.ts";
import { readPublicKey } from "../public_key.ts";
import { type ApprovalRefused, refuseApproval } from "./approval_refused.ts";
import {
  hasExactly,
  isFields,
  type LineFields,
  lineTypes,
  readBase64,
  readLine,
  sha256,
  toBase64,
} from "./canonical_line.ts";

/** Operations of `hypha-certutil`, with the key of a CA that is offline. */
export const offlineOperations = ["change-approvers", "issue-intermediate", "revoke-ca"] as const;

/** Operations of `hypha-ca`. */
export const onlineOperations = [
  "change-approvers",
  "issue-role:data",
  "issue-role:gateway",
  "issue-role:scheduler",
  "issue-role:worker",
  "revoke-many",
  "rotate-ca",
] as const;

/** Operations that can wait for approvals. `change-approvers` always does. */
export const approvableOperations: readonly OperationName[] = [
  ...new Set<OperationName>([...offlineOperations, ...onlineOperations]),
];

/** Name of an operation. */
export type OperationName = typeof offlineOperations[number] | typeof onlineOperations[number];

/** Approvers of one policy. */
export const approversMax = 32;

/** A person who approves. */
export interface Approver {
  /** For people. */
  readonly name: string;
  readonly publicKey: Certificate["publicKey"];
  /** SHA-256 of the key's SubjectPublicKeyInfo, hexadecimal. */
  readonly keyId: string;
}

/** A policy. */
export interface ApprovalPolicy {
  readonly approvers: readonly Approver[];
  /** How many of them must approve. */
  readonly threshold: number;
  /** What waits for them. */
  readonly operations: readonly OperationName[];
  /** The policy's line, without the line feed. */
  readonly line: string;
  /** SHA-256 of the line, hexadecimal. */
  readonly digest: string;
}

/** What a policy is made of. */
export interface PolicyParts {
  /** The public keys as DER (SubjectPublicKeyInfo). */
  readonly approvers: readonly { readonly name: string; readonly spki: Uint8Array }[];
  readonly threshold: number;
  readonly operations: readonly OperationName[];
}

/** Makes a policy; refuses what {@linkcode parseApprovalPolicy} would refuse. */
export function makeApprovalPolicy(parts: PolicyParts): Result.Result<ApprovalPolicy, ApprovalRefused> {
  const { approvers, threshold, operations } = parts;
  if (!Number.isSafeInteger(threshold)) return malformed("its threshold is not a whole number");
  return parseApprovalPolicy(canonicalJson({
    approvers: approvers.map(({ name, spki }) => ({ name: name.toWellFormed(), spki: toBase64(spki) })),
    operations: [...new Set(operations)].toSorted(),
    threshold,
    type: lineTypes.policy,
  }));
}

/**
 * Reads a policy: at most 32 approvers with different names and keys (Ed25519 or ECDSA P-256), at least as many as the
 * threshold; `change-approvers` among the operations.
 *
 * @param line The file's text without the line feed at its end.
 */
export function parseApprovalPolicy(line: string): Result.Result<ApprovalPolicy, ApprovalRefused> {
  const fields = readLine(line, "policy", ["approvers", "operations", "threshold"]);
  if (typeof fields === "string") return malformed(fields);
  const approvers = readApprovers(fields["approvers"]);
  if (typeof approvers === "string") return malformed(approvers);
  const operations = readOperations(fields["operations"]);
  if (typeof operations === "string") return malformed(operations);
  const threshold = fields["threshold"];
  if (typeof threshold !== "number" || threshold < 1 || threshold > approvers.length) {
    return malformed(`its threshold is not between 1 and ${approvers.length}, the number of its approvers`);
  }
  return Result.succeed({ approvers, threshold, operations, line, digest: sha256(line) });
}

function malformed(detail: string): Result.Result<never, ApprovalRefused> {
  return refuseApproval("approval-policy-malformed", `the policy cannot be used: ${detail}`);
}

function readApprovers(value: unknown): readonly Approver[] | string {
  if (!Array.isArray(value) || value.length === 0) return "it lists no approvers";
  if (value.length > approversMax) return `it lists more than ${approversMax} approvers`;
  const approvers: Approver[] = [];
  for (const [index, each] of value.entries()) {
    const approver = isFields(each) && hasExactly(each, ["name", "spki"]) ? readApprover(each) : "it has other fields";
    if (typeof approver === "string") return `approver ${index + 1} cannot be read: ${approver}`;
    const same = approvers.find(({ name, keyId }) => name === approver.name || keyId === approver.keyId);
    if (same !== undefined) return `approvers ${same.name} and ${approver.name} have the same name or the same key`;
    approvers.push(approver);
  }
  return approvers;
}

function readApprover({ name, spki }: LineFields): Approver | string {
  if (typeof name !== "string" || !/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/.test(name)) {
    return "a name has up to 64 letters, digits, and any of . _ @ -";
  }
  const der = readBase64(spki);
  if (der === undefined) return "its public key is not base64";
  const key = decodeDer(der, (cursor) => {
    const read = readPublicKey(cursor);
    cursor.finish("the public key");
    return read;
  });
  if (Result.isFailure(key)) return `its public key is malformed: ${key.failure.detail}`;
  const { algorithm, label } = key.success;
  if (approvalAlgorithms[algorithm] === undefined) return `${label} is not one of Ed25519, ECDSA P-256`;
  return { name, publicKey: key.success, keyId: sha256(der) };
}

/** OID of the signatures of each kind of key that approves. */
export const approvalAlgorithms: Readonly<Partial<Record<Certificate["publicKey"]["algorithm"], string>>> = {
  "ed25519": "1.3.101.112",
  "ecdsa-p256": "1.2.840.10045.4.3.2",
};

function readOperations(value: unknown): readonly OperationName[] | string {
  const all: readonly string[] = approvableOperations;
  const known = Array.isArray(value) && value.every((each) => all.includes(each));
  if (!known || new Set(value).size !== value.length) {
    return `its operations are not among ${all.join(", ")}, each once`;
  }
  if (!value.includes("change-approvers")) return "change-approvers is not among its operations";
  return value as readonly OperationName[];
}
