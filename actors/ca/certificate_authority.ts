/**
 * A CA that issues: its certificates, its key, its register and its terms.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Effect, Result, Semaphore } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate, type Role } from "../../pki/certificate.ts";
import { IssueError, type Issuer, issuerWith, type Signer } from "../../pki/issue/mod.ts";
import { formatPem } from "../../pki/pem.ts";
import { verifySignature } from "../../pki/signature.ts";
import { trustDomainNamePattern } from "../../pki/trust_domain_name.ts";
import type { CaAlarm } from "./alarm.ts";
import { CaRefused } from "./ca_refused.ts";
import { FailureLimit } from "./failure_limit.ts";
import type { Register } from "./register.ts";
import { isCaUrl } from "./token.ts";

/** `notBefore` and `thisUpdate` lie so far back, for clocks that are late. */
export const backdateMs = 5 * 60_000;
/** Operations that wait for their turn; each takes a few milliseconds. */
export const operationsWaitingMax = 256;

/** What an operator decides about a CA. */
export interface AuthorityTerms {
  /** The trust domain that it issues for. */
  readonly domain: string;
  /** Where nodes reach it: `https://HOST[:PORT]`. */
  readonly url: string;
  /** How long a node's certificate lives, in milliseconds. */
  readonly lifetimeMs: (role: Role | "ca" | undefined) => number;
  /** How long after its end a certificate can still be renewed, in milliseconds; 0: not at all. */
  readonly renewAfterExpiryMs: number;
  /** Issuers whose certificates are to be renewed at once, by SHA-256 of the SPKI. */
  readonly retiredIssuers: readonly string[];
  /** Addresses of the network's gateways, for nodes that join. */
  readonly gateways: readonly string[];
  /** Told what an operator has to look at. */
  readonly onAlarm: (alarm: CaAlarm) => void;
}

/** A CA, ready to issue. */
export interface CertificateAuthority extends AuthorityTerms {
  readonly register: Register;
  readonly issuer: Issuer;
  /** SHA-256 of the issuer's SPKI, hexadecimal: the register's name for it. */
  readonly issuerId: string;
  readonly anchor: Certificate;
  /** SHA-256 of the root's SPKI, hexadecimal: what tokens carry. */
  readonly anchorId: string;
  /** From the issuer to the one that the root signed. */
  readonly intermediates: readonly Certificate[];
  readonly failures: FailureLimit;
  /** One operation at a time; refuses when too many wait. */
  readonly inTurn: <A, E>(operation: Effect.Effect<A, E>) => Effect.Effect<A, E | CaRefused>;
}

/** The parts of a CA. */
export interface AuthorityParts extends AuthorityTerms {
  readonly register: Register;
  readonly signer: Signer;
  /** DER: the CA that signs, the CAs above it, the root last. */
  readonly chain: readonly Uint8Array[];
}

/**
 * Puts a CA together.
 *
 * Checks that the key is the issuer's, that each certificate is signed by the next one, and that the terms can be used. Dates are
 * checked when something is issued.
 */
export function makeAuthority(parts: AuthorityParts): Result.Result<CertificateAuthority, IssueError> {
  return Result.gen(function* () {
    const { register, signer, chain, ...terms } = parts;
    if (!isCaUrl(terms.url)) return yield* unusable(`${JSON.stringify(terms.url)} is not https://HOST[:PORT]`);
    if (!trustDomainNamePattern.test(terms.domain)) {
      return yield* unusable(`${JSON.stringify(terms.domain)} is no trust domain's name`);
    }
    const certificates: Certificate[] = [];
    for (const der of chain) {
      certificates.push(yield* Result.mapError(parseCertificate(der), ({ message }) => problem(message)));
    }
    const anchor = certificates.at(-1);
    const own = certificates[0];
    if (anchor === undefined || own === undefined) return yield* unusable("the CA has no certificate");
    yield* checkChain(certificates);
    const issuer = yield* Result.try({
      try: () => issuerWith(formatPem("CERTIFICATE", own.der), signer),
      catch: (error) => error instanceof IssueError ? error : problem(String(error)),
    });
    const turns = makeTurns();
    return {
      ...terms,
      register,
      issuer,
      issuerId: keyHash(own.publicKey.spki),
      anchor,
      anchorId: keyHash(anchor.publicKey.spki),
      intermediates: certificates.length === 1 ? [] : certificates.slice(0, -1),
      failures: new FailureLimit(),
      inTurn: turns,
    };
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

function makeTurns(): CertificateAuthority["inTurn"] {
  const turn = Semaphore.makeUnsafe(1);
  let waiting = 0;
  return <A, E>(operation: Effect.Effect<A, E>) =>
    Effect.suspend((): Effect.Effect<A, E | CaRefused> => {
      if (waiting >= operationsWaitingMax) {
        return Effect.fail(new CaRefused({ code: "busy", detail: `${waiting} operations are waiting` }));
      }
      waiting += 1;
      return Effect.ensuring(turn.withPermit(operation), Effect.sync(() => waiting -= 1));
    });
}
