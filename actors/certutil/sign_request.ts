/**
 * Making node certificates from signing requests.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { parseCertificate } from "../../pki/certificate.ts";
import { signCsr, type SubjectName } from "../../pki/issue/mod.ts";
import { formatPem } from "../../pki/pem.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import { keyWarning } from "./accepted_keys.ts";
import { refuseNodeUnapproved } from "./approval/approval_files.ts";
import { type Authority, type AuthorityFiles, readAuthority } from "./authority.ts";
import type { CertutilError } from "./certutil_error.ts";
import { readPemInput } from "./input_file.ts";
import { writeIssued } from "./issued_record.ts";
import { type Lifetime, periodUnder } from "./lifetime.ts";
import { type ChainFile, claimWarning, namesOf, nameText, type NodeNames, withChain } from "./node_names.ts";
import { issuing, type Outcome } from "./outcome.ts";
import { readRenewed } from "./renewal.ts";
import type { Output } from "./replacement.ts";
import { printable } from "./revocation_record.ts";

/** What is signed, for whom, and where the certificate goes. */
export interface SignRequest extends AuthorityFiles, Lifetime, NodeNames, Omit<SubjectName, "commonName"> {
  readonly commonName?: string | undefined;
  readonly csr: string;
  /** Where the certificate goes. Without `commonName`, the certificate there is renewed. */
  readonly outCert: string;
  readonly chain: ChainFile;
  /** The CA's record of revocations, for a renewal. */
  readonly record?: string | undefined;
  readonly existing: ExistingFiles;
}

/**
 * Signs a request. Subject and names are those of the options, or those of the certificate that is renewed: nothing but
 * the key is the request's. Reports what the certificate contains, and what the request asked for in vain.
 */
export function signRequest(options: SignRequest): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    yield* refuseNodeUnapproved(options.caCert);
    const issuer = yield* readAuthority(options);
    const { period, warnings: ends } = yield* periodUnder(options, issuer.certificate, options.caCert);
    const csrPem = yield* readPemInput(options.csr, { what: "signing request", flag: "--csr" }, "signing request");
    const { identity, issuers } = yield* identityOf(options, issuer);
    const signed = yield* issuing(
      `sign ${options.csr}`,
      () => signCsr({ issuer: issuer.issuer, csrPem, identity, ...period }),
    );
    const { subject, publicKey } = Result.getOrThrow(parseCertificate(signed.der));
    const chained = withChain(signed.certPem, issuer, issuers.length > 0 ? "leaf-and-issuer" : options.chain);
    const above = issuers.slice(1).map((der) => formatPem("CERTIFICATE", der)).filter((pem) => !chained.includes(pem));
    const content = chained + above.join("");
    const files: readonly Output[] = [{ path: options.outCert, kind: "certificate", content }];
    const warnings = [...issuer.warnings, ...ends, ...keyWarning(publicKey, "node"), ...claimWarning(signed.der)];
    const issued = { der: signed.der, files, warnings };
    const { lines } = yield* writeIssued(options, issuer, issued, options.existing, [options.csr]);
    const names = signed.names.map((name) => `name ${nameText(name)}`);
    return { lines: [...lines, `subject ${subject.text}`, ...names, ...ignoredLine(signed.ignored)], warnings };
  });
}

/** Wishes of a request that are named; the others are counted. */
const ignoredShownMax = 10;

function ignoredLine(ignored: readonly string[]): readonly string[] {
  if (ignored.length === 0) return [];
  const more = ignored.length > ignoredShownMax ? `, and ${ignored.length - ignoredShownMax} more` : "";
  return [`ignored: ${ignored.slice(0, ignoredShownMax).map(printable).join(", ")}${more}`];
}

/**
 * The signer's words; without a common name, those of the certificate in whose place the new one goes. Issuers that stand behind that one are
 * kept, the first as the CA's file has it now.
 */
const identityOf = Effect.fnUntraced(function* (options: SignRequest, issuer: Authority) {
  const { commonName, organization, country } = options;
  if (commonName === undefined) {
    const { certificate, issuers } = yield* readRenewed(options, issuer);
    return { identity: { renews: certificate }, issuers };
  }
  const names = yield* Effect.fromResult(namesOf({ ...options, commonName }));
  return { identity: { commonName, organization, country, ...names }, issuers: [] };
});
