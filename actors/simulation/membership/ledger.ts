/**
 * What the CA gave to whom and what it revoked, as an observer of its port and its register sees it: never from a node's decision.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createPublicKey, verify } from "node:crypto";
import { Result } from "effect";
import { type Certificate, parseCertificate } from "../../../pki/certificate.ts";
import { readEnrolment } from "../../../pki/enrolment_jws.ts";
import { readCsrDer } from "../../../pki/issue/read_csr.ts";
import { plainSerial } from "../../certutil/revocation_record.ts";
import { readCertsOnly } from "../../enrolment/certs_only.ts";
import { readCsrBody } from "../../ca/est_bodies.ts";
import type { Findings } from "../findings.ts";
import type { SimulatedToken } from "./simulated_token.ts";
import type { WebExchange } from "./virtual_web.ts";

/** A certificate that was answered. */
export interface Given {
  readonly fingerprint: string;
  readonly serial: string;
  /** The SPIFFE ID. */
  readonly identity: string;
  readonly names: string;
  readonly key: string;
  readonly notAfter: number;
  /** The text of its token, the certificate that it renews, or the identity's that it was issued for. */
  readonly by: { readonly token: string } | { readonly former: string } | { readonly identified: string };
  /** Whose request it was. */
  readonly host: string;
  readonly at: number;
}

/** A clock of the CA is off by this at most, in milliseconds; a node's by a tenth of a certificate's life too. */
export const skewMaxMs = 60_000;

/** A token, and whom it is for. */
interface Token {
  readonly identity: string;
  /** The SPIFFE ID of certificates for TLS, where the identity is in hardware. */
  readonly named?: string | undefined;
}

/** When a serial was revoked, and by which list. */
export interface Revocation {
  readonly at: number;
  readonly number: bigint;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** The ledger of a run, which checks each answer of the CA. */
export class Ledger {
  readonly #findings: Findings;
  readonly #now: () => number;
  readonly #tokens = new Map<string, Token>();
  /** By fingerprint. */
  readonly given = new Map<string, Given>();
  /** By serial. */
  readonly revoked = new Map<string, Revocation>();
  /** Identities of which every certificate was revoked, and since when: until a later token. */
  readonly #ended = new Map<string, number>();
  /** SPIFFE IDs of nodes whose identities are in hardware. */
  readonly #inHardware = new Set<string>();
  position = 0;

  constructor({ findings, now }: { readonly findings: Findings; readonly now: () => number }) {
    this.#findings = findings;
    this.#now = now;
  }

  /** The operator made a token. */
  token(text: string, token: Token): void {
    this.#tokens.set(text, token);
    const { identity, named } = token;
    this.#ended.delete(identity);
    if (named === undefined) return;
    this.#ended.delete(named);
    this.#inHardware.add(named);
  }

