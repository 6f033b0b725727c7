/**
 * The bytes of the lists in force, for those who fetch them: read from the register a piece in a turn of the event loop, and kept.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { setImmediate } from "node:timers/promises";
import { Result } from "effect";
import { type CrlRow, pieceBytesMax, pieceOf } from "./crl_rows.ts";
import type { Register } from "./register.ts";

/** Keeps one list for each issuer and kind. */
export class PublishedLists {
  readonly #register: Register;
  readonly #held = new Map<string, { readonly sha256: string; readonly der: Promise<Uint8Array | undefined> }>();

  constructor(register: Register) {
    this.#register = register;
  }

  /** The DER of a list that is in force; undefined where another one has taken its place meanwhile. */
  read(row: CrlRow): Promise<Uint8Array | undefined> {
    const key = `${row.issuer} ${row.kind}`;
    const held = this.#held.get(key);
    if (held?.sha256 === row.sha256) return held.der;
    const der = this.#load(row).then((bytes) => {
      if (bytes === undefined && this.#held.get(key)?.der === der) this.#held.delete(key);
      return bytes;
    });
    this.#held.set(key, { sha256: row.sha256, der });
    return der;
  }

  async #load(row: CrlRow): Promise<Uint8Array | undefined> {
    const pieces: Uint8Array[] = [];
    for (let part = 0; part * pieceBytesMax < row.size; part++) {
      if (part > 0) await setImmediate();
      const piece = this.#register.read((rows) => pieceOf(rows, row, part));
      if (Result.isFailure(piece) || piece.success === undefined) return undefined;
      pieces.push(piece.success);
    }
    return Buffer.concat(pieces);
  }
}
