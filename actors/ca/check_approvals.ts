/**
 * Whether a configuration agrees with the approvers of the register.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { Result } from "effect";
import type { ApprovalPolicy } from "../../pki/approval/approval_policy.ts";
import { factOf, lapseOfOthers, needsApprovals, policyFact, policyOf } from "./approval_rows.ts";
import { arePermitted, configuredCas, takeApprovedCas } from "./authorities_fact.ts";
import { type CaConfig, CaConfigError } from "./ca_config.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { endRestoration, type Restoration, restorationOf } from "./restored_rows.ts";
import { shellWord } from "../files/shell_word.ts";

/**
 * Checks the file of approvers, and the CAs of the configuration where `rotate-ca` waits for approvals.
 *
 * @param start The path of the configuration, as the operator gave it, and when the CA starts.
 */
export function checkApprovals(
  ca: CertificateAuthority,
  { approversJson: file }: Pick<CaConfig, "approversJson">,
  { configFile, at }: { readonly configFile: string; readonly at: Date },
): Result.Result<void, CaConfigError | RegisterFailure> {
  return Result.gen(function* () {
    const stated = yield* readPolicy(file);
    const cas = configuredCas(ca);
    return yield* ca.register.transaction<void, CaConfigError>((rows) => {
      const differs = difference(rows, stated, configFile);
      if (differs !== undefined) return Result.fail(new CaConfigError({ file, detail: differs }));
      if (needsApprovals(rows, "rotate-ca") && !arePermitted(rows, cas, at)) {
        const detail = "its CAs were changed without approvals, or the approval has ended. " +
          `Request the approvals: hypha-ca rotate -c ${shellWord(configFile)}; or put the earlier CAs back`;
        return Result.fail(new CaConfigError({ file: configFile, detail }));
      }
      return Result.void;
    });
  });
}

/** Why the file of approvers would prevent the next start; undefined where it is the register's. */
export function approversProblem(
  { register }: CertificateAuthority,
  { approversJson: file }: Pick<CaConfig, "approversJson">,
  configFile: string,
): string | undefined {
  const found = Result.gen(function* () {
    const stated = yield* readPolicy(file);
    const detail = yield* register.read((rows) => difference(rows, stated, configFile));
    return detail && `${file}: ${detail}`;
  });
  return Result.match(found, { onSuccess: (problem) => problem, onFailure: ({ message }) => message });
}

/** What is wrong with a file of approvers, and the command that helps. The approvers of a backup may be others than those who were approved since. */
function difference(rows: RegisterRows, stated: string | undefined, configFile: string): string | undefined {
  const kept = factOf(rows, policyFact);
  if (kept === stated) return undefined;
  const command = `hypha-ca approvers -c ${shellWord(configFile)}`;
  const change = `hypha-ca change-approvers -c ${shellWord(configFile)} --approver NAME=FILE --threshold K`;
  const restoration = restorationOf(rows);
  if (restoration !== undefined) {
    const origin = originText(restoration);
    return kept === undefined
      ? `the register was ${origin}, and that has no approvers. Move the file away, start the CA, and set them again: ` +
        `${command} --approver NAME=FILE --threshold K`
      : `the register was ${origin}, and ${stated === undefined ? "this file is missing" : "its approvers differ"}. ` +
        `Write the register's: ${command}; start the CA, and request those who were approved since: ${change}`;
  }
  if (kept === undefined) return `the register has no approvers. Remove the file, or set approvers: ${command}`;
  return stated === undefined
    ? `there is no such file, and the register has approvers. Write it: ${command}`
    : `it differs from the register's. Write the register's: ${command}; to change it: hypha-ca change-approvers`;
}

/** Where a restored register comes from. */
export function originText({ backup, restored }: Restoration): string {
  const when = backup === undefined ? "" : ` of ${backup.toISOString()}`;
  return `restored at ${restored.toISOString()} from a backup${when}`;
}

/** A register that was restored, and the policy that its backup put in force. */
export interface RestoredStart extends Restoration {
  readonly policy: ApprovalPolicy | undefined;
}

/**
 * The CAs of a configuration that was checked are those in force; requests made under another CA end. Called when the audit log is open:
 * a step of a rotation is recorded, and that the register was restored. Returns that once.
 */
export function enterStart(
  ca: CertificateAuthority,
  at: Date,
): Result.Result<RestoredStart | undefined, RegisterFailure> {
  return ca.register.transaction<RestoredStart | undefined, never>((rows) => {
    const started = enterRestoredStart(rows);
    takeApprovedCas(rows, configuredCas(ca));
    // They could not be approved: nodes make the next ones when they ask again.
    lapseOfOthers(rows, ca.issuerId, at);
    return Result.succeed(started);
  });
}

function enterRestoredStart(rows: RegisterRows): RestoredStart | undefined {
  const restoration = restorationOf(rows);
  if (restoration === undefined) return undefined;
  const policy = policyOf(rows);
  endRestoration(rows);
  const { backup, restored } = restoration;
  rows.record({
    type: "register.restored",
    outcome: "done",
    detail: {
      backup: backup?.toISOString() ?? null,
      restored: restored.toISOString(),
      policy: policy?.digest ?? null,
      threshold: policy?.threshold ?? null,
    },
  });
  return { ...restoration, policy };
}

/** Undefined where there is no file. */
function readPolicy(file: string): Result.Result<string | undefined, CaConfigError> {
  if (!existsSync(file)) return Result.succeed(undefined);
  return Result.try({
    try: () => readFileSync(file, "utf8").replace(/\n$/, ""),
    catch: (error) => new CaConfigError({ file, detail: (error as Error).message }),
  });
}
