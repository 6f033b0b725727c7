/**
 * Whether a configuration agrees with the approvers of the register.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { Result } from "effect";
import { factOf, lapseOfOthers, needsApprovals, policyFact } from "./approval_rows.ts";
import { arePermitted, configuredCas, takeApprovedCas } from "./authorities_fact.ts";
import { type CaConfig, CaConfigError } from "./ca_config.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import type { RegisterFailure } from "./register_failure.ts";

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
    const stated = existsSync(file) ? yield* readPolicy(file) : undefined;
    const cas = configuredCas(ca);
    return yield* ca.register.transaction<void, CaConfigError>((rows) => {
      const kept = factOf(rows, policyFact);
      if (kept !== stated) {
        const detail = kept === undefined
          ? `the register has no approvers. Remove the file, or set approvers: hypha-ca approvers -c ${configFile}`
          : stated === undefined
          ? `there is no such file, and the register has approvers. Write it: hypha-ca approvers -c ${configFile}`
          : "it differs from the register's. Write the register's: " +
            `hypha-ca approvers -c ${configFile}; to change it: hypha-ca change-approvers`;
        return Result.fail(new CaConfigError({ file, detail }));
      }
      if (needsApprovals(rows, "rotate-ca") && !arePermitted(rows, cas, at)) {
        const detail = "its CAs were changed without approvals, or the approved request has expired. " +
          `Request the approvals: hypha-ca rotate -c ${configFile}; or put the earlier CAs back`;
        return Result.fail(new CaConfigError({ file: configFile, detail }));
      }
      return Result.void;
    });
  });
}

/** The CAs of a configuration that was checked are those in force; requests made under another CA end. Called when the audit log is open: a step of a rotation is recorded. */
export function enterStart(ca: CertificateAuthority, at: Date): Result.Result<void, RegisterFailure> {
  return ca.register.transaction<void, never>((rows) => {
    takeApprovedCas(rows, configuredCas(ca));
    // They could not be approved: nodes make the next ones when they ask again.
    lapseOfOthers(rows, ca.issuerId, at);
    return Result.void;
  });
}

function readPolicy(file: string): Result.Result<string, CaConfigError> {
  return Result.try({
    try: () => readFileSync(file, "utf8").replace(/\n$/, ""),
    catch: (error) => new CaConfigError({ file, detail: (error as Error).message }),
  });
}
