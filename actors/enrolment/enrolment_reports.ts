/**
 * What an operator reads of enrolment and renewal.
 *
 * @module
 */
import type { Ports } from "../runtime/ports.ts";
import type { EnrolmentContext } from "./enrolment_setup.ts";
import type { Obtained } from "./obtain.ts";

type Issued = Extract<Obtained, { type: "issued" }>;

/** There is no pair, and nothing to get one with. */
export function reportAbsent({ ports, role }: EnrolmentContext): void {
  ports.report({
    level: "warn",
    event: "enrolment.absent",
    message: `There is no certificate with its key yet: waiting for it. Get one with: hypha-${role} join`,
  });
}

/** An approval is awaited. */
export function reportPending({ ports, waitMs }: EnrolmentContext): void {
  ports.report({
    level: "info",
    event: "enrolment.pending",
    message: `The CA waits for an approval; asking again every ${Math.round(waitMs / 1_000)} s`,
    fields: { waitMs },
  });
}

/** A certificate is in place. */
export function reportInstalled({ ports, obtained }: EnrolmentContext): void {
  if (obtained?.type !== "issued") return;
  const { url, files, ending } = obtained;
  const changed = Object.keys(files).map((key) => key.replace(/Pem$/, ""));
  ports.report({
    level: "info",
    event: "enrolment.installed",
    message: url === "" ? "Put the key of the certificate in place" : `Took a certificate from ${url}`,
    fields: { url: url === "" ? undefined : url, changed },
  });
  if (ending !== undefined) reportEnding(ports, ending);
}

/** The certificate of the identity in hardware was not renewed. */
function reportEnding({ report }: Ports, { notAfter, refusal }: NonNullable<Issued["ending"]>): void {
  report({
    level: "warn",
    event: "enrolment.identity_due",
    message:
      `The certificate of the identity ends at ${notAfter.toISOString()} and was not renewed: ${refusal.message}; ` +
      "trying again with the next certificate for TLS",
    fields: { code: refusal.code, notAfter: notAfter.toISOString() },
  });
}

/** An attempt failed and is repeated; of many in a row fewer and fewer are reported. */
export function reportRetry({ ports, failures, waitMs, error, pair }: EnrolmentContext): void {
  const until = pair?.leaf.period.notAfter;
  const isLate = until !== undefined && ports.now() > +until;
  ports.report({
    level: (failures & (failures - 1)) === 0 ? isLate ? "error" : "warn" : "debug",
    event: "enrolment.retry",
    message: `${error?.message ?? "The certificate was not renewed"}; ${
      until === undefined
        ? "there is none yet"
        : `the one in force ${isLate ? "ended" : "ends"} at ${until.toISOString()}`
    }, trying again in ${Math.round(waitMs / 1_000)} s`,
    fields: { code: error?.code, failures, waitMs, notAfter: until?.toISOString() },
  });
}

/** The CA refuses for good: an operator has to act. */
export function reportFailure({ ports, error }: EnrolmentContext): void {
  ports.report({
    level: "error",
    event: "enrolment.failed",
    message: error?.message ?? "Cannot get certificate",
    fields: { code: error?.code },
  });
}
