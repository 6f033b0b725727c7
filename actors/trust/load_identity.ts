/**
 * Reads a node's own key and certificate, with every check that is possible before the first dial.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type Certificate, isSelfIssued, type MemberRole, parseCertificate } from "../../pki/certificate.ts";
import { standsFor } from "../../pki/member.ts";
import type { VerificationCache } from "../../pki/verification_cache.ts";
import { keyMatches, parsePrivateKey, type PrivateKey, toTlsPem } from "../../pki/key.ts";
import { checkIdentity, checkWellFormed, type PeerIdentity, verifyPath } from "../../pki/path.ts";
import { formatPem, parsePem, type PemBlock } from "../../pki/pem.ts";
import type { CertificateRevoked, Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import { readPem } from "../files/read_pem.ts";
import { LoadError, type LoadProblem } from "../files/load_error.ts";
import { shellWord } from "../files/shell_word.ts";

/** Which files, and for what time. */
export interface IdentityFiles {
  /** Path of the chain: the node's certificate, then intermediates. */
  readonly certPem: string;
  /** Path of the PKCS#8 key. */
  readonly keyPem: string;
  readonly generation: number;
  readonly at: Date;
  /** The node's role: a certificate that names another is refused. Any role where undefined. */
  readonly role?: MemberRole | undefined;
}

/** A key is some hundred bytes; the largest RSA keys have 12 kB. */
export const keyBytesMax = 64 * 1024;
/** Ten certificates, the most that a peer takes, of 64 kB each, as base64. */
export const certBytesMax = 1024 * 1024;

/**
 * Loads key and certificate and checks that a node can use them: only its owner can read the key, they belong together,
 * the certificate is valid today, of this node's role and not self-signed. {@linkcode checkOwnChain} checks whether peers trust it.
 *
 * Self-signed certificates at the end of the file (a root) are not sent to peers: they prove nothing.
 */
export function loadIdentity(files: IdentityFiles): Effect.Effect<NodeIdentity, LoadError, FileSystem> {
  return Effect.gen(function* () {
    const key = yield* loadKey(files.keyPem);
    const { text } = yield* readPem({
      path: files.certPem,
      what: "certificate",
      bytesMax: certBytesMax,
      key: "cert_pem",
      wanted: "certificate",
    });
    const certificates = yield* Effect.fromResult(parseCertificates(files.certPem, text));
    const leaf = yield* Effect.fromResult(findOwn(files, certificates, key));
    yield* Effect.fromResult(checkOwn(files, leaf));
    const chain = [leaf, ...certificates.slice(1).filter((certificate) => !isSelfIssued(certificate))];
    return yield* Effect.fromResult(identityOf(files, chain, key));
  });
}

/**
 * Checks that this node's own trust verifies its own chain: peers of the same organisation would refuse it otherwise.
 *
 * @param memory Remembers the chain where it is given, so that new revocation lists cost no signature.
 * @returns The refusal of such a peer; undefined where it would accept the chain.
 */
export function checkOwnChain(
  { chain }: NodeIdentity,
  snapshot: TrustSnapshot,
  { at, memory }: { readonly at: Date; readonly memory?: VerificationCache },
): Refusal | undefined {
  const verdict = verifyPath(chain, snapshot, { at, cache: memory });
  return Result.isFailure(verdict) ? verdict.failure : undefined;
}

/**
 * What the node's own bundle and its lists say, where they revoke the leaf itself. Lists of other domains do not count, and neither
 * does a revoked CA: with a certificate of the next one the node goes on.
 */
export function revocationOf(
  { chain }: NodeIdentity,
  snapshot: TrustSnapshot,
  at: Date,
): CertificateRevoked | undefined {
  const { domains: _, ...own } = snapshot;
  const verdict = verifyPath(chain, own, { at });
  if (Result.isSuccess(verdict) || verdict.failure._tag !== "CertificateRevoked") return undefined;
  const revoked = verdict.failure;
  const leaf = Result.getOrUndefined(parseCertificate(chain[0] ?? new Uint8Array(0)));
  const isLeaf = leaf?.serial === revoked.certificate.serial && leaf.issuer.text === revoked.issuer;
  return isLeaf ? revoked : undefined;
}

