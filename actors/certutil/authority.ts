/**
 * A CA's two files.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { sameBytes } from "../../pki/bytes.ts";
import type { Certificate } from "../../pki/certificate.ts";
import { IssueError, type Issuer, issuerWith, type Signer } from "../../pki/issue/mod.ts";
import { isPkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { verifySignature } from "../../pki/signature.ts";
import { keyWarning } from "./accepted_keys.ts";
import { CertutilError, fromIssueError } from "./certutil_error.ts";
import { readPemInput } from "./input_file.ts";
import { readSigner } from "./key_source.ts";
import { shellWord } from "../files/shell_word.ts";

/** Where a CA's files are. */
export interface AuthorityFiles {
  readonly caCert: string;
  /** A file, or the URI of a key in a token. */
  readonly caKey: string;
  /** Where the passphrase of an encrypted key is, or the PIN of its token, as `--passin` gives it. */
  readonly passin?: string | undefined;
  /** Where the CA's issued certificates are recorded; `<caCert>.issued.tsv` when undefined. */
  readonly issued?: string | undefined;
}

/** A CA that can sign. */
export interface Authority {
  /** The certificates of its file, and nothing else of it: the file may hold its key, too. */
  readonly certPem: string;
  /** What it issues with. */
  readonly issuer: Issuer;
  readonly certificate: Certificate;
  /** Its key identifier, hexadecimal: what tells CAs of one name apart. */
  readonly keyId: string;
  /** Warnings about its files. */
  readonly warnings: readonly string[];
}

/** Whether the CA issued a certificate: its name is the issuer, and its key verifies the signature. */
export function isIssuedBy(certificate: Certificate, { certificate: ca }: Pick<Authority, "certificate">): boolean {
  const { tbs: data, signatureAlgorithm: algorithm, signature } = certificate;
  return sameBytes(certificate.issuer.der, ca.subject.der) &&
    verifySignature({ data, algorithm, signature }, ca.publicKey);
}

/** Reads a CA's certificate and key, and makes sure that they belong together. */
export function readAuthority(files: AuthorityFiles): Effect.Effect<Authority, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const text = yield* readPemInput(files.caCert, { what: "CA certificate", flag: "--ca-cert" }, "certificate");
    const signer = yield* readSigner({ key: files.caKey, passin: files.passin }, { what: "CA key", flag: "--ca-key" });
    const issuer = yield* Effect.fromResult(loadIssuer(text, signer, files));
    return {
      certPem: certificatesIn(text),
      issuer,
      certificate: issuer.certificate,
      keyId: Array.from(issuer.keyId, (octet) => octet.toString(16).padStart(2, "0")).join(""),
      warnings: [...keyWarning(issuer.certificate.publicKey, "CA"), ...yield* openKeyWarning(files.caKey)],
    };
  });
}

function certificatesIn(text: string): string {
  const blocks = Result.getOrElse(parsePem(text), () => []).filter(({ label }) => label === "CERTIFICATE");
  return blocks.map(({ label, der }) => formatPem(label, der)).join("");
}

function loadIssuer(
  certPem: string,
  signer: Signer,
  files: AuthorityFiles,
): Result.Result<Issuer, CertutilError> {
  return Result.try({
    try: () => issuerWith(certPem, signer),
    catch: (error) => {
      if (!(error instanceof IssueError)) throw error;
      return fromIssueError("sign with", error, error.problem === "key" ? files.caKey : files.caCert);
    },
  });
}

/** The specification requires keys that only their owner can read; an open one may have been copied already. */
function openKeyWarning(path: string): Effect.Effect<readonly string[], never, FileSystem> {
  if (isPkcs11Uri(path)) return Effect.succeed([]);
  return Effect.flatMap(FileSystem, (files) =>
    Effect.match(files.stat(path), {
      onFailure: () => [],
      onSuccess: ({ mode }) =>
        (mode & 0o077) === 0 ? [] : [
          `CA key ${path} is open to others (mode ${(mode & 0o777).toString(8).padStart(4, "0")}): ` +
          `chmod 600 ${shellWord(path)}`,
        ],
    }));
}
