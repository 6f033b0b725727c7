/**
 * Messages with their length in front of them, as an unsigned varint (libp2p specification: "kad-dht", RPC messages).
 *
 * @module
 */
import { GrowingBytes } from "./growing_bytes.ts";

/** Bytes of the longest head that is read: a varint of 21 bits. */
const headMaxBytes = 3;

/** Puts the length in front of a message. */
export function prefixLength(message: Uint8Array): Uint8Array {
  const head: number[] = [];
  let left = message.byteLength;
  for (; left > 0x7f; left = Math.floor(left / 0x80)) head.push((left % 0x80) | 0x80);
  head.push(left);
  const bytes = new Uint8Array(head.length + message.byteLength);
  bytes.set(head);
  bytes.set(message, head.length);
  return bytes;
}

/** Reads messages from what arrives. It holds no more than one message and what arrived with its last piece. */
export class MessageReader {
  readonly #maxBytes: number;
  readonly #bytes = new GrowingBytes();

  /** @param maxBytes Size of the largest message; at most 2 MiB, which a head can say. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes that have arrived and are no whole message yet, or were not read. */
  get sizeBytes(): number {
    return this.#bytes.sizeBytes;
  }

  /** Adds what arrived. */
  append(bytes: Uint8Array): void {
    this.#bytes.append(bytes);
  }

  /** The next message, which belongs to the caller; `undefined`: more has to arrive; `too-large`: nothing more can be read. */
  next(): Uint8Array | "too-large" | undefined {
    const held = this.#bytes.view();
    const head = readHead(held);
    if (head === undefined) return undefined;
    if (head === "too-large" || head.length > this.#maxBytes) return "too-large";
    const end = head.headBytes + head.length;
    if (held.byteLength < end) return undefined;
    const message = new Uint8Array(held.subarray(head.headBytes, end));
    this.#bytes.drop(end);
    return message;
  }

  /** Drops everything. */
  clear(): void {
    this.#bytes.clear();
  }
}

function readHead(
  bytes: Uint8Array,
): { readonly length: number; readonly headBytes: number } | "too-large" | undefined {
  let length = 0;
  for (let index = 0; index < headMaxBytes; index++) {
    const byte = bytes[index];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 0x80 ** index;
    if (byte < 0x80) return { length, headBytes: index + 1 };
  }
  return "too-large";
}
