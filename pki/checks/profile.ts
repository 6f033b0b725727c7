/**
 * The requirements of profile `rfc5280` that profile `network` leaves out: key identifiers.
 *
 * The certificates of the existing network lack them, and no verdict depends on them: they order the search. Each
 * relaxation is a row of `tests/fixtures/profile_network.json`, with the certificate that needs it. The third of them, the CRL
 * number, is in `refuseBareCrl`.
 *
 * @module
 */
import type { Certificate } from "../certificate.ts";
import { MalformedCertificate } from "../refusal.ts";

/** The position of a certificate on its path. A root is an anchor that is self-issued. */
export type Place = "leaf" | "intermediate" | "root";

/**
 * Why a certificate lacks what RFC 5280 requires of its issuer: a subject key identifier in each CA's certificate
 * (§4.2.1.2), an authority key identifier with a key in each that is not self-signed (§4.2.1.1).
 *
 * @param isSelfSigned Called only where it matters, because it may cost a signature check.
 */
export function refuseBare(
  { subjectKeyId, authorityKeyId }: Certificate,
  place: Place,
  isSelfSigned: () => boolean,
): MalformedCertificate | undefined {
  const refuse = (detail: string) => new MalformedCertificate({ detail, index: place === "leaf" ? 0 : 1 });
  if (place !== "leaf" && subjectKeyId === undefined) {
    return refuse("a CA has no subject key identifier (RFC 5280 §4.2.1.2)");
  }
  if (authorityKeyId === undefined && !isSelfSigned()) {
    return refuse("it has no authority key identifier (RFC 5280 §4.2.1.1)");
  }
  return undefined;
}
