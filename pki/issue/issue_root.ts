/**
 * Root certificates.
 *
 * @module
 */
import {
  type Certified,
  certified,
  type Issued,
  issued,
  type IssueOverrides,
  type IssuePeriod,
  keyToCertify,
  overridden,
  randomSerial,
  signCertificate,
} from "./certificate_template.ts";
import { authorityKeyId, basicConstraints, keyIdOf, keyUsage, subjectKeyId } from "./extensions.ts";
import { keyOfSigner, type Signer } from "./signer.ts";
import type { KeyToCertify } from "./signing_key.ts";
import { encodeName, type SubjectName } from "./name.ts";

/** What a root is made of. */
export interface RootRequest extends SubjectName, IssuePeriod {
  /** Most CA certificates that may follow below; without a limit when absent. */
  readonly pathLength?: number;
  /** The key to certify; a fresh Ed25519 key when absent. */
  readonly keyPem?: string;
  /** Departures from the usual certificate. */
  readonly overrides?: IssueOverrides;
}

/**
 * Makes a self-signed root CA.
 *
 * @throws {IssueError} When a name, the period or the key is not usable.
 */
export async function issueRoot(request: RootRequest): Promise<Issued> {
  const key = await keyToCertify(request.keyPem, request.overrides);
  return issued(await signRoot(request, key), key);
}

/**
 * Makes a self-signed root CA of a key that is behind a signer.
 *
 * @throws {IssueError} As {@linkcode issueRoot}.
 */
export async function certifyRoot(request: Omit<RootRequest, "keyPem">, signer: Signer): Promise<Certified> {
  return certified(await signRoot(request, keyOfSigner(signer)));
}

function signRoot(request: RootRequest, key: KeyToCertify): Promise<Uint8Array> {
  const name = encodeName(request);
  const keyId = keyIdOf(key.publicBits);
  const extensions = [
    basicConstraints(true, request.pathLength),
    keyUsage(["digitalSignature", "keyCertSign", "cRLSign"]),
    subjectKeyId(keyId),
    authorityKeyId(keyId),
  ];
  const template = {
    serial: request.overrides?.serial ?? randomSerial(),
    issuer: name,
    subject: name,
    period: request,
    spki: key.spki,
    extensions: overridden(extensions, request.overrides),
  };
  return signCertificate(template, key);
}
