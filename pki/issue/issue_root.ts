/**
 * Root certificates.
 *
 * @module
 */
import {
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
  const name = encodeName(request);
  const key = await keyToCertify(request.keyPem, request.overrides);
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
  return issued(await signCertificate(template, key), key);
}
