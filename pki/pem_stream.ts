/**
 * PEM read as a stream, for files too large to be held as text: the same rules as `parsePem`, one block at a time.
 *
 * @module
 */
import { beginInsideLine, PemError } from "./pem.ts";

/** Longest label of a block. `X509 CRL` has 8 characters. */
export const labelCharactersMax = 80;

/** Called for each block. `der` is a view into a buffer that is reused: a listener that keeps it must copy it. */
export type BlockListener = (
  block: { readonly label: string; readonly der: Uint8Array; readonly line: number },
) => void;

type State = "start" | "outside" | "label" | "label end" | "body" | "closing";

const begin = Uint8Array.from("-----BEGIN ", (character) => character.charCodeAt(0));
const dashes = "-----";
const byteOrderMark = [0xef, 0xbb, 0xbf];
const [tab, newline, space, dash, equals, colon] = [0x09, 0x0a, 0x20, 0x2d, 0x3d, 0x3a];
/** Values of the base64 alphabet by octet; 64 is white space, 255 anything else. */
const values = new Uint8Array(256).fill(255);
for (const [value, character] of [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"].entries()) {
  values[character.charCodeAt(0)] = value;
}
for (const white of " \t\r\n") values[white.charCodeAt(0)] = 64;

/** Frees the memory of an array: a detached buffer holds none, even where it is still referenced. */
export function release(array: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array((array.buffer as ArrayBuffer).transfer(0));
}

/** Decodes PEM from chunks of any size. Memory: the largest block's content, once. */
export class PemStream {
  readonly #listener: BlockListener;
  #state: State = "start";
  #line = 1;
  /** How many octets of a BEGIN were read last, outside of blocks, and whether they are the first of their line. */
  #matched = 0;
  #isFirst = true;
  #text = "";
  #label = "";
  #blockLine = 0;
  #der: Uint8Array;
  #size = 0;
  #bits = 0;
  #phase = 0;
  #padding = 0;

  /** `sizeHint`: octets of the largest block's content, where they are known: the buffer then never grows. */
  constructor(listener: BlockListener, sizeHint = 64 * 1024) {
    this.#listener = listener;
    this.#der = new Uint8Array(Math.max(sizeHint, 64));
  }

  /** Reads the next chunk. @throws {PemError} */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#state === "body") at = this.#readBody(chunk, at);
      else if (this.#state === "outside") at = this.#readOutside(chunk, at);
      else at = this.#readText(chunk, at);
    }
  }

  /** Insists that no block is open. @throws {PemError} */
  finish(): void {
    if (this.#state === "label") this.#fail("the BEGIN line has no proper label");
    if (this.#state === "label end" || this.#state === "body" || this.#state === "closing") {
      this.#fail(`the block ${this.#label} has no END line`);
    }
  }

  /** Frees the buffer at once, without waiting for garbage collection. Nothing can be read afterwards. */
  release(): void {
    this.#der = release(this.#der);
  }

  #fail(detail: string): never {
    throw new PemError({ line: this.#blockLine, detail });
  }

  /** Reads one octet of a boundary; returns where to go on. */
  #readText(chunk: Uint8Array, at: number): number {
    const octet = chunk[at]!;
    switch (this.#state) {
      case "start":
        return this.#readStart(octet) ? at + 1 : at;
      case "label":
        this.#readLabel(octet);
        break;
      case "label end":
        if (octet === newline) this.#open();
        else if (values[octet] !== 64) this.#fail("something follows on the BEGIN line");
        break;
      case "closing":
        this.#readClosing(octet);
    }
    return at + 1;
  }

  /** Passes over a byte order mark at the start of the text. Whether the octet is a part of it. */
  #readStart(octet: number): boolean {
    const isMark = octet === byteOrderMark[this.#text.length];
    if (isMark) this.#text += " ";
    // A part of a mark is other text.
    this.#isFirst = this.#text.length % byteOrderMark.length === 0;
    if (!isMark || this.#isFirst) this.#enter("outside");
    return isMark;
  }

  /** Passes over text up to behind the next BEGIN; returns where to go on. */
  #readOutside(chunk: Uint8Array, from: number): number {
    let [at, matched, isFirst] = [from, this.#matched, this.#isFirst];
    for (; at < chunk.length && matched < begin.length; at++) {
      const octet = chunk[at]!;
      if (octet === begin[matched]) matched += 1;
      else if (octet === newline) {
        this.#line += 1;
        [matched, isFirst] = [0, true];
      } else {
        const isIndented = matched === 0 && (octet === space || octet === tab);
        if (!isIndented) isFirst = false;
        // Of more than five dashes the last five may begin a boundary.
        if (octet !== dash) matched = 0;
        else if (matched !== dashes.length) matched = 1;
      }
    }
    [this.#matched, this.#isFirst] = [matched, isFirst];
    if (matched < begin.length) return at;
    this.#enter("label");
    if (!isFirst) this.#fail(beginInsideLine);
    return at;
  }

  #enter(state: State): void {
    this.#state = state;
    this.#text = "";
    if (state === "label") this.#blockLine = this.#line;
  }

  #readLabel(octet: number): void {
    this.#text += String.fromCharCode(octet);
    if (!this.#text.endsWith(dashes)) {
      if (octet === newline || this.#text.length > labelCharactersMax) this.#fail("the BEGIN line has no proper label");
      return;
    }
    this.#label = this.#text.slice(0, -dashes.length);
    if (!/^[A-Z0-9]+(?:[ -][A-Z0-9]+){0,7}$/.test(this.#label)) this.#fail("the BEGIN line has no proper label");
    this.#enter("label end");
  }

  #open(): void {
    this.#line += 1;
    this.#size =
      this.#bits =
      this.#phase =
      this.#padding =
        0;
    this.#enter("body");
  }

  #readClosing(octet: number): void {
    this.#text += String.fromCharCode(octet);
    const closing = `-----END ${this.#label}-----`;
    if (!closing.startsWith(this.#text)) this.#fail(`the block ${this.#label} does not end with ${closing}`);
    if (this.#text.length < closing.length) return;
    this.#close();
    this.#enter("outside");
    // The dashes that end the block may begin a boundary, too.
    [this.#matched, this.#isFirst] = [dashes.length, false];
  }

  #close(): void {
    const label = this.#label;
    if (this.#size === 0 && this.#phase === 0) this.#fail(`the block ${label} is empty`);
    // What a last, incomplete group holds must be padded to four characters.
    const whole = this.#padding === 0 ? this.#phase === 0 : this.#phase + this.#padding === 4 && this.#phase >= 2;
    if (!whole) this.#fail(`the block ${label} is not base64`);
    if (this.#phase >= 2) this.#write(this.#bits >> (this.#phase === 2 ? 4 : 10));
    if (this.#phase === 3) this.#write(this.#bits >> 2);
    this.#listener({ label, der: this.#der.subarray(0, this.#size), line: this.#blockLine });
  }

  #write(octet: number): void {
    if (this.#size === this.#der.length) this.#grow();
    this.#der[this.#size++] = octet;
  }

  #grow(): void {
    const grown = new Uint8Array(this.#der.length * 2);
    grown.set(this.#der);
    this.#der = grown;
  }

  /** Decodes base64 up to the next dash; returns where to go on. This loop sees every octet of a large list. */
  #readBody(chunk: Uint8Array, from: number): number {
    let [at, bits, phase, size, line] = [from, this.#bits, this.#phase, this.#size, this.#line];
    let der = this.#der;
    for (; at < chunk.length; at++) {
      const octet = chunk[at]!;
      const value = values[octet]!;
      if (value < 64 && this.#padding === 0) {
        bits = (bits << 6) | value;
        if (++phase < 4) continue;
        if (size + 3 > der.length) {
          this.#grow();
          der = this.#der;
        }
        der[size++] = bits >> 16;
        der[size++] = bits >> 8;
        der[size++] = bits;
        bits = phase = 0;
      } else if (value === 64) line += octet === newline ? 1 : 0;
      else if (octet === equals) this.#padding += 1;
      else if (octet === dash) break;
      else if (octet === colon) {
        this.#fail(`the block ${this.#label} has headers, as encrypted keys in the traditional format do`);
      } else this.#fail(`the block ${this.#label} is not base64`);
    }
    [this.#bits, this.#phase, this.#size, this.#line] = [bits, phase, size, line];
    if (at < chunk.length) this.#enter("closing");
    return at;
  }
}
