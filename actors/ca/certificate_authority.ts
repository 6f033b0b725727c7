/**
 * A CA that issues: its certificates, its key, its register and its terms.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Data, Effect, Result, Semaphore } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { IssueError, type Issuer, issuerWith, type Signer } from "../../pki/issue/mod.ts";
import { formatPem } from "../../pki/pem.ts";
import { verifySignature } from "../../pki/signature.ts";
import { trustDomainNamePattern } from "../../pki/trust_domain_name.ts";
import type { CaAlarm } from "./alarm.ts";
import { CaRefused } from "./ca_refused.ts";
import type { IssuedRole } from "./certificate_rows.ts";
import { addressKey, FailureLimit } from "./failure_limit.ts";
import { Nonces } from "./nonces.ts";
import { PublishedLists } from "./published_lists.ts";
import type { Register } from "./register.ts";
import { isCaUrl } from "./token.ts";

/** Operations of clients that wait for their turn, and as many of the operator; each takes a few milliseconds. */
export const operationsWaitingMax = 256;
/** Operations of clients of one address that wait: many nodes may share one. */
export const operationsPerAddressMax = 32;

/** What an operator decides about a CA. */
export interface AuthorityTerms {
  /** The trust domain that it issues for. */
  readonly domain: string;
  /** Where nodes reach it: `https://HOST[:PORT]`. */
  readonly url: string;
  /** How long a node's certificate lives, in milliseconds. */
  readonly lifetimeMs: (role: IssuedRole | undefined) => number;
  /** How long after its end a certificate can still be renewed, in milliseconds; 0: not at all. */
  readonly renewAfterExpiryMs: number;
  /** Issuers whose certificates are to be renewed at once, by SHA-256 of the SPKI. */
  readonly retiredIssuers: readonly string[];
  /** Addresses of the network's gateways, for nodes that join. */
  readonly gateways: readonly string[];
  /** Addresses of those whose names are known; none where undefined. */
  readonly gatewayNames?: Readonly<Record<string, string>> | undefined;
  /** Roles whose enrolments an operator approves. */
  readonly approvedRoles: readonly string[];
  /** Told what an operator has to look at. */
  readonly onAlarm: (alarm: CaAlarm) => void;
}

/** A CA whose lists are made here. */
export interface ListSigner {
  readonly issuer: Issuer;
  /** SHA-256 of the issuer's SPKI, hexadecimal: the register's name for it. */
  readonly issuerId: string;
  /** Why its key cannot sign now; undefined while it can, as far as is known. */
  readonly keyFailure: () => Error | undefined;
}

/** Runs an operation when it is its turn. */
export type InTurn = <A, E>(operation: Effect.Effect<A, E>) => Effect.Effect<A, E | CaRefused>;

/** A CA, ready to issue. */
export interface CertificateAuthority extends AuthorityTerms, ListSigner {
  readonly register: Register;
  readonly anchor: Certificate;
  /** SHA-256 of the root's SPKI, hexadecimal: what tokens carry. */
  readonly anchorId: string;
  /** From the issuer to the one that the root signed. */
  readonly intermediates: readonly Certificate[];
  /** CAs that no longer issue; their lists go on until the root revokes them. */
  readonly retired: readonly RetiredCa[];
  /** The CA that will issue next, with those between it and the root: published before its first certificate. */
  readonly next: readonly Certificate[];
  /** Certificates about the root's key by the root before it (RFC 7030 §4.1.3). */
  readonly newWithOld: readonly Certificate[];
  /** Counted apart: one node that fails to enrol must not keep others at its address from renewing. */
  readonly failures: { readonly enrolments: FailureLimit; readonly renewals: FailureLimit };
  /** For enrolments with an identity in hardware. */
  readonly nonces: Nonces;
  readonly published: PublishedLists;
  /** One operation at a time, for the CA itself and its operator: they wait for one operation of a client at most. */
  readonly inTurn: InTurn;
  /** The same for a client: it waits in line. Refuses when too many wait, in all or of its address. */
  readonly inLine: (address: string) => InTurn;
}

/** A CA that no longer issues. */
export interface RetiredCa extends ListSigner {
  readonly intermediates: readonly Certificate[];
}

