/**
 * A CA as issuing functions need it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as Result from "effect/Result";
import { sameBytes } from "../bytes.ts";
import { type Certificate, parseCertificate } from "../certificate.ts";
import { parsePem } from "../pem.ts";
import type { IssuerFiles } from "./certificate_template.ts";
import { keyIdOf } from "./extensions.ts";
import { IssueError } from "./issue_error.ts";
import { type IssuerKey, issuerKeyOf, type Signer } from "./signer.ts";
import { readSigningKey } from "./signing_key.ts";

/** A CA that can sign. */
export interface Issuer {
  /** What it signs with. */
  readonly key: IssuerKey;
  /** Its own certificate. */
  readonly certificate: Certificate;
  /** Its subject key identifier, or the one of its key where the certificate has none. */
  readonly keyId: Uint8Array;
}

/** Whether issuing checks that the issuer is a CA; `unchecked` is for tests of certificates that must be refused. */
export type IssuerCheck = "ca" | "unchecked";

/**
 * Reads a CA's certificate and key, and checks that they belong together and that the certificate is a CA's.
 *
 * Dates are not checked: a caller who cares compares them with what it issues.
 *
 * @param files Of several certificates in `certPem`, the first is the CA's. One that was read before is returned as it is.
 * @throws {IssueError} `issuer-certificate`, `issuer-key`, `issuer-mismatch` or `issuer-not-ca`.
 */
export function readIssuer(files: IssuerFiles | Issuer, check: IssuerCheck = "ca"): Issuer {
  if ("key" in files) return files;
  return issuerOf(readIssuerCertificate(files.certPem), readIssuerKey(files.keyPem), check);
}

/**
 * A CA whose key is behind a {@linkcode Signer}; checked like that of {@linkcode readIssuer}.
 *
 * @param certPem Of several certificates, the first is the CA's.
 * @throws {IssueError} As {@linkcode readIssuer}.
 */
export function issuerWith(certPem: string, signer: Signer): Issuer {
  return issuerOf(readIssuerCertificate(certPem), issuerKeyOf(signer), "ca");
}

function issuerOf(certificate: Certificate, key: IssuerKey, check: IssuerCheck): Issuer {
  if (!sameBytes(certificate.publicKey.spki, key.spki)) {
    throw new IssueError({ problem: "issuer-mismatch", detail: "the CA's key is not the key of the CA's certificate" });
  }
  if (check === "ca" && certificate.basicConstraints?.ca !== true) {
    throw new IssueError({ problem: "issuer-not-ca", detail: `${certificate.subject.text} is not a CA` });
  }
  const { subjectKeyId, publicKey } = certificate;
  return {
    key,
    certificate,
    keyId: subjectKeyId === undefined ? keyIdOf(publicKey.raw) : Buffer.from(subjectKeyId, "hex"),
  };
}

function readIssuerCertificate(certPem: string): Certificate {
  const refuse = (detail: string) => new IssueError({ problem: "issuer-certificate", detail });
  const blocks = parsePem(certPem);
  if (Result.isFailure(blocks)) throw refuse(blocks.failure.message);
  const block = blocks.success.find(({ label }) => label === "CERTIFICATE");
  if (block === undefined) throw refuse("the CA certificate's file holds no certificate");
  const certificate = parseCertificate(block.der);
  if (Result.isFailure(certificate)) throw refuse(certificate.failure.message);
  return certificate.success;
}

function readIssuerKey(keyPem: string): IssuerKey {
  try {
    return readSigningKey(keyPem);
  } catch (cause) {
    throw new IssueError({ problem: "issuer-key", detail: (cause as IssueError).detail });
  }
}
