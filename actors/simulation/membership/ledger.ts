/**
 * What the CA gave to whom and what it revoked, as an observer of its port and its register sees it: never from a node's decision.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Result } from "effect";
import type { Certificate } from "../../../pki/certificate.ts";
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
  /** The text of its token, or the certificate that it renews. */
  readonly by: { readonly token: string } | { readonly former: string };
  /** Whose request it was. */
  readonly host: string;
  readonly at: number;
}

/** A token, and whom it is for. */
interface Token {
  readonly identity: string;
  readonly host: string;
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
  position = 0;

  constructor({ findings, now }: { readonly findings: Findings; readonly now: () => number }) {
    this.#findings = findings;
    this.#now = now;
  }

  /** The operator made a token. */
  token(text: string, token: Token): void {
    this.#tokens.set(text, token);
    this.#ended.delete(token.identity);
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
    while (first !== undefined && "former" in first.by) {
      const former = this.given.get(first.by.former);
      if (former === undefined) break;
      first = former;
    }
    return first;
  }

  /** A certificate and its descendants were to be revoked. */
  checkLine(serial: string): void {
    for (const given of this.given.values()) {
      for (let each: Given | undefined = given; each !== undefined;) {
        if (each.serial === serial && !this.revoked.has(given.serial)) {
          this.#violate(
            "revoked-not-served",
            given,
            `a descendant of a revoked certificate of ${given.identity} is not`,
          );
        }
        each = "former" in each.by ? this.given.get(each.by.former) : undefined;
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
    const isEnrolment = request.path.endsWith("/simpleenroll");
    if (answer.status !== 200 || !(isEnrolment || request.path.endsWith("/simplereenroll"))) return;
    const read = readCertsOnly(Buffer.from(answer.body));
    const [certificate] = Result.isSuccess(read) ? read.success : [];
    if (certificate === undefined) return;
    const by = isEnrolment
      ? { token: (request.authorization ?? "").replace(/^Bearer /, "") }
      : { former: sha256(request.certificate ?? new Uint8Array()) };
    const given = givenOf(certificate, by, { host: from, at: this.#now() });
    if (!token.hasMade(certificate.signature)) {
      this.#violate("signed-by-token", given, `a certificate of ${given.identity} without the token's signature`);
    }
    this.#checkOne(given, request.body);
    if ("token" in by) this.#checkToken(given, by.token);
    else this.#checkRenewal(given, by.former);
    if (!this.given.has(given.fingerprint)) this.given.set(given.fingerprint, given);
  }

  #violate(
    name: "one-token-one-key" | "one-successor" | "role-from-token" | "revoked-not-served" | "signed-by-token",
    given: Given,
    detail: string,
  ) {
    this.#findings.violate(name, given.host, detail);
  }

  /** One token, or one certificate that is renewed, has one key and one certificate. */
  #checkOne(given: Given, csr: Uint8Array): void {
    const asked = Result.map(readCsrBody(csr), (der) => sha256(readCsrDer(der).publicKey.spki));
    if (Result.isSuccess(asked) && asked.success !== given.key) {
      const name = "token" in given.by ? "one-token-one-key" : "one-successor";
      this.#violate(name, given, `a certificate of ${given.identity} went to one with another key`);
    }
    const same = (other: Given) => JSON.stringify(other.by) === JSON.stringify(given.by);
    const other = [...this.given.values()].find((each) => same(each) && each.fingerprint !== given.fingerprint);
    if (other === undefined) return;
    const what = other.key === given.key ? "a second certificate" : "another key";
    if ("token" in given.by) this.#violate("one-token-one-key", given, `${what} for a token of ${given.identity}`);
    else this.#violate("one-successor", given, `${what} for a certificate of ${given.identity}`);
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
    for (let each = former; each !== undefined;) {
      if (this.revoked.has(each.serial)) {
        return this.#violate("revoked-not-served", given, `an ancestor of ${given.identity} was revoked`);
      }
      each = "former" in each.by ? this.given.get(each.by.former) : undefined;
    }
  }
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
