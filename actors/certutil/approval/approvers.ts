/**
 * Making the first policy of a CA: who approves what.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import {
  type ApprovalPolicy,
  makeApprovalPolicy,
  offlineOperations,
  type OperationName,
} from "../../../pki/approval/approval_policy.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { parsePem } from "../../../pki/pem.ts";
import { CertutilError } from "../certutil_error.ts";
import { readInput } from "../input_file.ts";
import { type Outcome, writeOutputs } from "../outcome.ts";
import type { Output } from "../replacement.ts";
import { approvalPolicyOf, approvalRecordOf, emptyApprovalRecord, readCa } from "./approval_files.ts";
import { policyLines } from "./describe_request.ts";

/** A policy as the operator states it. */
export interface StatedPolicy {
  /** `NAME=FILE`: a public key or a certificate, PEM. */
  readonly approvers: readonly string[];
  readonly threshold: number;
  /** What waits for approvals; everything that can where it is undefined. `change-approvers` always does. */
  readonly operations?: readonly OperationName[] | undefined;
}

/** Options of `hypha-certutil approvers`. */
export interface MakeApprovers extends StatedPolicy {
  readonly caCert: string;
}

/** Writes the first policy and the empty record of a CA. A later policy comes with `change-approvers` alone. */
export function makeApprovers(options: MakeApprovers): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const ca = yield* readCa(options.caCert);
    const policy = yield* policyFrom(options);
    const files: readonly Output[] = [
      { path: approvalPolicyOf(options.caCert), kind: "approval-policy", content: `${policy.line}\n` },
      { path: approvalRecordOf(options.caCert), kind: "record", content: emptyApprovalRecord(ca) },
    ];
    const { lines } = yield* writeOutputs(files, "keep", [], [options.caCert]);
    return { lines: [...lines, ...policyLines(policy)], warnings: [] };
  });
}

/** Reads the approvers' keys. */
export function policyFrom(stated: StatedPolicy): Effect.Effect<ApprovalPolicy, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const approvers: { name: string; spki: Uint8Array }[] = [];
    for (const text of stated.approvers) approvers.push(yield* readApprover(text));
    const { threshold, operations = offlineOperations } = stated;
    const policy = makeApprovalPolicy({ approvers, threshold, operations: [...operations, "change-approvers"] });
    return yield* Effect.fromResult(
      Result.mapError(policy, ({ detail }) =>
        new CertutilError({
          what: "make approval policy",
          detail,
          remedy: "Check --approver, --threshold, --operation.",
        })),
    );
  });
}

const readApprover = Effect.fnUntraced(function* (text: string) {
  const [, name = "", file = ""] = /^([^=]*)=(.+)$/s.exec(text) ?? [];
  const refuse = (detail: string) =>
    new CertutilError({
      what: "read approver",
      file: file === "" ? undefined : file,
      detail,
      remedy: "Give NAME=FILE, with a public key (openssl pkey -in KEY -pubout) or a certificate in PEM.",
    });
  if (file === "") return yield* refuse(`${JSON.stringify(text)} is not NAME=FILE`);
  const pem = yield* readInput(file, { what: "approver's public key", flag: "--approver" });
  const blocks = yield* Effect.fromResult(Result.mapError(parsePem(pem), ({ message }) => refuse(message)));
  const block = blocks.find(({ label }) => label === "PUBLIC KEY" || label === "CERTIFICATE");
  if (block === undefined) return yield* refuse("it holds neither a public key nor a certificate");
  if (block.label === "PUBLIC KEY") return { name, spki: block.der };
  const parsed = yield* Effect.fromResult(
    Result.mapError(parseCertificate(block.der), ({ message }) => refuse(message)),
  );
  return { name, spki: parsed.publicKey.spki };
});
