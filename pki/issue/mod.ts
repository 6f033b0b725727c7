/**
 * Issuing: root, intermediate and node certificates, signing requests, revocation lists.
 *
 * Requests are composed by `@peculiar/x509`, from names and extensions whose DER is written here. Certificates are written here:
 * an issuer's name has to be its CA's subject byte for byte. So are revocation lists: the library's generator looks
 * through all earlier entries for each new one (4,000 entries 1.1 s, 100,000 ten minutes; here 13 ms and 0.3 s), and gives an
 * entry without a reason an empty list of extensions, which RFC 5280 §4.1 does not allow.
 *
 * All functions give promises, since a CA's key need not live in this process: `Signer` is the port to it.
 *
 * @module
 */
export type { Certified, Issued, IssueOverrides, IssuePeriod, IssuerFiles } from "./certificate_template.ts";
export {
  type Extension,
  extensionOids,
  keyUsage as keyUsageExtension,
  type KeyUsageName,
  nameConstraints,
  type Subtree,
} from "./extensions.ts";
export { type GeneralName, isDnsName } from "./general_name.ts";
export { type CrlRequest, issueCrl, type RevocationReason, revocationReasons, type RevokedEntry } from "./issue_crl.ts";
export { type CsrRequest, issueCsr, type IssuedCsr, requestWith } from "./issue_csr.ts";
export { IssueError } from "./issue_error.ts";
export { type Issuer, type IssuerCheck, issuerWith } from "./issuer.ts";
export { certifyIntermediate, type IntermediateRequest, issueIntermediate } from "./issue_intermediate.ts";
export { issueNode, type NodeRequest } from "./issue_node.ts";
export { certifyRoot, issueRoot, type RootRequest } from "./issue_root.ts";
export { type Csr, readCsr } from "./read_csr.ts";
export { fileSigner, type IssuerKey, type Signer } from "./signer.ts";
export {
  composeCsrTbs,
  type CsrTerms,
  type CsrToSign,
  type ReadCsr,
  type RenewedIdentity,
  signCsr,
  type SignedCsr,
  type SignerIdentity,
  type UnreadCsr,
} from "./sign_csr.ts";
export type { IssuedKeyAlgorithm } from "./signing_key.ts";
export type { SubjectName } from "./name.ts";
