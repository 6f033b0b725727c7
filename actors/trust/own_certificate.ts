/**
 * The error of a node whose own trust refuses its own certificate: it names the file at fault and the correction.
 *
 * @module
 */
import { Data } from "effect";
import type { Refusal, RefusalCode } from "../../pki/refusal.ts";

/** The node's own trust refuses the node's own certificate: peers that trust the same refuse it too. */
export class OwnCertificateRefused extends Data.TaggedError("OwnCertificateRefused")<{
  /** Path of the certificate, as in the configuration. */
  readonly file: string;
  /** The refusal of a peer with the same trust. */
  readonly refusal: Refusal;
}> {
  get code(): RefusalCode {
    return this.refusal.code;
  }
  get hint(): string {
    return ownHints[this.refusal.code] ?? this.refusal.hint;
  }
  override get message(): string {
    const { message, code } = this.refusal;
    return `Cannot use own certificate ${this.file}, own trust refuses it (${code}): ${message}. ${this.hint}`;
  }
}

/** The certificate in force was revoked by the CA of the node's own domain, and its files hold no other. */
export class OwnCertificateRevoked extends Data.TaggedError("OwnCertificateRevoked")<{
  /** Path of the certificate, as in the configuration. */
  readonly file: string;
  /** What the own lists say of it. */
  readonly refusal: Refusal;
}> {
  readonly code = "own-certificate-revoked";
  readonly hint = "Let the CA's operator make a token (hypha-ca token --replace), and join with it.";
  override get message(): string {
    return `Cannot go on with own certificate ${this.file} (${this.code}): ${this.refusal.message}. ${this.hint}`;
  }
}

/** Hints for the node's own files, where the hint of the refusal is about a peer's. */
const ownHints: Readonly<Partial<Record<RefusalCode, string>>> = {
  "unknown-issuer":
    "Put the certificate of the CA named last behind the node's own in cert_pem if it is an intermediate, or into trust_pem if nodes are to trust it: hypha-certutil inspect FILE shows what each has.",
  "certificate-revoked":
    "Issue a certificate with a new key and put it into cert_pem and key_pem: hypha-certutil gen-cert; a revocation is not taken back.",
  "certificate-expired":
    "Issue the certificate named here again (hypha-certutil gen-cert for a node, gen-intermediate-ca for a CA) and put it into cert_pem. If it should still be valid, check this node's clock: timedatectl.",
  "certificate-not-yet-valid": "Check this node's clock and the CA's: timedatectl.",
  "budget-exceeded": "Put only the leaf and its intermediates into cert_pem, leaf first: hypha-certutil inspect FILE.",
};
