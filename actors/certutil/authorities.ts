/**
 * Making CAs: root and intermediate.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { Certificate } from "../../pki/certificate.ts";
import { type Issued, issueIntermediate, issueRoot, type SubjectName } from "../../pki/issue/mod.ts";
import { refuseUnapproved } from "./approval/approval_files.ts";
import { type AuthorityFiles, readAuthority } from "./authority.ts";
import { beginRecord } from "./begin_record.ts";
import { CertutilError } from "./certutil_error.ts";
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

/** What a root is made of. */
export interface MakeRoot extends SubjectName, PairFiles, Lifetime {}

/** What an intermediate is made of. */
export interface MakeIntermediate extends SubjectName, PairFiles, AuthorityFiles, Lifetime {
  readonly pathLength: number;
}

/** Makes a root CA: certificate 0644, key 0600, and an empty record of revocations. */
export function makeRoot(options: MakeRoot): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const period = yield* periodOf(options);
    const root = yield* issuing("make root CA", () => issueRoot({ ...subjectOf(options), ...period }));
    return yield* writeOutputs(yield* filesOf(options, root), options.existing);
  });
}

/** Makes an intermediate CA under a root, or under another intermediate that allows it; with an empty record of revocations. */
export function makeIntermediate(
  options: MakeIntermediate,
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    yield* refuseUnapproved(options.caCert, "issue-intermediate");
    const issuer = yield* readAuthority(options);
    const { period, warnings: ends } = yield* periodUnder(options, issuer.certificate, options.caCert);
    yield* checkPathLength(issuer.certificate, options);
    const { pathLength } = options;
    const made = yield* issuing(
      "make intermediate CA",
      () => issueIntermediate({ issuer, pathLength, ...subjectOf(options), ...period }),
    );
    const warnings = [...issuer.warnings, ...ends];
    const issued = { der: made.der, files: yield* filesOf(options, made), warnings };
    return yield* writeIssued(options, issuer, issued, options.existing);
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

/** A new CA's files: its pair, and the record of what it revokes. */
const filesOf = Effect.fnUntraced(function* (options: PairFiles, { certPem, keyPem, der }: Issued) {
  return [...pairOf(options, certPem, keyPem, "ca-certificate"), yield* beginRecord(der, options.outCert)];
});

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
    { path: files.outCert, kind, content: certPem, mode: 0o644 },
  ];
}
