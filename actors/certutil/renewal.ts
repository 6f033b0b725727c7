/**
 * The certificate that a signature renews: the one in whose place the new one goes.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import { type Authority, isIssuedBy } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { readCertificateFile, readIfThere, readTextIfThere } from "./input_file.ts";
import { parseRecord, plainSerial, revocationRecordOf } from "./revocation_record.ts";

/** A signature without a common name of its own. */
export interface Renewal {
  readonly csr: string;
  readonly caCert: string;
  readonly outCert: string;
  readonly existing: ExistingFiles;
  /** The CA's record of revocations; the default lies next to `caCert`. */
  readonly record?: string | undefined;
  /** Parts of an identity: a renewal takes none. */
  readonly organization?: string | undefined;
  readonly country?: string | undefined;
  readonly san?: readonly string[] | undefined;
  readonly role?: string | undefined;
  readonly trustDomain?: string | undefined;
}

/** The certificate to renew, and those that follow it in its file. */
export interface Renewed {
  readonly certificate: Certificate;
  /** DER. */
  readonly issuers: readonly Uint8Array[];
}

/**
 * Reads the certificate to renew. It must be a node's, issued by the CA, and the CA's record of revocations must not name
 * it. One that has expired can be renewed.
 */
export function readRenewed(
  options: Renewal,
  authority: Authority,
): Effect.Effect<Renewed, CertutilError, FileSystem> {
  const { csr, outCert, caCert } = options;
  const named = "Give subject and names: --common-name, and --role with --domain, or --san.";
  const refuse = (detail: string, remedy = named) =>
    new CertutilError({ what: "sign", file: csr, detail: `--common-name is missing${detail}`, remedy });
  return Effect.gen(function* () {
    const part = partOf(options);
    if (part !== undefined) return yield* refuse(`, and ${part} cannot be given without it`);
    const there = yield* readIfThere(outCert, { what: "certificate", flag: "--out-cert" });
    if (there === undefined) return yield* refuse("; nothing but the key is taken from a request");
    if (options.existing === "keep") {
      return yield* refuse(
        `, and ${outCert} is there`,
        `To renew that certificate, with its names, add --force. ${named}`,
      );
    }
    const renewed = yield* readOld(outCert);
    const { certificate } = renewed;
    if (certificate.basicConstraints?.ca === true) return yield* refuse(`, and ${outCert} is a CA's`);
    if (!isIssuedBy(certificate, authority)) {
      return yield* refuse(`, and ${outCert} is of another CA than ${caCert}: its names are not taken over`);
    }
    if (yield* isRevoked(certificate, authority, options)) {
      return yield* refuse(`, and ${outCert} is revoked: its names are not taken over`);
    }
    return renewed;
  });
}

function partOf({ organization, country, san, role, trustDomain }: Renewal): string | undefined {
  const parts = { organization, country, san, role, domain: trustDomain };
  const given = Object.entries(parts).find(([, value]) => value !== undefined);
  return given === undefined ? undefined : `--${given[0]}`;
}

const readOld = Effect.fnUntraced(function* (file: string) {
  const [der, ...issuers] = yield* readCertificateFile(file, { what: "certificate", flag: "--out-cert" });
  const remedy = "Give subject and names with --common-name.";
  const refuse = ({ message: detail }: { readonly message: string }) =>
    new CertutilError({ what: "renew", file, detail, remedy });
  const certificate = yield* Effect.fromResult(Result.mapError(parseCertificate(der!), refuse));
  return { certificate, issuers } satisfies Renewed;
});

/** Whether the CA's revocation record names the certificate. Without the CA's own record nothing is renewed. */
const isRevoked = Effect.fnUntraced(function* (certificate: Certificate, { keyId }: Authority, options: Renewal) {
  const file = revocationRecordOf(options);
  const remedy = "Name the record with --record, or give subject and names with --common-name.";
  const refuse = (detail: string) => new CertutilError({ what: "renew", file: options.outCert, detail, remedy });
  const text = yield* readTextIfThere(file, { what: "revocation record", flag: "--record" });
  if (text === undefined) {
    return yield* refuse(`there is no record ${file} of the CA's revocations: the certificate may be revoked`);
  }
  const record = yield* Effect.fromResult(parseRecord(text, file));
  if (record.authority !== keyId) return yield* refuse(`${file} is the record of another CA`);
  const serial = plainSerial(certificate.serial);
  return record.revocations.some((each) => each.serial === serial);
});
