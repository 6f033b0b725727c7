/**
 * Making CAs: root and intermediate.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { Certificate } from "../../pki/certificate.ts";
import {
  type Certified,
  certifyIntermediate,
  certifyRoot,
  type Issued,
  issueIntermediate,
  issueRoot,
  type Signer,
  type SubjectName,
} from "../../pki/issue/mod.ts";
import { refuseUnapproved } from "./approval/approval_files.ts";
import { type AuthorityFiles, readAuthority } from "./authority.ts";
import { beginRecord } from "./begin_record.ts";
import { CertutilError } from "./certutil_error.ts";
import { readSigner } from "./key_source.ts";
import { type Lifetime, periodOf, periodUnder } from "./lifetime.ts";
import { writeIssued } from "./issued_record.ts";
import { issuing, type Outcome, writeOutputs } from "./outcome.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import type { Output } from "./replacement.ts";

/** Where a certificate and its key go. */
export interface PairFiles {
  readonly outCert: string;
  readonly outKey: string;
  readonly existing: ExistingFiles;
}

/** Where a CA's certificate goes, and its key: into a new file, or it is where it was. */
export interface CaPairFiles extends Omit<PairFiles, "outKey"> {
  readonly outKey?: string | undefined;
  /** A key that is there: a file, or the URI of a key in a token. */
  readonly key?: string | undefined;
  /** The passphrase or PIN of the key that is there; where a CA signs, of the CA's. */
  readonly passin?: string | undefined;
}

/** What a root is made of. */
export interface MakeRoot extends SubjectName, CaPairFiles, Lifetime {}

/** What an intermediate is made of. */
export interface MakeIntermediate extends SubjectName, CaPairFiles, AuthorityFiles, Lifetime {
  readonly pathLength: number;
}

/** Makes a root CA: certificate 0644, key 0600, and for a new key an empty record of revocations. */
export function makeRoot(options: MakeRoot): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const period = yield* periodOf(options);
    const request = { ...subjectOf(options), ...period };
    const signer = yield* keyToCertify(options);
    const root = yield* issuing(
      "make root CA",
      () => signer === undefined ? issueRoot(request) : certifyRoot(request, signer),
    );
    return yield* writeOutputs(yield* filesOf(options, root), options.existing, [], keysRead(options));
  });
}

/** Makes an intermediate CA under a root, or under another intermediate that allows it; with an empty record of revocations for a new key. */
export function makeIntermediate(
  options: MakeIntermediate,
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    yield* refuseUnapproved(options.caCert, "issue-intermediate");
    const issuer = yield* readAuthority(options);
    const { period, warnings: ends } = yield* periodUnder(options, issuer.certificate, options.caCert);
    yield* checkPathLength(issuer.certificate, options);
    const { pathLength } = options;
    const request = { issuer: issuer.issuer, pathLength, ...subjectOf(options), ...period };
    // One source has one secret: that of the CA that signs. It is not presented to another token.
    const signer = yield* keyToCertify({ ...options, passin: undefined });
    const made = yield* issuing(
      "make intermediate CA",
      () => signer === undefined ? issueIntermediate(request) : certifyIntermediate(request, signer),
    );
    const warnings = [...issuer.warnings, ...ends];
    const issued = { der: made.der, files: yield* filesOf(options, made), warnings };
    return yield* writeIssued(options, issuer, issued, options.existing, keysRead(options));
  });
}

/** Refuses a path length that does not fit below the issuer's. */
export function checkPathLength(
  { basicConstraints }: Certificate,
  { pathLength, caCert }: Pick<MakeIntermediate, "pathLength" | "caCert">,
): Effect.Effect<void, CertutilError> {
  const below = basicConstraints?.pathLength;
  if (below === undefined || below > pathLength) return Effect.void;
  return Effect.fail(
    new CertutilError({
      what: "sign with",
      file: caCert,
      detail: `its path length is ${below}, one of ${pathLength} does not fit below it`,
      remedy: below === 0 ? "Sign with the root." : "Choose a smaller --path-length.",
    }),
  );
}

/** A new CA's files: its pair, or its certificate alone where the key was there; and the record of what it revokes, where it begins. */
const filesOf = Effect.fnUntraced(function* ({ outCert, outKey }: CaPairFiles, made: Certified | Issued) {
  const { certPem, der } = made;
  const files = "keyPem" in made && outKey !== undefined
    ? pairOf({ outCert, outKey }, certPem, made.keyPem, "ca-certificate")
    : [certificateOutput(outCert, certPem, "ca-certificate")];
  return [...files, ...yield* beginRecord(der, outCert, "keyPem" in made ? "new" : "existing")];
});

/** The key of `--key`; undefined where a new one goes to `--out-key`. One of both must be given. */
export const keyToCertify = Effect.fnUntraced(function* (
  { key, outKey, passin }: Pick<CaPairFiles, "key" | "outKey" | "passin">,
): Effect.fn.Return<Signer | undefined, CertutilError, FileSystem> {
  if ((key === undefined) === (outKey === undefined)) {
    const detail = key === undefined ? "neither --out-key nor --key is given" : "--out-key and --key are both given";
    const remedy = "Give --out-key FILE for a new key, or --key with one that is there: a file or a pkcs11: URI.";
    return yield* new CertutilError({ what: "certify key", detail, remedy });
  }
  return key === undefined ? undefined : yield* readSigner({ key, passin }, { what: "key", flag: "--key" });
});

const keysRead = ({ key }: CaPairFiles): readonly string[] => key === undefined ? [] : [key];

function subjectOf({ commonName, organization, country }: SubjectName): SubjectName {
  return { commonName, organization, country };
}

/** The two files of a certificate and its key; the key is closed to others from its first byte on. */
export function pairOf(
  files: Omit<PairFiles, "existing">,
  certPem: string,
  keyPem: string,
  kind: "certificate" | "ca-certificate",
): readonly Output[] {
  return [
    { path: files.outKey, kind: "private-key", content: keyPem, mode: 0o600 },
    certificateOutput(files.outCert, certPem, kind),
  ];
}

function certificateOutput(path: string, content: string, kind: "certificate" | "ca-certificate"): Output {
  return { path, kind, content, mode: 0o644 };
}
