/**
 * An operation that waits for approvals, as one line of canonical JSON: the operation, every parameter, the CA, the
 * policy, a nonce and an end.
 *
 * @module
 */
import * as Result from "effect/Result";
import { type CanonicalFields, canonicalJson } from "../canonical_json.ts";
import { type Certificate, parseCertificate } from "../certificate.ts";
import type { RevocationReason } from "../issue/issue_crl.ts";
import { type ApprovalPolicy, type OperationName, parseApprovalPolicy } from "./approval_policy.ts";
import { type ApprovalRefused, refuseApproval } from "./approval_refused.ts";
import {
  hasExactly,
  isDigest,
  isFields,
  type LineFields,
  lineTypes,
  readBase64,
  readLine,
  sha256,
  toBase64,
} from "./canonical_line.ts";
import { readIntermediateTbs } from "./intermediate_tbs.ts";
import {
  isOnline,
  isReason,
  type OnlineOperation,
  onlineParametersOf,
  type OnlineParts,
  onlineReaders,
} from "./online_operation.ts";

/** What is to be done. */
export type ApprovedOperation =
  | OnlineOperation
  | {
    readonly name: "issue-intermediate";
    /** The bytes that the CA signs. */
    readonly tbs: Uint8Array;
    /** The same as a certificate, without a signature. */
    readonly certificate: Certificate;
  }
  | {
    readonly name: "revoke-ca";
    /** The CA to revoke. */
    readonly certificate: Certificate;
    readonly reason: RevocationReason;
  }
  | {
    readonly name: "change-approvers";
    /** The policy that takes the place of the one in force. */
    readonly policy: ApprovalPolicy;
  };

/** What surrounds the operation. */
export interface RequestFrame {
  /** SHA-256 of the public key (SubjectPublicKeyInfo) of the CA that executes it, hexadecimal. */
  readonly ca: string;
  /** Whole seconds; from then on it is not executed. */
  readonly expires: Date;
  /** 32 random octets, hexadecimal: the request is executed once. */
  readonly nonce: string;
  /** SHA-256 of the policy's line, hexadecimal. */
  readonly policy: string;
}

/** A request. */
export interface ApprovalRequest extends RequestFrame {
  readonly operation: ApprovedOperation;
  /** SHA-256 of the request's line, hexadecimal: what approvers sign. */
  readonly digest: string;
}

/** An operation as the request holds it. */
export type OperationParts =
  | OnlineParts
  | { readonly name: "issue-intermediate"; readonly tbs: Uint8Array }
  | { readonly name: "revoke-ca"; readonly certificate: Certificate; readonly reason: RevocationReason }
  | { readonly name: "change-approvers"; readonly policy: ApprovalPolicy };

/** Writes a request's line, without the line feed. */
export function composeApprovalRequest(operation: OperationParts, frame: RequestFrame): string {
  return canonicalJson({
    ca: frame.ca,
    expires: secondsOf(frame.expires),
    nonce: frame.nonce,
    operation: operation.name,
    parameters: parametersOf(operation),
    policy: frame.policy,
    type: lineTypes.request,
  });
}

function parametersOf(operation: OperationParts): CanonicalFields {
  if (isOnline(operation)) return onlineParametersOf(operation);
  switch (operation.name) {
    case "issue-intermediate":
      return { tbs: toBase64(operation.tbs) };
    case "revoke-ca": {
      const { certificate: { der, serial }, reason } = operation;
      return { certificate: toBase64(der), reason, serial };
    }
    case "change-approvers":
      return { policy: operation.policy.line };
  }
}

const secondsOf = (at: Date) => at.toISOString().replace(/\.\d+Z$/, "Z");

/**
 * Reads a request. Checks its form, and that its parameters are those of the operation; neither policy nor time.
 *
 * @param line The request without the line feed at its end.
 */
export function parseApprovalRequest(line: string): Result.Result<ApprovalRequest, ApprovalRefused> {
  const malformed = (detail: string) =>
    refuseApproval("approval-request-malformed", `the request cannot be used: ${detail}`);
  const fields = readLine(line, "request", ["ca", "expires", "nonce", "operation", "parameters", "policy"]);
  if (typeof fields === "string") return malformed(fields);
  const { ca, nonce, policy, parameters } = fields;
  if (!isDigest(ca) || !isDigest(nonce) || !isDigest(policy)) return malformed("ca, nonce or policy is not 32 octets");
  const expires = readSeconds(fields["expires"]);
  if (expires === undefined) return malformed("expires is no time in UTC, in whole seconds");
  const operation = isFields(parameters) ? readOperation(fields["operation"], parameters) : "it has no parameters";
  if (typeof operation === "string") return malformed(operation);
  return Result.succeed({ ca, nonce, policy, expires, operation, digest: sha256(line) });
}

function readSeconds(value: unknown): Date | undefined {
  if (typeof value !== "string") return undefined;
  const at = new Date(value);
  return !Number.isNaN(at.getTime()) && secondsOf(at) === value ? at : undefined;
}

function readOperation(name: unknown, parameters: LineFields): ApprovedOperation | string {
  const read = Object.hasOwn(readers, String(name)) ? readers[name as OperationName] : undefined;
  if (read === undefined) return "its operation is not known here";
  const more = read.optional?.filter((each) => Object.hasOwn(parameters, each)) ?? [];
  if (!hasExactly(parameters, [...read.names, ...more])) return `its parameters are not ${read.names.join(", ")}`;
  return read.from(parameters);
}

interface OperationReader {
  readonly names: readonly string[];
  /** Names that may be there too. */
  readonly optional?: readonly string[];
  readonly from: (parameters: LineFields) => ApprovedOperation | string;
}

const readers: Readonly<Record<OperationName, OperationReader>> = {
  "issue-intermediate": { names: ["tbs"], from: readIntermediate },
  "revoke-ca": { names: ["certificate", "reason", "serial"], from: readRevocation },
  "change-approvers": { names: ["policy"], from: readChange },
  ...onlineReaders,
};

function readIntermediate(parameters: LineFields): ApprovedOperation | string {
  const tbs = readBase64(parameters["tbs"]);
  if (tbs === undefined) return "its certificate is not base64";
  const certificate = readIntermediateTbs(tbs);
  return typeof certificate === "string" ? certificate : { name: "issue-intermediate", tbs, certificate };
}

function readRevocation({ certificate, reason, serial }: LineFields): ApprovedOperation | string {
  const der = readBase64(certificate);
  const parsed = der === undefined ? undefined : Result.getOrUndefined(parseCertificate(der));
  if (parsed === undefined) return "the certificate to revoke cannot be read";
  if (parsed.basicConstraints?.ca !== true) return "the certificate to revoke is not a CA's";
  if (parsed.serial !== serial) return "its serial is not the certificate's";
  if (!isReason(reason)) return "its reason is not known";
  return { name: "revoke-ca", certificate: parsed, reason };
}

function readChange({ policy }: LineFields): ApprovedOperation | string {
  const parsed = parseApprovalPolicy(String(policy));
  return Result.isSuccess(parsed) ? { name: "change-approvers", policy: parsed.success } : parsed.failure.detail;
}
