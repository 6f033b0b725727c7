/**
 * What an operator reads of enrolment and renewal.
 *
 * @module
 */
import type { EnrolmentContext } from "./enrolment_setup.ts";

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
  const { url, files } = obtained;
  const changed = Object.keys(files).map((key) => key.replace(/Pem$/, ""));
  ports.report({
    level: "info",
    event: "enrolment.installed",
    message: url === "" ? "Put the key of the certificate in place" : `Took a certificate from ${url}`,
    fields: { url: url === "" ? undefined : url, changed },
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
