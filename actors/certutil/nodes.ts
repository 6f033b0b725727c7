/**
 * Making node certificates, from a fresh key or from a signing request.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { Role } from "../../pki/certificate.ts";
import { checkIdentity, checkWellFormed } from "../../pki/path.ts";
import { isDnsName, issueCsr, issueNode, signCsr, type SubjectName } from "../../pki/issue/mod.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import { type PairFiles, pairOf } from "./authorities.ts";
import { type Authority, type AuthorityFiles, readAuthority } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { readInput } from "./input_file.ts";
import { type Lifetime, outlivesWarning, periodOf } from "./lifetime.ts";
import { writeIssued } from "./issued_record.ts";
import { issuing, type Outcome, writeOutputs } from "./outcome.ts";

/**
 * What stands in a node's certificate file: the leaf alone, or with its issuer's certificates behind it, which peers
 * need that anchor the root only.
 */
export type ChainFile = "leaf" | "leaf-and-issuer";

/** Which names a node is to have. */
export interface NodeNames {
  /** Alternative names; undefined for the usual ones. */
  readonly san: readonly string[] | undefined;
  /** The role that the certificate grants, in which trust domain: one URI name more. */
  readonly role?: Role | undefined;
  readonly trustDomain?: string | undefined;
}

/** What a node's certificate is made of. */
export interface MakeNode extends SubjectName, PairFiles, AuthorityFiles, Lifetime, NodeNames {
  readonly chain: ChainFile;
}

/** What a signing request is made of. */
export interface MakeCsr extends SubjectName, NodeNames {
  readonly outCsr: string;
  readonly outKey: string;
  readonly existing: ExistingFiles;
}

/** What is signed, and where the certificate goes. */
export interface SignRequest extends AuthorityFiles, Lifetime {
  readonly csr: string;
  /** Alternative names in place of those that the request asks for. */
  readonly san: readonly string[] | undefined;
  readonly outCert: string;
  readonly chain: ChainFile;
  readonly existing: ExistingFiles;
}

/** Makes a node's key (0600) and certificate. */
export function makeNode(options: MakeNode): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const period = yield* periodOf(options);
    const issuer = yield* readAuthority(options);
    const { commonName, organization, country } = options;
    const names = yield* Effect.fromResult(namesOf(options));
    const { certPem, keyPem, der } = yield* issuing(
      "make node certificate",
      () => issueNode({ issuer, commonName, organization, country, ...names, ...period }),
    );
    const content = withChain(certPem, issuer, options.chain);
    const warnings = [...issuer.warnings, ...outlivesWarning(period, issuer.certificate), ...claimWarning(der)];
    return yield* writeIssued(
      options,
      issuer,
      { der, files: pairOf(options, content, keyPem), warnings },
      options.existing,
    );
  });
}

/** Makes a node's key (0600) and a request for its certificate. */
export function makeCsr(options: MakeCsr): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const { commonName, organization, country } = options;
    const names = yield* Effect.fromResult(namesOf(options));
    const { csrPem, keyPem } = yield* issuing(
      "make signing request",
      () => issueCsr({ commonName, organization, country, ...names }),
    );
    const files = [
      { path: options.outKey, content: keyPem, mode: 0o600 },
      { path: options.outCsr, content: csrPem, mode: 0o644 },
    ];
    return yield* writeOutputs(files, options.existing);
  });
}

/** Signs a request, and says which names the certificate was given: a URI name is a role. */
export function signRequest(options: SignRequest): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const period = yield* periodOf(options);
    const issuer = yield* readAuthority(options);
    const csrPem = yield* readInput(options.csr, { what: "signing request", flag: "--csr" });
    const san = options.san === undefined ? {} : { san: options.san };
    const { certPem, der, names } = yield* issuing(
      `sign ${options.csr}`,
      () => signCsr({ issuer, csrPem, ...san, ...period }),
    );
    const file = { path: options.outCert, content: withChain(certPem, issuer, options.chain) };
    const warnings = [...issuer.warnings, ...outlivesWarning(period, issuer.certificate), ...claimWarning(der)];
    const { lines } = yield* writeIssued(options, issuer, { der, files: [file], warnings }, options.existing);
    return { lines: [...lines, ...names.map(({ type, value }) => `name ${type.toUpperCase()}:${value}`)], warnings };
  });
}

/** The names as `issueNode` takes them: none given means the usual ones, which a role comes on top of. */
function namesOf(
  { san, role, trustDomain, commonName }: NodeNames & { readonly commonName: string },
): Result.Result<{ readonly san?: readonly string[] }, CertutilError> {
  if (role === undefined && trustDomain === undefined) return Result.succeed(san === undefined ? {} : { san });
  const given = role !== undefined && trustDomain !== undefined;
  if (given && isDnsName(trustDomain) && /^[\w.-]+$/.test(commonName)) {
    return Result.succeed({ san: [...san ?? [], `URI:spiffe://${trustDomain}/${role}/${commonName}`] });
  }
  const detail = given
    ? `it makes no name of ${trustDomain}, ${role} and ${commonName}`
    : "one is there without the other";
  const remedy = "Give both, or write the name: --san URI:spiffe://DOMAIN/ROLE/NAME.";
  return Result.fail(new CertutilError({ what: "use --role and --trust-domain", detail, remedy }));
}

/** Nodes refuse a URI name that is no role of theirs, and several of them. */
function claimWarning(der: Uint8Array): readonly string[] {
  const read = Result.flatMap(checkWellFormed([der]), (wellFormed) => checkIdentity(wellFormed));
  const claim = Result.isSuccess(read) ? read.success.roleClaim : undefined;
  if (claim === undefined) return [];
  return [`no node accepts ${claim}: a role is one URI:spiffe://DOMAIN/gateway|scheduler|worker|data/NAME`];
}

function withChain(certPem: string, issuer: Authority, chain: ChainFile): string {
  return chain === "leaf" ? certPem : `${certPem}${issuer.certPem.trimEnd()}\n`;
}