  /** The register has new revocations. */
  revocations(rows: readonly { readonly position: number; readonly serial: string }[], number: bigint): void {
    for (const { position, serial } of rows) {
      this.position = Math.max(this.position, position);
      if (!this.revoked.has(serial)) this.revoked.set(serial, { at: this.#now(), number });
    }
  }

  /** Every certificate of an identity was revoked. */
  ended(identity: string): void {
    this.#ended.set(identity, this.#now());
  }

  /** The first certificate of a host that still counts: with it all that renewed it are revoked. */
  firstOf(host: string): Given | undefined {
    let first = [...this.given.values()].findLast((each) => each.host === host && !this.revoked.has(each.serial));
    for (let above = first; above !== undefined; above = this.#above(above)) first = above;
    return first;
  }

  /** The certificate that one renews, or the identity's that it was issued for. */
  #above({ by }: Given): Given | undefined {
    if ("token" in by) return undefined;
    return this.given.get("former" in by ? by.former : by.identified);
  }

  /** A certificate and its descendants were to be revoked. */
  checkLine(serial: string): void {
    for (const given of this.given.values()) {
      // Of an identity, those for TLS that have ended are left alone.
      if ("identified" in given.by && given.notAfter < this.#now()) continue;
      for (let each: Given | undefined = given; each !== undefined; each = this.#above(each)) {
        if (each.serial === serial && !this.revoked.has(given.serial)) {
          this.#violate(
            "revoked-not-served",
            given,
            `a descendant of a revoked certificate of ${given.identity} is not`,
          );
        }
      }
    }
  }

  identityOf(serial: string): string | undefined {
    return [...this.given.values()].find((each) => each.serial === plainSerial(serial))?.identity;
  }

  revocationOf(serial: string): Revocation | undefined {
    return this.revoked.get(plainSerial(serial));
  }

  /** The CA answered. */
  answered({ from, request, answer }: WebExchange, token: Pick<SimulatedToken, "hasMade">): void {
    const asked = answer.status === 200 ? askedFor(request) : undefined;
    if (asked === undefined) return;
    const read = readCertsOnly(Buffer.from(answer.body));
    const [certificate] = Result.isSuccess(read) ? read.success : [];
    if (certificate === undefined) return;
    const given = givenOf(certificate, asked.by, { host: from, at: this.#now() });
    if (!token.hasMade(certificate.signature)) {
      this.#violate("signed-by-token", given, `a certificate of ${given.identity} without the token's signature`);
    }
    this.#checkIdentity(given, asked.signed);
    this.#checkOne(given, asked.key);
    const { by } = given;
    if ("token" in by) this.#checkToken(given, by.token);
    else if ("former" in by) this.#checkRenewal(given, by.former);
    else this.#checkIdentified(given, by.identified);
    if (!this.given.has(given.fingerprint)) this.given.set(given.fingerprint, given);
  }

  #violate(
    name:
      | "one-token-one-key"
      | "one-successor"
      | "role-from-token"
      | "revoked-not-served"
      | "signed-by-token"
      | "signed-by-identity",
    given: Given,
    detail: string,
  ) {
    this.#findings.violate(name, given.host, detail);
  }

  /** One token, or one certificate that is renewed, has one key and one certificate. */
  #checkOne(given: Given, asked: string | undefined): void {
    if (asked !== undefined && asked !== given.key) {
      const name = "token" in given.by ? "one-token-one-key" : "one-successor";
      this.#violate(name, given, `a certificate of ${given.identity} went to one with another key`);
    }
    // An identity's certificate is good for many.
    if ("identified" in given.by) return;
    const same = (other: Given) => JSON.stringify(other.by) === JSON.stringify(given.by);
    // A node that never saw the renewal asks again: one that has ended is renewed in its turn, for the same key.
    const isOver = (other: Given) =>
      "former" in given.by && other.key === given.key && other.notAfter <= given.at + skewMaxMs;
    const other = [...this.given.values()].find((each) =>
      same(each) && each.fingerprint !== given.fingerprint && !isOver(each)
    );
    if (other === undefined) return;
    const what = other.key === given.key ? "a second certificate" : "another key";
    if ("token" in given.by) this.#violate("one-token-one-key", given, `${what} for a token of ${given.identity}`);
    else this.#violate("one-successor", given, `${what} for a certificate of ${given.identity}`);
  }

  /** What the identity's key has to sign for is given for its signature alone. */
  #checkIdentity(given: Given, signed: AskedFor["signed"]): void {
    if (signed === "by-identity" || (signed === undefined && !this.#inHardware.has(given.identity))) return;
    const detail = `a certificate of ${given.identity} without a signature of the identity's key`;
    this.#violate("signed-by-identity", given, detail);
  }

  /** A certificate for TLS has the name that the identity's token gives, and no more life than the identity's. */
  #checkIdentified(given: Given, fingerprint: string): void {
    const identity = this.given.get(fingerprint);
    let first = identity;
    for (let above = identity; above !== undefined; above = this.#above(above)) first = above;
    const text = first !== undefined && "token" in first.by ? first.by.token : "";
    const named = this.#tokens.get(text)?.named;
    const names = identity?.names.replace(identity.identity, named ?? "");
    if (given.identity !== named || given.names !== names || given.notAfter > identity!.notAfter) {
      this.#violate("role-from-token", given, `${given.names} for an identity of ${named ?? "no token"}`);
    }
    this.#checkAncestors(given, identity);
  }

  #checkToken(given: Given, text: string): void {
    const token = this.#tokens.get(text);
    if (token?.identity !== given.identity) {
      this.#violate("role-from-token", given, `${given.identity} for a token of ${token?.identity}`);
    }
    if (this.#ended.has(given.identity)) this.#violate("revoked-not-served", given, `${given.identity} was revoked`);
  }

  #checkRenewal(given: Given, fingerprint: string): void {
    const former = this.given.get(fingerprint);
    if (former === undefined || former.names !== given.names) {
      this.#violate("role-from-token", given, `${given.names} renews ${former?.names ?? "a certificate of nobody"}`);
    }
    this.#checkAncestors(given, former);
  }

  #checkAncestors(given: Given, above: Given | undefined): void {
    for (let each = above; each !== undefined; each = this.#above(each)) {
      if (this.revoked.has(each.serial)) {
        return this.#violate("revoked-not-served", given, `an ancestor of ${given.identity} was revoked`);
      }
    }
  }
}

/** What a request asks a certificate with, the hash of the key that it is about, and who has signed for it. */
interface AskedFor {
  readonly by: Given["by"];
  readonly key: string | undefined;
  readonly signed?: "by-identity" | "otherwise";
}

function askedFor({ path, body, authorization, certificate }: WebExchange["request"]): AskedFor | undefined {
  const keyIn = (der: Uint8Array) => sha256(readCsrDer(der).publicKey.spki);
  const csr = () => Result.getOrUndefined(Result.map(readCsrBody(body), keyIn));
  if (path.endsWith("/simpleenroll")) {
    return { by: { token: (authorization ?? "").replace(/^Bearer /, "") }, key: csr() };
  }
  if (path.endsWith("/simplereenroll")) {
    return { by: { former: sha256(certificate ?? new Uint8Array()) }, key: csr() };
  }
  if (!path.endsWith("/hypha/enrol")) return undefined;
  const claim = Result.getOrThrow(readEnrolment(Buffer.from(body).toString("utf8")));
  const identity = Result.getOrThrow(parseCertificate(claim.certificate));
  const [key, fingerprint] = [keyIn(claim.csr), sha256(claim.certificate)];
  const isOwn = key === sha256(identity.publicKey.spki);
  const { data, signature } = claim.signed;
  const spki = { key: Buffer.from(identity.publicKey.spki), format: "der", type: "spki" } as const;
  const signed = verify(null, data, createPublicKey(spki), signature) ? "by-identity" : "otherwise";
  return { by: isOwn ? { former: fingerprint } : { identified: fingerprint }, key, signed };
}

function givenOf(
  { der, serial, subject, subjectAltNames, publicKey, period }: Certificate,
  by: Given["by"],
  { host, at }: Pick<Given, "host" | "at">,
): Given {
  return {
    fingerprint: sha256(der),
    serial: plainSerial(serial),
    identity: subjectAltNames.find(({ type }) => type === "uri")?.value ?? "",
    names: [subject.text, ...subjectAltNames.map(({ type, value }) => `${type}:${value}`)].join(", "),
    key: sha256(publicKey.spki),
    notAfter: +period.notAfter,
    by,
    host,
    at,
  };
}
