/**
 * One approver's approval of one request, as one line of canonical JSON.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as Result from "effect/Result";
import { canonicalJson } from "../canonical_json.ts";
import type { Signer } from "../issue/signer.ts";
import { verifySignature } from "../signature.ts";
import { approvalAlgorithms, type Approver } from "./approval_policy.ts";
import { type ApprovalRefused, refuseApproval } from "./approval_refused.ts";
import { isDigest, lineTypes, readBase64, readLine, sha256, toBase64 } from "./canonical_line.ts";

/** An approval; its signature has not been checked. */
export interface Approval {
  /** SHA-256 of the approver's public key, hexadecimal. */
  readonly approver: string;
  /** SHA-256 of the request's line, hexadecimal. */
  readonly request: string;
  readonly signature: Uint8Array;
}

/** Begins what is signed, so that a signature of an approval is none of anything else. */
const signedPrefix = "hypha-approval/1\n";

/** What an approver signs: `hypha-approval/1`, a line feed, and the 32 octets of the request's SHA-256. */
export function signedBytes(requestDigest: string): Uint8Array {
  return Buffer.concat([Buffer.from(signedPrefix), Buffer.from(requestDigest, "hex")]);
}

/** Signs an approval: its line, without the line feed. */
export async function composeApproval(requestDigest: string, signer: Signer): Promise<string> {
  return canonicalJson({
    approver: sha256(signer.spki()),
    request: requestDigest,
    signature: toBase64(await signer.sign(signedBytes(requestDigest))),
    type: lineTypes.approval,
  });
}

/** Reads an approval. */
export function parseApproval(line: string): Result.Result<Approval, ApprovalRefused> {
  const malformed = (detail: string) => refuseApproval("approval-malformed", `an approval cannot be used: ${detail}`);
  const fields = readLine(line, "approval", ["approver", "request", "signature"]);
  if (typeof fields === "string") return malformed(fields);
  const { approver, request } = fields;
  const signature = readBase64(fields["signature"]);
  if (!isDigest(approver) || !isDigest(request)) return malformed("approver or request is not 32 octets");
  if (signature === undefined) return malformed("its signature is not base64");
  return Result.succeed({ approver, request, signature });
}

/** Whether an approval's signature verifies under an approver's key. */
export function isSignedBy({ request, signature }: Approval, { publicKey }: Approver): boolean {
  const algorithm = approvalAlgorithms[publicKey.algorithm];
  return algorithm !== undefined && verifySignature({ data: signedBytes(request), algorithm, signature }, publicKey);
}
