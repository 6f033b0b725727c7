/**
 * Executing an operation that enough persons have approved.
 *
 * @module
 */
import { Clock, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { signatureAlgorithmIn } from "../../../pki/approval/parse_tbs.ts";
import type { ApprovedOperation } from "../../../pki/approval/approval_request.ts";
import { isOnline } from "../../../pki/approval/online_operation.ts";
import { verifyApprovals } from "../../../pki/approval/verify_approvals.ts";
import { sameBytes } from "../../../pki/bytes.ts";
import { type Certificate, parseCertificate } from "../../../pki/certificate.ts";
import { signedCertificate } from "../../../pki/issue/certificate_template.ts";
import { formatPem } from "../../../pki/pem.ts";
import type { ExistingFiles } from "../../files/write_whole.ts";
import { checkPathLength } from "../authorities.ts";
import { type AuthorityFiles, isIssuedBy, readAuthority } from "../authority.ts";
import { beginRecord } from "../begin_record.ts";
import { CertutilError } from "../certutil_error.ts";
import { holdLock } from "../file_lock.ts";
import { writeIssued } from "../issued_record.ts";
import { issuing, type Outcome, writeOutputs } from "../outcome.ts";
import type { Output } from "../replacement.ts";
import { revokeApproved } from "../revoke.ts";
import {
  approvalPolicyOf,
  approvalRecordOf,
  caIdOf,
  fromApprovalRefused,
  readApprovalRecord,
  readCa,
  readPolicy,
} from "./approval_files.ts";
import { ceremonyOf, readCeremony } from "./approve.ts";
import { describeRequest } from "./describe_request.ts";

/** Options of `hypha-certutil execute`. */
export interface ExecuteApproved extends Omit<AuthorityFiles, "caKey"> {
  /** The request and its approvals, in any order. */
  readonly files: readonly string[];
  /** The CA's key; `change-approvers` needs none. */
  readonly caKey?: string | undefined;
  /** Where an intermediate's certificate goes. */
  readonly outCert?: string | undefined;
  /** Where the revocation list goes. */
  readonly outCrl?: string | undefined;
  readonly days: number;
  readonly record?: string | undefined;
  readonly first?: boolean;
  readonly existing: ExistingFiles;
}

type Making = Effect.Effect<Outcome, CertutilError, FileSystem | Path>;

/**
 * Executes a request whose approvals hold under the policy next to the CA's certificate. The nonce is recorded in the same
 * step as the product is written, and first: after a power cut in between, the request has to be made anew.
 */
export function executeApproved(options: ExecuteApproved): Making {
  const recordPath = approvalRecordOf(options.caCert);
  const file = options.files[0] ?? "";
  return Effect.scoped(Effect.gen(function* () {
    yield* holdLock(recordPath);
    const ca = yield* readCa(options.caCert);
    const policy = yield* readPolicy(approvalPolicyOf(options.caCert));
    const record = yield* readApprovalRecord(options.caCert, ca);
    const lines = yield* readCeremony(options.files);
    const at = new Date(yield* Clock.currentTimeMillis);
    const context = { at, usedNonces: record.nonces, ca: caIdOf(ca) };
    const verified = Result.flatMap(ceremonyOf(policy.line, lines), (texts) => verifyApprovals(texts, context));
    const approved = yield* Effect.fromResult(
      Result.mapError(verified, (refused) => fromApprovalRefused(file, refused)),
    );
    const content = record.with(approved, at);
    const entry: Output = { path: recordPath, kind: "record", content, existing: "replace" };
    const { operation } = approved.request;
    const done = yield* execute(options, operation, entry);
    const who = `approved by ${approved.approvers.map(({ name }) => name).join(", ")}`;
    return { lines: [...describeRequest(approved.request), who, ...done.lines], warnings: done.warnings };
  }));
}

function execute(options: ExecuteApproved, operation: ApprovedOperation, entry: Output): Making {
  if (isOnline(operation)) {
    const detail = `${operation.name} is an operation of hypha-ca`;
    return Effect.fail(new CertutilError({ what: "execute", detail, remedy: "Approve it there: hypha-ca approve." }));
  }
  switch (operation.name) {
    case "issue-intermediate":
      return issueApproved(options, operation, entry);
    case "revoke-ca":
      return Effect.gen(function* () {
        const outCrl = yield* given("--out-crl", options.outCrl);
        const caKey = yield* given("--ca-key", options.caKey);
        const { certificate, reason } = operation;
        return yield* revokeApproved({ ...options, caKey, outCrl }, { certificate, reason, entry });
      });
    case "change-approvers": {
      const path = approvalPolicyOf(options.caCert);
      const policy: Output = { path, kind: "approval-policy", content: `${operation.policy.line}\n` };
      return writeOutputs([entry, policy], "replace", [], options.files);
    }
  }
}

function given(flag: string, value: string | undefined): Effect.Effect<string, CertutilError> {
  if (value !== undefined) return Effect.succeed(value);
  const error = { what: "execute", detail: `${flag} is missing`, remedy: `Give ${flag}: this operation needs it.` };
  return Effect.fail(new CertutilError(error));
}

/** Signs the approved bytes, and no others. */
function issueApproved(
  options: ExecuteApproved,
  { tbs, certificate }: Extract<ApprovedOperation, { name: "issue-intermediate" }>,
  entry: Output,
): Making {
  return Effect.gen(function* () {
    const outCert = yield* given("--out-cert", options.outCert);
    const files = { ...options, caKey: yield* given("--ca-key", options.caKey) };
    const authority = yield* readAuthority(files);
    yield* checkApproved(certificate, authority.certificate, options.caCert);
    const { basicConstraints } = certificate;
    yield* checkPathLength(authority.certificate, { ...options, pathLength: basicConstraints?.pathLength ?? Infinity });
    const der = yield* issuing("issue intermediate CA", async () => {
      return signedCertificate(tbs, signatureAlgorithmIn(tbs)!, await authority.issuer.key.sign(tbs));
    });
    if (!isIssuedBy(Result.getOrThrow(parseCertificate(der)), authority)) {
      return yield* refused("the signature does not verify under the CA's key", options.caCert);
    }
    const content = formatPem("CERTIFICATE", der);
    const outputs: readonly Output[] = [
      entry,
      { path: outCert, kind: "ca-certificate", content, mode: 0o644 },
      ...yield* beginRecord(der, outCert, "existing"),
    ];
    const issued = { der, files: outputs, warnings: authority.warnings };
    return yield* writeIssued(files, authority, issued, options.existing, options.files);
  });
}

const checkApproved = Effect.fnUntraced(function* (certificate: Certificate, ca: Certificate, file: string) {
  if (!sameBytes(certificate.issuer.der, ca.subject.der)) {
    yield* refused("the request names an issuer of another name", file);
  }
  if (sameBytes(certificate.publicKey.spki, ca.publicKey.spki)) {
    yield* refused("the request is about the CA's own key", file);
  }
  if (certificate.period.notAfter > ca.period.notAfter) {
    yield* refused("the certificate would end after the CA's", file);
  }
});

function refused(detail: string, file: string): Effect.Effect<never, CertutilError> {
  const remedy = "Make a new request: hypha-certutil request issue-intermediate.";
  return Effect.fail(new CertutilError({ what: "issue intermediate CA with", file, detail, remedy }));
}