/** The CAs whose lists are made here: the one that issues, and the retired ones. */
export function signersOf(ca: CertificateAuthority): readonly ListSigner[] {
  return [ca, ...ca.retired];
}

/** Those of them that make lists at a time. A retired CA has no list any more when it has ended; the one that issues keeps its own. */
export function signersAt(ca: CertificateAuthority, at: Date): readonly ListSigner[] {
  return [ca, ...ca.retired.filter(({ issuer }) => issuer.certificate.period.notAfter >= at)];
}

/** The parts of a CA. */
export interface AuthorityParts extends AuthorityTerms {
  readonly register: Register;
  readonly signer: Signer;
  /** DER: the CA that signs, the CAs above it, the root last. */
  readonly chain: readonly Uint8Array[];
  readonly retired?: readonly { readonly signer: Signer; readonly chain: readonly Uint8Array[] }[] | undefined;
  /** DER, as the chain. */
  readonly next?: readonly Uint8Array[] | undefined;
  /** DER. */
  readonly newWithOld?: readonly Uint8Array[] | undefined;
}

/** What a CA cannot be put together of. */
export class AuthorityUnusable extends Data.TaggedError("AuthorityUnusable")<{
  /** The terms with the CA that issues, one of those retired, by its place, the next one, or what is about the root. */
  readonly part: "issuing" | "next" | "newWithOld" | number;
  readonly detail: string;
}> {
  override get message(): string {
    return this.detail;
  }
}

/**
 * Puts a CA together.
 *
 * Checks that the key is the issuer's, that each certificate is signed by the next one, and that the terms can be used. Dates are
 * checked when something is issued.
 */
export function makeAuthority(parts: AuthorityParts): Result.Result<CertificateAuthority, AuthorityUnusable> {
  return Result.gen(function* () {
    const { register, signer, chain, retired = [], next = [], newWithOld = [], ...terms } = parts;
    yield* checkTerms(terms);
    const own = yield* partOf("issuing", readCa(chain, signer));
    const read: RetiredCa[] = [];
    for (const [index, each] of retired.entries()) read.push(yield* partOf(index, readCa(each.chain, each.signer)));
    const nextChain = next.length === 0 ? [] : yield* partOf("next", readChain(next));
    if (next.length > 0 && nextChain.at(-1)?.fingerprint !== own.anchor.fingerprint) {
      return yield* partOf("next", unusable("the next CA is not below the root"));
    }
    return {
      ...terms,
      ...own,
      register,
      anchorId: keyHash(own.anchor.publicKey.spki),
      retired: read,
      next: nextChain.slice(0, -1),
      newWithOld: yield* partOf("newWithOld", readLinks(newWithOld, own.anchor)),
      failures: { enrolments: new FailureLimit(), renewals: new FailureLimit() },
      nonces: new Nonces(),
      published: new PublishedLists(register),
      ...makeTurns(),
    };
  });
}

function checkTerms({ url, domain }: Pick<AuthorityTerms, "url" | "domain">): Result.Result<void, AuthorityUnusable> {
  const fail = (detail: string) => Result.fail(new AuthorityUnusable({ part: "issuing", detail }));
  if (!isCaUrl(url)) return fail(`${JSON.stringify(url)} is not https://HOST[:PORT]`);
  if (!trustDomainNamePattern.test(domain)) return fail(`${JSON.stringify(domain)} is no trust domain's name`);
  return Result.void;
}

const partOf = <A>(part: AuthorityUnusable["part"], read: Result.Result<A, IssueError>) =>
  Result.mapError(read, ({ detail }) => new AuthorityUnusable({ part, detail }));

interface ReadCa extends RetiredCa {
  readonly anchor: Certificate;
}

/** Reads a CA with its key: what signs as it, and that each certificate is signed by the next one. */
export function readCa(chain: readonly Uint8Array[], signer: Signer): Result.Result<ReadCa, IssueError> {
  return Result.gen(function* () {
    const certificates = yield* readChain(chain);
    const own = certificates[0]!;
    const issuer = yield* Result.try({
      try: () => issuerWith(formatPem("CERTIFICATE", own.der), signer),
      catch: (error) => error instanceof IssueError ? error : problem(String(error)),
    });
    return {
      issuer,
      issuerId: keyHash(own.publicKey.spki),
      keyFailure: () => signer.failure?.(),
      anchor: certificates.at(-1)!,
      intermediates: certificates.length === 1 ? [] : certificates.slice(0, -1),
    };
  });
}

