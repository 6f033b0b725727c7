/**
 * Intermediate (organisation) CA certificates.
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
  type IssuerFiles,
  keyToCertify,
  overridden,
  randomSerial,
  signCertificate,
} from "./certificate_template.ts";
import { authorityKeyId, basicConstraints, type Extension, keyIdOf, keyUsage, subjectKeyId } from "./extensions.ts";
import { type Issuer, type IssuerCheck, readIssuer } from "./issuer.ts";
import { keyOfSigner, type Signer } from "./signer.ts";
import type { KeyToCertify } from "./signing_key.ts";
import { encodeName, type SubjectName } from "./name.ts";

/** What an intermediate is made of. */
export interface IntermediateRequest extends SubjectName, IssuePeriod {
  /** The CA that signs it. */
  readonly issuer: IssuerFiles | Issuer;
  /** Most CA certificates that may follow below; 0 when absent: it signs nodes, not CAs. */
  readonly pathLength?: number | "unlimited";
  /** The key to certify; a fresh Ed25519 key when absent. Cross-signing certifies the same key again. */
  readonly keyPem?: string;
  /** `unchecked` lets something sign that is no CA. */
  readonly issuerCheck?: IssuerCheck;
  /** Departures from the usual certificate. */
  readonly overrides?: IssueOverrides;
}

/**
 * Makes an intermediate CA.
 *
 * @throws {IssueError} When the issuer, a name, the period or the key is not usable.
 */
export async function issueIntermediate(request: IntermediateRequest): Promise<Issued> {
  const key = await keyToCertify(request.keyPem, request.overrides);
  return issued(await signIntermediate(request, key), key);
}

/**
 * Makes an intermediate CA of a key that is behind a signer.
 *
 * @throws {IssueError} As {@linkcode issueIntermediate}.
 */
export async function certifyIntermediate(
  request: Omit<IntermediateRequest, "keyPem">,
  signer: Signer,
): Promise<Certified> {
  return certified(await signIntermediate(request, keyOfSigner(signer)));
}

async function signIntermediate(request: IntermediateRequest, key: KeyToCertify): Promise<Uint8Array> {
  const issuer = readIssuer(request.issuer, request.issuerCheck);
  const subject = encodeName(request);
  const { pathLength = 0 } = request;
  const extensions = intermediateExtensions(
    key.publicBits,
    issuer.keyId,
    pathLength === "unlimited" ? undefined : pathLength,
  );
  const template = {
    serial: request.overrides?.serial ?? randomSerial(),
    issuer: issuer.certificate.subject.der,
    subject,
    period: request,
    spki: key.spki,
    extensions: overridden(extensions, request.overrides),
  };
  return await signCertificate(template, issuer.key);
}

/** The extensions of an intermediate: the usual certificate has these and no others. */
export function intermediateExtensions(
  publicBits: Uint8Array,
  issuerKeyId: Uint8Array,
  pathLength: number | undefined,
): readonly Extension[] {
  return [
    basicConstraints(true, pathLength),
    keyUsage(["digitalSignature", "keyCertSign", "cRLSign"]),
    subjectKeyId(keyIdOf(publicBits)),
    authorityKeyId(issuerKeyId),
  ];
}
