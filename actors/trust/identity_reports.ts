/**
 * What the machine of the identity logs.
 *
 * @module
 */
import type { LoadError } from "../files/load_error.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import type { IdentityContext } from "./identity.ts";

/** The part of its life that a certificate has left when the machine warns, and when it raises an alarm. */
export const expiryWarningPart = 0.1;
export const expiryAlarmPart = 0.03;

/** Warns of the certificate's end. */
export function reportExpiry({ identity, lifeMs, ports, certPem, whenRevoked }: IdentityContext): void {
  if (identity === undefined) return;
  const leftMs = identity.notAfter.getTime() - ports.now();
  if (leftMs > lifeMs * expiryWarningPart) return;
  const expired = leftMs < 0;
  const when = identity.notAfter.toISOString();
  // A node that ends when it is revoked is one that has a CA.
  const mend = whenRevoked === "end"
    ? "The CA has not renewed it: read the lines enrolment.retry and enrolment.failed"
    : expired
    ? "Put a new one in its place: hypha-certutil gen-cert"
    : "Put a new one in its place before: hypha-certutil gen-cert";
  ports.report({
    level: leftMs <= lifeMs * expiryAlarmPart ? "error" : "warn",
    event: expired ? "identity.expired" : "identity.expiring",
    message: expired
      ? `Own certificate expired at ${when}: peers refuse it. ${mend}`
      : `Own certificate expires at ${when}. ${mend}`,
    fields: { file: certPem, notAfter: when },
  });
}

/** Reports the pair that is taken. */
export function reportRenewed({ ports, identity: before }: IdentityContext, identity: NodeIdentity): void {
  const { peer, name, generation, notAfter } = identity;
  const until = notAfter.toISOString();
  if (before === undefined) {
    const message = `Took the certificate that came, valid until ${until}`;
    return ports.report({ level: "info", event: "identity.found", message, fields: { peer, name, notAfter: until } });
  }
  const rekeyed = peer !== before.peer;
  ports.report({
    level: rekeyed ? "warn" : "info",
    event: "identity.renewed",
    message: rekeyed
      ? `Took another key: this node becomes ${peer}, its certificate is valid until ${until}`
      : `Took a new certificate of the same key, valid until ${until}`,
    fields: { peer, name, generation, notAfter: until, formerPeer: before.peer, key: rekeyed ? "new" : "same" },
  });
}

/** Reports files that bring no pair; the one in force stays. */
export function reportBroken({ ports, identity }: IdentityContext, error: unknown): void {
  if (identity === undefined) return; // the owner was told
  const { file, line, problem } = placeOf(error);
  const until = identity.notAfter.toISOString();
  ports.report({
    level: "warn",
    event: "identity.broken",
    message: `Keeping the previous certificate and key, valid until ${until}: ${
      error instanceof Error ? error.message : error
    }`,
    fields: { file, line, problem },
  });
}

function placeOf(error: unknown): Partial<Pick<LoadError, "file" | "line" | "problem">> {
  return error instanceof Object && "problem" in error ? error as LoadError : {};
}