/** From the leaf's first moment to the end of the chain, in milliseconds. */
export function lifeOf({ chain: [leaf], notAfter }: NodeIdentity): number {
  const read = leaf === undefined ? undefined : parseCertificate(leaf);
  return read !== undefined && Result.isSuccess(read) ? +notAfter - +read.success.period.notBefore : 0;
}

function fault(file: string, problem: LoadProblem, detail: string, mend: string, line?: number) {
  return Result.fail(new LoadError({ file, line, problem, detail, mend }));
}

const loadKey = Effect.fnUntraced(function* (path: string) {
  const { text, mode } = yield* readPem({
    path,
    what: "private key",
    bytesMax: keyBytesMax,
    key: "key_pem",
    wanted: "private key",
  });
  if ((mode & 0o077) !== 0) {
    const octal = mode.toString(8).padStart(4, "0");
    yield* Effect.fromResult(
      fault(
        path,
        "open-to-others",
        `others can read or write the private key (mode ${octal})`,
        `Run: chmod 600 ${shellWord(path)}`,
      ),
    );
  }
  const key = parsePrivateKey(text);
  if (Result.isSuccess(key)) return key.success;
  const { detail, hint, line } = key.failure;
  const problem = text.trim() === "" ? "empty" : "malformed";
  const mend = key.failure.problem === "pem"
    ? `Copy it again; look at it with: openssl pkey -in ${shellWord(path)} -noout`
    : hint;
  return yield* Effect.fromResult(fault(path, problem, detail, mend, line));
});

function parseCertificates(path: string, text: string): Result.Result<readonly Certificate[], LoadError> {
  const inspect = `Look at it with: hypha-certutil inspect ${shellWord(path)}`;
  const blocks = parsePem(text);
  if (Result.isFailure(blocks)) return fault(path, "malformed", blocks.failure.detail, inspect, blocks.failure.line);
  const certificates: Certificate[] = [];
  for (const [index, block] of blocks.success.entries()) {
    const parsed = parseBlock(path, block, index, inspect);
    if (Result.isFailure(parsed)) return Result.fail(parsed.failure);
    certificates.push(parsed.success);
  }
  if (certificates.length > 0) return Result.succeed(certificates);
  return fault(path, "empty", "there is no certificate in it", "Put the node's certificate there, then intermediates.");
}

function parseBlock(path: string, block: PemBlock, index: number, inspect: string) {
  if (block.label !== "CERTIFICATE") {
    const mend = `Keep certificates alone in cert_pem; a key belongs into key_pem.`;
    return fault(path, "malformed", `there is a block ${block.label} in it`, mend, block.line);
  }
  const parsed = parseCertificate(block.der, index);
  if (Result.isSuccess(parsed)) return Result.succeed(parsed.success);
  return fault(path, "malformed", parsed.failure.message, inspect, block.line);
}

function findOwn({ certPem, keyPem }: IdentityFiles, certificates: readonly Certificate[], key: PrivateKey) {
  const place = certificates.findIndex((certificate) => keyMatches(certificate, key));
  if (place === 0) return Result.succeed(certificates[0] as Certificate);
  if (place > 0) {
    const mend = "Put the node's certificate first, intermediates behind it: cat NODE.pem INTERMEDIATE.pem > cert_pem";
    return fault(certPem, "mismatch", `the certificate of ${keyPem} is number ${place + 1} in it`, mend);
  }
  const mend = `Compare: openssl x509 -in ${shellWord(certPem)} -noout -pubkey; openssl pkey -in ${
    shellWord(keyPem)
  } -pubout`;
  return fault(certPem, "mismatch", `the key in ${keyPem} is not the key of this certificate`, mend);
}

