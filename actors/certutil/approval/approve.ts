/**
 * Approving a request, and verifying approvals, from files alone.
 *
 * @module
 */
import { Clock, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { composeApproval } from "../../../pki/approval/approval.ts";
import { approvalAlgorithms } from "../../../pki/approval/approval_policy.ts";
import { type ApprovalRefused, refuseApproval } from "../../../pki/approval/approval_refused.ts";
import { type ApprovalRequest, parseApprovalRequest } from "../../../pki/approval/approval_request.ts";
import { lineTypes } from "../../../pki/approval/canonical_line.ts";
import {
  type Approved,
  type CeremonyTexts,
  expiresLate,
  verifyApprovals,
} from "../../../pki/approval/verify_approvals.ts";
import { decodeDer } from "../../../pki/der.ts";
import { readPublicKey } from "../../../pki/public_key.ts";
import type { ExistingFiles } from "../../files/write_whole.ts";
import { CertutilError } from "../certutil_error.ts";
import { readSigner } from "../key_source.ts";
import { shownUri } from "../../pkcs11/pkcs11_signer.ts";
import { parseTime } from "../lifetime.ts";
import { issuing, type Outcome, writeOutputs } from "../outcome.ts";
import { caIdOf, fromApprovalRefused, readCa, readLines, readPolicy } from "./approval_files.ts";
import { describeRequest } from "./describe_request.ts";

/** Options of `hypha-certutil approve`. */
export interface Approve {
  readonly request: string;
  /** The approver's key; nothing is signed without it. */
  readonly key?: string | undefined;
  readonly passin?: string | undefined;
  /** Where the approval goes. */
  readonly out?: string | undefined;
  readonly existing: ExistingFiles;
}

/** Shows what a request would do, from its bytes; with a key, signs an approval of these bytes. */
export function approve(options: Approve): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  const { request: file, key, out } = options;
  return Effect.gen(function* () {
    const lines = yield* readLines(file, "request", "REQUEST");
    const parsed = Result.mapError(
      parseApprovalRequest(lines.join("\n")),
      (refused) => fromApprovalRefused(file, refused),
    );
    const request = yield* Effect.fromResult(parsed);
    const shown = describeRequest(request);
    if ((key === undefined) !== (out === undefined)) {
      const detail = key === undefined ? "--key is missing" : "--out is missing";
      const remedy = "Give both to sign an approval, or neither to see what the request would do.";
      return yield* new CertutilError({ what: "approve", file, detail, remedy });
    }
    if (key === undefined || out === undefined) return { lines: shown, warnings: [] };
    const line = yield* signApproval(request, { key, passin: options.passin });
    const output = { path: out, kind: "approval", content: `${line}\n` } as const;
    const { lines: written } = yield* writeOutputs([output], options.existing, [], [file, key]);
    return { lines: [...shown, ...written], warnings: [] };
  });
}

/** Signs an approval of a request that has not expired, and expires within a day: its line. */
export function signApproval(
  request: ApprovalRequest,
  { key, passin }: { readonly key: string; readonly passin: string | undefined },
): Effect.Effect<string, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const { digest, expires } = request;
    const now = yield* Clock.currentTimeMillis;
    const refuse = (detail: string) =>
      new CertutilError({ what: "approve request", detail, remedy: "Have a new request made." });
    if (expires.getTime() <= now) return yield* refuse(`it expired at ${expires.toISOString()}`);
    // It could be executed on its last day.
    if (expiresLate(request, new Date(now))) {
      return yield* refuse(`it expires at ${expires.toISOString()}, in over a day`);
    }
    const signer = yield* approverKey(key, passin);
    return yield* issuing("approve", () => composeApproval(digest, signer));
  });
}

const approverKey = Effect.fnUntraced(function* (key: string, passin: string | undefined) {
  const signer = yield* readSigner({ key, passin }, { what: "approver's key", flag: "--key" });
  const { algorithm, label } = Result.getOrThrow(decodeDer(signer.spki(), readPublicKey));
  if (approvalAlgorithms[algorithm] !== undefined) return signer;
  const detail = `${label} is not one of Ed25519, ECDSA P-256`;
  const remedy = "Approve with the key of the policy.";
  return yield* new CertutilError({ what: "approve with", file: shownUri(key), detail, remedy });
});

/** The texts of a ceremony from the lines of its files, in any order: one request, and approvals. */
export function ceremonyOf(policy: string, lines: readonly string[]): Result.Result<CeremonyTexts, ApprovalRefused> {
  const requests = lines.filter((line) => typeOf(line) === lineTypes.request);
  const [request, second] = requests;
  if (request === undefined) return refuseApproval("approval-request-malformed", "no file holds a request");
  if (second !== undefined) return refuseApproval("approval-too-many-files", `there are ${requests.length} requests`);
  return Result.succeed({ policy, request, approvals: lines.filter((line) => line !== request) });
}

function typeOf(line: string): unknown {
  try {
    return (JSON.parse(line) as { readonly type?: unknown } | null)?.type;
  } catch {
    return undefined;
  }
}

/** Options of `hypha-certutil verify-approvals`. */
export interface VerifyCeremony {
  readonly files: readonly string[];
  readonly policy: string;
  readonly caCert?: string | undefined;
  readonly at?: string | undefined;
}

/** Verifies a ceremony from files alone. Does not know whether it was executed. */
export function verifyCeremony(
  options: VerifyCeremony,
): Effect.Effect<Result.Result<Approved, ApprovalRefused>, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const policy = yield* readPolicy(options.policy);
    const at = yield* Effect.fromResult(parseTime("--at", options.at));
    const ca = options.caCert === undefined ? undefined : caIdOf(yield* readCa(options.caCert));
    const lines = yield* readCeremony(options.files);
    const context = { at: at ?? new Date(yield* Clock.currentTimeMillis), usedNonces: new Set<string>(), ca };
    return Result.flatMap(ceremonyOf(policy.line, lines), (texts) => verifyApprovals(texts, context));
  });
}

/** The lines of a ceremony's files. */
export function readCeremony(files: readonly string[]): Effect.Effect<readonly string[], CertutilError, FileSystem> {
  return Effect.map(
    Effect.forEach(files, (file) => readLines(file, "request or approval", "FILE")),
    (each) => each.flat(),
  );
}
