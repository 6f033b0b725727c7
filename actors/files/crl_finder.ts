/**
 * Finds lists in a file by the SHA-256 of their DER.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { CrlSplitter, DerCrlsError, hashOf } from "../../pki/crl_splitter.ts";
import { PemError } from "../../pki/pem.ts";

/** A file to write: the lists with these hashes, DER, one behind the other. */
export interface KeepTarget {
  readonly path: string;
  readonly hashes: readonly string[];
  /** What it looks like (`signatureOf`): a file that looks otherwise by the time of its replacement stays. */
  readonly before: string;
}

/** Collects the lists of some targets out of files. */
export class CrlFinder {
  readonly #wanted: ReadonlySet<string>;
  readonly #found = new Map<string, Uint8Array>();

  constructor(targets: readonly KeepTarget[]) {
    this.#wanted = new Set(targets.flatMap(({ hashes }) => hashes));
  }

  /** Searches a whole file, PEM or DER; of a torn file, the part before the tear. */
  search(bytes: Uint8Array): void {
    const splitter = this.splitter(bytes.length);
    try {
      splitter.push(bytes);
      splitter.finish();
    } catch (error) {
      if (!(error instanceof PemError || error instanceof DerCrlsError)) throw error;
    }
  }

  /** The same for a file that comes in chunks. */
  splitter(sizeBytes: number): CrlSplitter {
    return new CrlSplitter(({ der }) => {
      const hash = hashOf(der);
      if (this.#wanted.has(hash) && !this.#found.has(hash)) this.#found.set(hash, Uint8Array.from(der));
    }, sizeBytes);
  }

  /** Whether all lists of a target were found. */
  has({ hashes }: KeepTarget): boolean {
    return hashes.every((hash) => this.#found.has(hash));
  }

  /** The content of a target that {@linkcode has} all its lists. */
  take({ hashes }: KeepTarget): Uint8Array {
    const [only, ...more] = hashes.map((hash) => this.#found.get(hash) ?? new Uint8Array(0));
    return more.length === 0 && only !== undefined ? only : Buffer.concat([only ?? new Uint8Array(0), ...more]);
  }
}
