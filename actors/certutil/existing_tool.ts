/**
 * The commands of the existing network's certificate tool, `root`, `org` and `node`: its file names, our certificates.
 *
 * @module
 */
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import { Path } from "effect/Path";
import { isDnsName, issueNode } from "../../pki/issue/mod.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import { refuseNodeUnapproved } from "./approval/approval_files.ts";
import { makeIntermediate, makeRoot, pairOf } from "./authorities.ts";
import { type AuthorityFiles, readAuthority } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { defaultDays, periodUnder } from "./lifetime.ts";
import { writeIssued } from "./issued_record.ts";
import { issuing, type Outcome } from "./outcome.ts";
import { shellWord } from "../files/shell_word.ts";

/** What all three commands take: the folder, which must be there. */
export interface ToolFolder {
  readonly dir: string;
  readonly existing: ExistingFiles;
}

/** `root`. */
export interface ToolRoot extends ToolFolder {
  readonly organization: string;
  readonly country: string;
  readonly name: string | undefined;
}

/** `org`: the CA files are the root's. */
export interface ToolOrg extends ToolFolder, AuthorityFiles {
  readonly organization: string;
  readonly name: string | undefined;
}

/** `node`. */
export interface ToolNode extends ToolFolder, AuthorityFiles {
  readonly name: string;
  /** Bare addresses and names; `0.0.0.0` when empty. NAME itself is added as a DNS name. */
  readonly san: readonly string[];
}

/** Makes `<name>-cert.pem` and `<name>-key.pem` of a root; the name is `<organization> CA` unless one is given. */
export function toolRoot(options: ToolRoot): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  const { organization, country, name = `${organization} CA`, dir, existing } = options;
  return Effect.flatMap(
    pairIn(dir, fileName(name)),
    (files) => makeRoot({ commonName: name, organization, country, days: defaultDays.root, existing, ...files }),
  );
}

/** Makes `<name>-cert.pem` and `<name>-key.pem` of an organisation's CA under a root. */
export function toolOrg(options: ToolOrg): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  const { organization, name = `${organization} CA`, dir, existing, ...authority } = options;
  const days = defaultDays.intermediate;
  return Effect.flatMap(
    pairIn(dir, fileName(name)),
    (files) =>
      makeIntermediate({ ...authority, commonName: name, organization, days, existing, pathLength: 0, ...files }),
  );
}

/** Makes `<name>-cert.pem`, `-key.pem` and `-trust.pem`: the node's leaf, then the CA, as the existing tool has it. */
export function toolNode(options: ToolNode): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const { name, dir, existing } = options;
    const base = fileName(name).replaceAll(".", "-");
    const files = yield* pairIn(dir, base);
    const trust = (yield* Path).join(dir, `${base}-trust.pem`);
    yield* refuseNodeUnapproved(options.caCert);
    const issuer = yield* readAuthority(options);
    const { period, warnings: ends } = yield* periodUnder(
      { days: defaultDays.node },
      issuer.certificate,
      options.caCert,
    );
    const own = isDnsName(name) ? [`DNS:${name}`] : [];
    const san = [...(options.san.length === 0 ? ["0.0.0.0"] : options.san), ...own];
    const { certPem, keyPem, der } = yield* issuing(
      "make node certificate",
      () => issueNode({ issuer: issuer.issuer, commonName: name, san, ...period }),
    );
    const unnamed = own.length === 0 ? [`${JSON.stringify(name)} is no DNS name, the certificate goes without it`] : [];
    const warnings = [...issuer.warnings, ...unnamed, ...ends];
    const outputs = [
      ...pairOf(files, certPem, keyPem, "certificate"),
      { path: trust, kind: "certificate" as const, content: certPem + issuer.certPem },
    ];
    return yield* writeIssued(options, issuer, { der, files: outputs, warnings }, existing);
  });
}

/** Lower case, with space and slash as hyphen. */
function fileName(name: string): string {
  return name.toLowerCase().replace(/[ /]/g, "-");
}

const pairIn = Effect.fnUntraced(function* (dir: string, base: string) {
  const there = yield* Effect.match((yield* FileSystem).stat(dir), {
    onFailure: () => undefined,
    onSuccess: ({ type }) => type,
  });
  if (there !== "Directory") {
    yield* new CertutilError({
      what: "write into",
      file: dir,
      detail: there === undefined ? "there is no such folder" : "it is no folder",
      remedy: `Make it first: mkdir -p ${shellWord(dir)}`,
    });
  }
  const paths = yield* Path;
  return { outCert: paths.join(dir, `${base}-cert.pem`), outKey: paths.join(dir, `${base}-key.pem`) };
});
