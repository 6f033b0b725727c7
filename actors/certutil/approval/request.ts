/**
 * Making requests for operations that wait for approvals. The CA's key is not needed.
 *
 * @module
 */
import { Clock, Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { randomBytes } from "node:crypto";
import {
  composeApprovalRequest,
  type OperationParts,
  parseApprovalRequest,
} from "../../../pki/approval/approval_request.ts";
import { composeIntermediateTbs } from "../../../pki/approval/intermediate_tbs.ts";
import { requestLifeMaxMs } from "../../../pki/approval/verify_approvals.ts";
import { sameBytes, toHex } from "../../../pki/bytes.ts";
import type { Certificate } from "../../../pki/certificate.ts";
import { readCsr, type RevocationReason, type SubjectName } from "../../../pki/issue/mod.ts";
import type { ExistingFiles } from "../../files/write_whole.ts";
import { keyWarning } from "../accepted_keys.ts";
import { checkPathLength } from "../authorities.ts";
import { CertutilError } from "../certutil_error.ts";
import { readPemInput } from "../input_file.ts";
import { type Lifetime, periodUnder } from "../lifetime.ts";
import { issuing, type Outcome, writeOutputs } from "../outcome.ts";
import { checkIssued, firstCertificate } from "../revoke.ts";
import { approvalPolicyOf, caIdOf, fromApprovalRefused, readCa, readPolicy } from "./approval_files.ts";
import { policyFrom, type StatedPolicy } from "./approvers.ts";
import { describeRequest } from "./describe_request.ts";

/** What all requests share. */
export interface MakeRequest {
  /** The CA that executes it; its policy lies next to the file. */
  readonly caCert: string;
  /** Where the request goes. */
  readonly out: string;
  /** Hours until it expires. */
  readonly hours: number;
  readonly existing: ExistingFiles;
}

/** An intermediate to issue. */
export interface RequestIntermediate extends MakeRequest, SubjectName, Lifetime {
  /** The intermediate's own request: the key is taken from it, and nothing else. */
  readonly csr: string;
  readonly pathLength: number;
}

/** A CA to revoke. */
export interface RequestRevocation extends MakeRequest {
  readonly cert: string;
  readonly reason: RevocationReason;
}

/** A policy to put in place of the one in force. */
export interface RequestApprovers extends MakeRequest, StatedPolicy {}

type Making = Effect.Effect<Outcome, CertutilError, FileSystem | Path>;

/** Requests that an intermediate is issued. */
export function requestIntermediate(options: RequestIntermediate): Making {
  return Effect.gen(function* () {
    const issuer = yield* readCa(options.caCert);
    const { period, warnings } = yield* periodUnder(options, issuer, options.caCert);
    const { commonName, organization, country, pathLength } = options;
    yield* checkPathLength(issuer, options);
    const csrPem = yield* readPemInput(options.csr, { what: "signing request", flag: "--csr" }, "signing request");
    const { publicKey } = yield* issuing(`read ${options.csr}`, () => Promise.resolve().then(() => readCsr(csrPem)));
    if (sameBytes(publicKey.spki, issuer.publicKey.spki)) {
      const [detail, remedy] = ["it is about the CA's own key", "Make the intermediate a key of its own."];
      return yield* new CertutilError({ what: "request a certificate for", file: options.csr, detail, remedy });
    }
    const parts = { issuer, publicKey, pathLength, commonName, organization, country, ...period };
    const tbs = yield* issuing("make request", () => Promise.resolve().then(() => composeIntermediateTbs(parts)));
    return yield* writeRequest(options, issuer, { name: "issue-intermediate", tbs }, [
      ...warnings,
      ...keyWarning(publicKey, "CA"),
    ]);
  });
}

/** Requests that a CA is revoked. */
export function requestRevocation(options: RequestRevocation): Making {
  return Effect.gen(function* () {
    const issuer = yield* readCa(options.caCert);
    const certificate = yield* firstCertificate(options.cert);
    yield* Effect.fromResult(checkIssued(certificate, issuer, options));
    const operation = { name: "revoke-ca", certificate, reason: options.reason } as const;
    return yield* writeRequest(options, issuer, operation, []);
  });
}

/** Requests that the policy changes. */
export function requestApprovers(options: RequestApprovers): Making {
  return Effect.gen(function* () {
    const ca = yield* readCa(options.caCert);
    const policy = yield* policyFrom(options);
    return yield* writeRequest(options, ca, { name: "change-approvers", policy }, []);
  });
}

const hourMs = 3_600_000;

const writeRequest = Effect.fnUntraced(function* (
  options: MakeRequest,
  ca: Certificate,
  operation: OperationParts,
  warnings: readonly string[],
) {
  const { hours } = options;
  const hoursMax = requestLifeMaxMs / hourMs;
  if (!(Number.isInteger(hours) && hours >= 1 && hours <= hoursMax)) {
    const remedy = `Give a whole number from 1 to ${hoursMax}.`;
    return yield* new CertutilError({ what: "use --hours", detail: `${hours} is out of range`, remedy });
  }
  const policy = yield* readPolicy(approvalPolicyOf(options.caCert));
  if (!policy.operations.includes(operation.name)) {
    const detail = `its policy does not list ${operation.name}`;
    const remedy = "Run the operation's own command.";
    return yield* new CertutilError({ what: "make request for", file: options.caCert, detail, remedy });
  }
  const now = yield* Clock.currentTimeMillis;
  const line = composeApprovalRequest(operation, {
    ca: caIdOf(ca),
    expires: new Date(Math.floor(now / 1_000) * 1_000 + hours * hourMs),
    nonce: toHex(randomBytes(32)),
    policy: policy.digest,
  });
  const parsed = parseApprovalRequest(line);
  if (parsed._tag === "Failure") return yield* fromApprovalRefused(options.out, parsed.failure);
  const file = { path: options.out, kind: "approval", content: `${line}\n` } as const;
  const { lines } = yield* writeOutputs([file], options.existing, warnings, [options.caCert]);
  return { lines: [...lines, ...describeRequest(parsed.success)], warnings };
});
