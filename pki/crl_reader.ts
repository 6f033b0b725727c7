/**
 * Reads a file of revocation lists, PEM or DER, from chunks: in bounded memory, and in another thread than the one that
 * verifies peers.
 *
 * @module
 */
import * as Result from "effect/Result";
import { sameBytes } from "./bytes.ts";
import type { Certificate } from "./certificate.ts";
import { type HeldCrl, isSignedBy, ownCrl, parseCrl, refuseBareCrl, type RevocationList, sealCrl } from "./crl.ts";
import { CrlSplitter, DerCrlsError, hashOf } from "./crl_splitter.ts";
import { PemError } from "./pem.ts";
import { CrlSignature } from "./refusal.ts";
import { refuseTrust, TrustError } from "./trust_error.ts";

/** Revocation lists of one file. */
export const crlsMax = 1_000;

/** A list, and the line of its file on which it begins (of DER, 1). */
export interface LocatedCrl {
  /** The list. */
  readonly list: HeldCrl;
  /** The line that its PEM begins on, from 1. */
  readonly line: number;
}

/** Options of a reader. */
export interface CrlReaderOptions {
  /** The bundle's CAs. A list that one of them signed is kept without its bytes; a list of their name that none signed is refused. */
  readonly cas: readonly Certificate[];
  /** How strictly it is read; as in {@linkcode Policy}. */
  readonly profile?: "network" | "rfc5280" | undefined;
  /** Puts the tables of entries into shared memory. */
  readonly shared?: boolean;
  /** Size of the file in octets, where it is known. */
  readonly sizeBytes?: number;
}

const hint = "Generate the lists again (hypha-certutil gen-crl) and put one behind the other: cat *.crl.pem > crls.pem";

/** Reads lists from chunks. A file that begins like DER is read as concatenated lists. */
export class CrlReader {
  readonly #options: CrlReaderOptions;
  readonly #lists: LocatedCrl[] = [];
  readonly #splitter: CrlSplitter;
  #error: TrustError | undefined;

  /** Starts at the first octet of the file. */
  constructor(options: CrlReaderOptions) {
    this.#options = options;
    this.#splitter = new CrlSplitter(({ label, der, line }) => this.#take(label, der, line), options.sizeBytes);
  }

  /** Reads the next chunk; ignores it after an error. */
  push(chunk: Uint8Array): void {
    if (chunk.length > 0 && this.#error === undefined) this.#attempt(() => this.#splitter.push(chunk));
  }

  /** Ends the file and returns its lists. */
  finish(): Result.Result<readonly LocatedCrl[], TrustError> {
    if (this.#error === undefined) this.#attempt(() => this.#splitter.finish());
    this.#splitter.release();
    if (this.#error !== undefined) return Result.fail(this.#error);
    if (this.#lists.length > 0) return Result.succeed(this.#lists);
    return refuseTrust({
      input: "crls_pem",
      problem: "empty",
      line: undefined,
      detail: "no block X509 CRL in it",
      hint,
    });
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (error instanceof TrustError) this.#error = error;
      else if (error instanceof PemError) this.#error = this.#problem("pem", error.line, error.detail);
      else if (error instanceof DerCrlsError) {
        this.#error = this.#problem("crl", 1, `malformed revocation list: ${error.detail}`);
      } else throw error;
    }
  }

  #take(label: string, der: Uint8Array, line: number): void {
    if (label !== "X509 CRL" && label !== "CRL") {
      throw this.#problem("wrong-label", line, `a block ${label}, where X509 CRL is expected`);
    }
    if (this.#lists.length === crlsMax) throw this.#problem("too-many", line, `more than ${crlsMax} blocks`);
    const { cas, profile, shared = false } = this.#options;
    const parsed = parseCrl(der, { shared });
    if (Result.isFailure(parsed)) {
      throw this.#problem("crl", line, `malformed revocation list: ${parsed.failure.detail}`, parsed.failure.hint);
    }
    const list = parsed.success;
    const bare = profile === "rfc5280" ? refuseBareCrl(list) : undefined;
    if (bare !== undefined) throw this.#problem("crl", line, `malformed revocation list: ${bare.detail}`, bare.hint);
    const possible = cas.filter((ca) => mayHaveSigned(ca, list));
    const signer = possible.find((ca) => isSignedBy(list, ca));
    if (signer === undefined && possible.length > 0) {
      const detail = "signature does not verify under the CA of that name";
      const refusal = new CrlSignature({ issuer: list.issuer.text, detail });
      const { message, hint } = refusal;
      throw new TrustError({ input: "crls_pem", problem: "crl-signature", line, detail: message, hint, refusal });
    }
    const noted = { ...list, sha256: hashOf(der), sizeBytes: der.length };
    this.#lists.push({ list: signer === undefined ? ownCrl(noted) : sealCrl(noted, signer), line });
  }

  #problem(problem: TrustError["problem"], line: number | undefined, detail: string, mend = hint): TrustError {
    return new TrustError({ input: "crls_pem", problem, line, detail, hint: mend });
  }
}

/**
 * Whether a CA may be the one that signed a list: its name, and its key identifier where both carry one. One with another
 * identifier is left out: it may be an older key of the same CA.
 */
function mayHaveSigned({ subject, subjectKeyId }: Certificate, { issuer, authorityKeyId }: RevocationList): boolean {
  return sameBytes(subject.der, issuer.der) &&
    (authorityKeyId === undefined || subjectKeyId === undefined || authorityKeyId === subjectKeyId);
}
