/**
 * Certificate signing requests, the CA's half.
 *
 * @module
 */
import { randomSerial, signCertificate } from "./certificate_template.ts";
import type { IssuePeriod, IssuerFiles } from "./certificate_template.ts";
import type { GeneralName } from "./general_name.ts";
import { IssueError } from "./issue_error.ts";
import { alternativeNames, nodeExtensions } from "./issue_node.ts";
import { readIssuer } from "./issuer.ts";
import { formatPem } from "../pem.ts";
import { type Csr, readCsr } from "./read_csr.ts";
import { loadLibrary, owned } from "./to_library.ts";

/** What is signed, by whom. */
export interface CsrToSign extends IssuePeriod {
  /** The CA that signs it. */
  readonly issuer: IssuerFiles;
  /** The request, PEM. */
  readonly csrPem: string;
  /** Alternative names in place of those asked for: the CA has the last word on names and role. */
  readonly san?: readonly string[];
}

/** The certificate, and the names it was given. */
export interface SignedCsr {
  /** The certificate, PEM. */
  readonly certPem: string;
  /** The same, DER. */
  readonly der: Uint8Array;
  /** The alternative names that it got. */
  readonly names: readonly GeneralName[];
}

/**
 * Signs a request: subject, key and names are the request's, all other extensions those of a node's certificate, so
 * that a request cannot ask for a CA. A URI name grants a role: look at `names`, or fix them with `san`.
 *
 * @throws {IssueError} When the issuer or the request is not usable, or the request's signature is wrong.
 */
export async function signCsr(request: CsrToSign): Promise<SignedCsr> {
  const issuer = readIssuer(request.issuer);
  const csr = readCsr(request.csrPem);
  await checkPossession(csr);
  const names = namesFor(csr, request.san);
  const template = {
    serial: randomSerial(),
    issuer: issuer.certificate.subject.der,
    subject: csr.subject.der,
    period: request,
    spki: csr.publicKey.spki,
    extensions: nodeExtensions(csr.publicKey.raw, names, issuer),
  };
  const der = await signCertificate(template, issuer.key);
  return { certPem: formatPem("CERTIFICATE", der), der, names };
}

/** The library's word on the request's signature, beside that of our own reader: what is signed here lasts a year. */
async function checkPossession({ der }: Csr): Promise<void> {
  const { Pkcs10CertificateRequest } = await loadLibrary();
  if (await new Pkcs10CertificateRequest(owned(der)).verify()) return;
  throw new IssueError({ problem: "csr", detail: "the request is not signed by the key it is about" });
}

function namesFor(csr: Csr, san: readonly string[] | undefined): readonly GeneralName[] {
  if (san === undefined && csr.names !== undefined) return csr.names;
  return alternativeNames(csr.subject.commonName ?? "", san);
}
