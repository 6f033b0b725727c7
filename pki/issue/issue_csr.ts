/**
 * Certificate signing requests (PKCS#10, RFC 2986), the node's half.
 *
 * @module
 */
import { type IssueOverrides, keyToCertify } from "./certificate_template.ts";
import { subjectAltName } from "./extensions.ts";
import { alternativeNames } from "./issue_node.ts";
import { encodeName, type SubjectName } from "./name.ts";
import { formatPem } from "../pem.ts";
import { keyOfSigner, type Signer } from "./signer.ts";
import type { KeyToCertify } from "./signing_key.ts";
import { libraryExtensions, libraryName, librarySigner, loadLibrary, written } from "./to_library.ts";

/** OID of the attribute that carries the extensions a request asks for (RFC 2985 §5.4.2). */
export const extensionRequestOid = "1.2.840.113549.1.9.14";

/** What a signing request is made of. */
export interface CsrRequest extends SubjectName {
  /** Alternative names to ask for; as for a node's certificate when absent. */
  readonly san?: readonly string[];
  /** The key to have certified; a fresh Ed25519 key when absent. */
  readonly keyPem?: string;
  /** The algorithm of a fresh key. */
  readonly overrides?: Pick<IssueOverrides, "keyAlgorithm">;
}

/** A signing request and its private key, which stays with the node. */
export interface IssuedCsr {
  /** The request, PEM. */
  readonly csrPem: string;
  /** PKCS#8 version 1, PEM, unencrypted. */
  readonly keyPem: string;
}

/**
 * Makes a signing request, signed by the key that it is about.
 *
 * @throws {IssueError} When a name or the key is not usable.
 */
export async function issueCsr(request: CsrRequest): Promise<IssuedCsr> {
  const key = await keyToCertify(request.keyPem, request.overrides);
  return { csrPem: await composeCsr(request, key), keyPem: key.keyPem };
}

/**
 * Makes a signing request for a key that is behind a signer: PEM.
 *
 * @throws {IssueError} When a name or the key is not usable.
 */
export async function requestWith(
  request: Pick<CsrRequest, keyof SubjectName | "san">,
  signer: Signer,
): Promise<string> {
  return await composeCsr(request, keyOfSigner(signer));
}

async function composeCsr(request: Pick<CsrRequest, keyof SubjectName | "san">, key: KeyToCertify): Promise<string> {
  const subject = encodeName(request);
  const names = alternativeNames(request.commonName, request.san);
  const library = await loadLibrary();
  const { algorithm, key: signingKey, crypto } = librarySigner(key);
  const made = await library.Pkcs10CertificateRequestGenerator.create({
    name: libraryName(library, subject),
    keys: { privateKey: signingKey, publicKey: signingKey },
    signingAlgorithm: algorithm,
    extensions: libraryExtensions(library, names.length === 0 ? [] : [subjectAltName(names)]),
  }, crypto);
  return formatPem("CERTIFICATE REQUEST", written(made.rawData));
}