function checkOwn({ certPem, at }: IdentityFiles, leaf: Certificate): Result.Result<void, LoadError> {
  const { notBefore, notAfter } = leaf.period;
  if (!(at >= notBefore)) {
    const detail = `the certificate is valid from ${notBefore.toISOString()}, and it is ${at.toISOString()}`;
    return fault(certPem, "not-yet-valid", detail, "Check this node's clock: timedatectl");
  }
  if (!(at <= notAfter)) {
    const detail = `the certificate expired at ${notAfter.toISOString()}`;
    return fault(certPem, "expired", detail, "Issue a new one: hypha-certutil gen-cert");
  }
  if (isSelfIssued(leaf)) {
    const mend = "Have it signed by the organisation's CA: hypha-certutil csr, then hypha-certutil sign";
    return fault(certPem, "rejected", "the certificate is self-signed, and every peer refuses those", mend);
  }
  return Result.succeed(undefined);
}

/**
 * When the sent chain expires: with the leaf, or with the last of the intermediates that may be its issuer. An
 * intermediate that has expired already does not count: a peer that accepts the leaf has another.
 */
function endOf(chain: readonly Certificate[], at: Date): Date {
  const [leaf, ...rest] = chain;
  const alive = rest.filter(({ period }) => period.notAfter >= at);
  let end = leaf?.period.notAfter ?? at;
  let issuer = leaf?.issuer;
  for (const _ of alive) {
    const above = alive.filter(({ subject }) => issuer?.text === subject.text);
    const [first, ...others] = above;
    if (first === undefined) return end;
    const last = others.reduce((a, b) => a.period.notAfter >= b.period.notAfter ? a : b, first);
    end = last.period.notAfter < end ? last.period.notAfter : end;
    issuer = last.issuer;
  }
  return end;
}

/** The trust domain that a node's own certificate names; undefined where it names none. */
export function ownDomainOf({ chain }: Pick<NodeIdentity, "chain">): string | undefined {
  const read = Result.flatMap(checkWellFormed(chain), (wellFormed) => checkIdentity(wellFormed));
  return Result.isSuccess(read) ? read.success.domain : undefined;
}

/** The same certificate for this node's role: where the name's other parts come from is the certificate itself. */
function ofAnotherRole(certPem: string, { name, names, role }: PeerIdentity, own: MemberRole) {
  const [, domain, path = name] = /^URI:spiffe:\/\/([^/]+)\/[^/]+\/(.+)$/.exec(names.find(isSpiffe) ?? "") ?? [];
  const uri = `URI:spiffe://${domain ?? "DOMAIN"}/${own}/${path}`;
  const detail = `the certificate is a ${role}'s, and this node is a ${own} (role-not-allowed)`;
  const mend = `Issue one for this node: hypha-certutil gen-cert --san ${uri}; or set cert_pem and key_pem to its own`;
  return fault(certPem, "role-not-allowed", detail, mend);
}

const isSpiffe = (name: string) => name.startsWith("URI:spiffe://");

function identityOf({ certPem, generation, at, role }: IdentityFiles, chain: readonly Certificate[], key: PrivateKey) {
  const ders = chain.map(({ der }) => der);
  const read = Result.flatMap(checkWellFormed(ders), (wellFormed) => checkIdentity(wellFormed));
  if (Result.isFailure(read)) return fault(certPem, "rejected", read.failure.message, read.failure.hint);
  const { peer, name } = read.success;
  const isOthers = role !== undefined && !standsFor(read.success.role, role);
  if (isOthers) return ofAnotherRole(certPem, read.success, role);
  const identity: NodeIdentity = {
    peer,
    name,
    notAfter: endOf(chain, at),
    generation,
    chain: ders,
    certPem: ders.map((der) => formatPem("CERTIFICATE", der)).join(""),
    keyPem: toTlsPem(key),
  };
  return Result.succeed(identity);
}
