/**
 * A CA as issuing functions need it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { childrenOf, type Element, elementsOf } from "./der_elements.ts";
import { oid } from "./der_writer.ts";
import type { IssuerFiles } from "./certificate_template.ts";
import { extensionOids, keyIdOf } from "./extensions.ts";
import { IssueError } from "./issue_error.ts";
import { firstBlock } from "./pem_block.ts";
import { readSigningKey, type SigningKey } from "./signing_key.ts";

/** A CA that can sign. */
export interface Issuer {
  readonly key: SigningKey;
  /** DER of the subject: the issuer name of what it signs. */
  readonly name: Uint8Array;
  readonly spki: Uint8Array;
  /** Its subject key identifier, or the one of its key where the certificate has none. */
  readonly keyId: Uint8Array;
  readonly der: Uint8Array;
}

/** Whether issuing checks that the issuer is a CA; `unchecked` is for tests of certificates that nobody should accept. */
export type IssuerCheck = "ca" | "unchecked";

/**
 * Reads a CA's certificate and key, and checks that they belong together and that the certificate is a CA's.
 *
 * Dates are not checked: a caller who cares compares them with what it issues.
 *
 * @throws {IssueError} `issuer-certificate`, `issuer-key`, `issuer-mismatch` or `issuer-not-ca`.
 */
export function readIssuer(files: IssuerFiles, check: IssuerCheck = "ca"): Issuer {
  const der = firstBlock("CERTIFICATE", files.certPem);
  if (der === undefined) {
    throw new IssueError({ problem: "issuer-certificate", detail: "the CA certificate's file holds no certificate" });
  }
  const key = readIssuerKey(files.keyPem);
  const parts = readCertificateParts(der);
  if (Buffer.compare(parts.spki, key.spki) !== 0) {
    throw new IssueError({ problem: "issuer-mismatch", detail: "the CA key is not the key of the CA certificate" });
  }
  if (check === "ca" && !parts.ca) {
    throw new IssueError({ problem: "issuer-not-ca", detail: "the certificate to sign with is not a CA's" });
  }
  return { key, name: parts.subject, spki: parts.spki, keyId: parts.keyId ?? keyIdOf(publicKeyBits(parts.spki)), der };
}

function readIssuerKey(keyPem: string): SigningKey {
  try {
    return readSigningKey(keyPem);
  } catch (cause) {
    throw new IssueError({ problem: "issuer-key", detail: (cause as IssueError).detail.replace("private", "CA's") });
  }
}

interface CertificateParts {
  readonly subject: Uint8Array;
  readonly spki: Uint8Array;
  readonly ca: boolean;
  readonly keyId: Uint8Array | undefined;
}

function readCertificateParts(der: Uint8Array): CertificateParts {
  try {
    const fields = elementsOf(childrenOf(der, 0x30)[0]!.content);
    const from = fields[0]?.tag === 0xa0 ? 1 : 0;
    const [, , , , subject, spki] = fields.slice(from);
    if (subject === undefined || spki === undefined) throw new RangeError("fields are missing");
    const list = fields.find(({ tag }) => tag === 0xa3);
    const extensions = list === undefined ? [] : childrenOf(list.content, 0x30);
    const basic = extensionValue(extensions, extensionOids.basicConstraints);
    const keyId = extensionValue(extensions, extensionOids.subjectKeyId);
    return {
      subject: subject.whole,
      spki: spki.whole,
      ca: basic !== undefined && childrenOf(basic, 0x30)[0]?.tag === 0x01,
      keyId: keyId === undefined ? undefined : elementsOf(keyId)[0]?.content,
    };
  } catch (cause) {
    const detail = `the CA certificate cannot be read: ${(cause as Error).message}`;
    throw new IssueError({ problem: "issuer-certificate", detail });
  }
}

/** The DER inside one extension's octet string. */
export function extensionValue(extensions: readonly Element[], dotted: string): Uint8Array | undefined {
  const wanted = oid(dotted);
  for (const extension of extensions) {
    const parts = elementsOf(extension.content);
    if (parts[0] !== undefined && Buffer.compare(parts[0].whole, wanted) === 0) return parts.at(-1)?.content;
  }
  return undefined;
}

/** The bits of a SubjectPublicKeyInfo's key, without the octet that counts the unused ones. */
export function publicKeyBits(spki: Uint8Array): Uint8Array {
  return childrenOf(spki, 0x30)[1]!.content.subarray(1);
}
