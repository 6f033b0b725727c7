/**
 * Making CAs: root and intermediate.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { issueIntermediate, issueRoot, type SubjectName } from "../../pki/issue/mod.ts";
import { type AuthorityFiles, readAuthority } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { type Lifetime, outlivesWarning, periodOf } from "./lifetime.ts";
import { writeIssued } from "./issued_record.ts";
import { issuing, type Outcome, writeOutputs } from "./outcome.ts";
import type { ExistingFiles } from "../files/write_whole.ts";

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

/** Makes a root CA: certificate 0644, key 0600. */
export function makeRoot(options: MakeRoot): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const period = yield* periodOf(options);
    const { certPem, keyPem } = yield* issuing("make root CA", () => issueRoot({ ...subjectOf(options), ...period }));
    return yield* writeOutputs(pairOf(options, certPem, keyPem), options.existing);
  });
}

/** Makes an intermediate CA under a root, or under another intermediate that allows it. */
export function makeIntermediate(
  options: MakeIntermediate,
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const period = yield* periodOf(options);
    const issuer = yield* readAuthority(options);
    const room = issuer.certificate.basicConstraints?.pathLength;
    if (room !== undefined && room <= options.pathLength) {
      return yield* new CertutilError({
        what: "sign with",
        file: options.caCert,
        detail: `its path length is ${room}, one of ${options.pathLength} does not fit below it`,
        remedy: room === 0 ? "Sign with the root." : "Choose a smaller --path-length.",
      });
    }
    const { pathLength } = options;
    const { certPem, keyPem, der } = yield* issuing(
      "make intermediate CA",
      () => issueIntermediate({ issuer, pathLength, ...subjectOf(options), ...period }),
    );
    const warnings = [...issuer.warnings, ...outlivesWarning(period, issuer.certificate)];
    return yield* writeIssued(
      options,
      issuer,
      { der, files: pairOf(options, certPem, keyPem), warnings },
      options.existing,
    );
  });
}

function subjectOf({ commonName, organization, country }: SubjectName): SubjectName {
  return { commonName, organization, country };
}

/** The two files of a certificate and its key; the key is closed to others from its first byte on. */
export function pairOf(files: Omit<PairFiles, "existing">, certPem: string, keyPem: string) {
  return [
    { path: files.outKey, content: keyPem, mode: 0o600 },
    { path: files.outCert, content: certPem, mode: 0o644 },
  ];
}
