/**
 * The CA's certificate as a server: issued by itself, with a key of its own.
 *
 * @module
 */
import { isIP } from "node:net";
import { Effect, Result } from "effect";
import { parseCertificate } from "../../pki/certificate.ts";
import { issueNode } from "../../pki/issue/mod.ts";
import { formatPem } from "../../pki/pem.ts";
import { CaRefused } from "./ca_refused.ts";
import { backdateMs } from "./backdate.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { enterCertificate } from "./certificate_rows.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** A certificate with its issuers behind it, and its key. */
export interface ServerIdentity {
  /** PEM. */
  readonly certPem: string;
  /** PKCS#8, PEM. */
  readonly keyPem: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SHA-256 of the certificate's DER, hexadecimal. */
  readonly fingerprint: string;
}

/**
 * Makes a key and a certificate with role `ca` and the host of the CA's URL, and enters it.
 *
 * @param name Last part of its SPIFFE ID.
 */
export function issueOwn(
  ca: CertificateAuthority,
  name: string,
  at: Date,
): Effect.Effect<ServerIdentity, CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.gen(function* () {
    const host = new URL(ca.url).hostname.replace(/^\[|\]$/g, "");
    const san = [`${isIP(host) === 0 ? "DNS" : "IP"}:${host}`, `URI:spiffe://${ca.domain}/ca/${name}`];
    const end = ca.issuer.certificate.period.notAfter;
    const notAfter = new Date(Math.min(+at + ca.lifetimeMs("ca"), +end));
    const notBefore = new Date(+at - backdateMs);
    const issued = yield* Effect.tryPromise({
      try: () => issueNode({ issuer: ca.issuer, commonName: name, san, notBefore, notAfter }),
      catch: (error) =>
        new CaRefused({ code: "signer-unavailable", detail: error instanceof Error ? error.message : String(error) }),
    });
    const certificate = Result.getOrThrow(parseCertificate(issued.der));
    yield* Effect.fromResult(
      ca.register.transaction<void, never>((rows) =>
        Result.succeed(enterCertificate(rows, { certificate, issuer: ca.issuerId }))
      ),
    );
    const issuers = ca.intermediates.map(({ der }) => formatPem("CERTIFICATE", der));
    const { fingerprint } = certificate;
    return { certPem: [issued.certPem, ...issuers].join(""), keyPem: issued.keyPem, notBefore, notAfter, fingerprint };
  }));
}
