/**
 * Whether a CA can issue and revoke.
 *
 * @module
 */
import { type CertificateAuthority, signersAt } from "./certificate_authority.ts";
import type { CrlRow } from "./crl_rows.ts";

/** One reason why the CA cannot issue, or revoke what a retired one issued; undefined where it can. `list`: its newest complete revocation list. */
export function whyNotIssuing(ca: CertificateAuthority, list: CrlRow | undefined, at: Date): string | undefined {
  const end = ca.issuer.certificate.period.notAfter;
  const { failure } = ca.register;
  if (failure !== undefined) return `register-${failure.problem}`;
  if (ca.keyFailure() !== undefined) return "signer-unavailable";
  if (at > end) return `the issuer ended at ${end.toISOString()}`;
  if (list === undefined) return "there is no revocation list";
  if (+at > list.next_update) return `the revocation list ended at ${new Date(list.next_update).toISOString()}`;
  const away = signersAt(ca, at).find(({ keyFailure }) => keyFailure() !== undefined);
  return away && `signer-unavailable: ${away.issuer.certificate.subject.text}, retired`;
}
