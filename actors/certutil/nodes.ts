/**
 * Making nodes' keys, with their certificates or with requests for them.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { issueCsr, issueNode, requestWith, type SubjectName } from "../../pki/issue/mod.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import { refuseNodeUnapproved } from "./approval/approval_files.ts";
import { keyToCertify, type PairFiles, pairOf } from "./authorities.ts";
import { type AuthorityFiles, readAuthority } from "./authority.ts";
import type { CertutilError } from "./certutil_error.ts";
import { writeIssued } from "./issued_record.ts";
import { type Lifetime, periodUnder } from "./lifetime.ts";
import { type ChainFile, claimWarning, namesOf, type NodeNames, withChain } from "./node_names.ts";
import { issuing, type Outcome, writeOutputs } from "./outcome.ts";
import type { Output } from "./replacement.ts";

/** What a node's certificate is made of. */
export interface MakeNode extends SubjectName, PairFiles, AuthorityFiles, Lifetime, NodeNames {
  readonly chain: ChainFile;
}

/** What a signing request is made of. */
export interface MakeCsr extends SubjectName, NodeNames {
  readonly outCsr: string;
  /** Where a new key goes; undefined where `key` is given. */
  readonly outKey?: string | undefined;
  /** A key that is there: a file, or the URI of a key in a token. */
  readonly key?: string | undefined;
  readonly passin?: string | undefined;
  readonly existing: ExistingFiles;
}

/** Makes a node's key (0600) and certificate. */
export function makeNode(options: MakeNode): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    yield* refuseNodeUnapproved(options.caCert);
    const issuer = yield* readAuthority(options);
    const { period, warnings: ends } = yield* periodUnder(options, issuer.certificate, options.caCert);
    const { commonName, organization, country } = options;
    const names = yield* Effect.fromResult(namesOf(options));
    const { certPem, keyPem, der } = yield* issuing(
      "make node certificate",
      () => issueNode({ issuer: issuer.issuer, commonName, organization, country, ...names, ...period }),
    );
    const content = withChain(certPem, issuer, options.chain);
    const warnings = [...issuer.warnings, ...ends, ...claimWarning(der)];
    return yield* writeIssued(
      options,
      issuer,
      { der, files: pairOf(options, content, keyPem, "certificate"), warnings },
      options.existing,
    );
  });
}

/** Makes a key (0600) and a request for its certificate, or a request for a key that is there. */
export function makeCsr(options: MakeCsr): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const { commonName, organization, country, outKey, key } = options;
    const names = yield* Effect.fromResult(namesOf(options));
    const signer = yield* keyToCertify(options);
    const request = { commonName, organization, country, ...names };
    const { csrPem, keyPem } = yield* issuing(
      "make signing request",
      async () =>
        signer === undefined
          ? await issueCsr(request)
          : { csrPem: await requestWith(request, signer), keyPem: undefined },
    );
    const keyFile: readonly Output[] = keyPem === undefined || outKey === undefined
      ? []
      : [{ path: outKey, kind: "private-key", content: keyPem, mode: 0o600 }];
    const csr: Output = { path: options.outCsr, kind: "signing-request", content: csrPem, mode: 0o644 };
    return yield* writeOutputs([...keyFile, csr], options.existing, [], key === undefined ? [] : [key]);
  });
}