/** Certificates, each signed by the next one; the last is the root. */
function readChain(chain: readonly Uint8Array[]): Result.Result<readonly Certificate[], IssueError> {
  return Result.gen(function* () {
    const certificates: Certificate[] = [];
    for (const der of chain) {
      certificates.push(yield* Result.mapError(parseCertificate(der), ({ message }) => problem(message)));
    }
    if (certificates.length === 0) return yield* unusable("the CA has no certificate");
    yield* checkChain(certificates);
    return certificates;
  });
}

/** Certificates about the root's key and name. The root before it is not known here: nodes check its signature. */
function readLinks(
  links: readonly Uint8Array[],
  anchor: Certificate,
): Result.Result<readonly Certificate[], IssueError> {
  return Result.gen(function* () {
    const read: Certificate[] = [];
    for (const der of links) {
      const link = yield* Result.mapError(parseCertificate(der), ({ message }) => problem(message));
      const isAbout = sameBytes(link.publicKey.spki, anchor.publicKey.spki) &&
        sameBytes(link.subject.der, anchor.subject.der) && link.basicConstraints?.ca === true;
      if (!isAbout) return yield* unusable(`${link.subject.text} is not a certificate about the root's key and name`);
      read.push(link);
    }
    return read;
  });
}

/** SHA-256 of a public key, hexadecimal. */
export function keyHash(spki: Uint8Array): string {
  return createHash("sha256").update(spki).digest("hex");
}

function problem(detail: string): IssueError {
  return new IssueError({ problem: "issuer-certificate", detail });
}

const unusable = (detail: string) => Result.fail(problem(detail));

function checkChain(certificates: readonly Certificate[]): Result.Result<void, IssueError> {
  for (
    const [index, { issuer, tbs: data, signatureAlgorithm: algorithm, signature, subject }] of certificates.entries()
  ) {
    const above = certificates[index + 1] ?? certificates[index]!;
    const isSigned = sameBytes(issuer.der, above.subject.der) &&
      verifySignature({ data, algorithm, signature }, above.publicKey);
    if (!isSigned) return unusable(`${subject.text} is not signed by ${above.subject.text}`);
  }
  return Result.void;
}

function makeTurns(): Pick<CertificateAuthority, "inTurn" | "inLine"> {
  const turn = Semaphore.makeUnsafe(1);
  // Of the clients only the first in line waits for the turn, so that one of them at most is before an operator.
  const line = Semaphore.makeUnsafe(1);
  const [operators, clients, byAddress] = [new Waiting(), new Waiting(), new Waiting()];
  return {
    inTurn: (operation) => operators.counted("", operationsWaitingMax, turn.withPermit(operation)),
    inLine: (address) => (operation) => {
      const inLine = clients.counted("", operationsWaitingMax, line.withPermit(turn.withPermit(operation)));
      return byAddress.counted(addressKey(address), operationsPerAddressMax, inLine);
    },
  };
}

/** Counts operations that wait or run, by key. */
class Waiting {
  readonly #counts = new Map<string, number>();

  /** Refuses an operation where as many of its key wait. */
  counted<A, E>(key: string, most: number, operation: Effect.Effect<A, E>): Effect.Effect<A, E | CaRefused> {
    const of = key === "" ? "" : ` of ${key}`;
    return Effect.suspend((): Effect.Effect<A, E | CaRefused> => {
      const count = this.#counts.get(key) ?? 0;
      if (count >= most) {
        return Effect.fail(new CaRefused({ code: "busy", detail: `${count} operations${of} are waiting` }));
      }
      this.#counts.set(key, count + 1);
      return Effect.ensuring(
        operation,
        Effect.sync(() => {
          const left = this.#counts.get(key)! - 1;
          if (left > 0) this.#counts.set(key, left);
          else this.#counts.delete(key);
        }),
      );
    });
  }
}
