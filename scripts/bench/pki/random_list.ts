/**
 * A revocation list of very many random serials, from a seed: the same bytes for the same seed.
 *
 * @module
 */
import { sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { seededRandom } from "../../../actors/runtime/random.ts";
import { constructed, derValue, integer, sequence, time } from "../../../pki/issue/der_writer.ts";
import { crlNumber, encodeExtensions } from "../../../pki/issue/extensions.ts";

/** The size and shape of the list. */
interface RandomListOptions {
  /** The issuer's name, DER. */
  readonly issuer: Uint8Array;
  readonly key: KeyObject;
  readonly entries: number;
  readonly seed: number;
  readonly at: Date;
}

const serialOctets = 16;
const dayMs = 86_400_000;

/** Makes a list of random 16-octet serials without reasons, signed with Ed25519. Returns its DER and its serials. */
export function makeRandomList({ issuer, key, entries, seed, at }: RandomListOptions): {
  readonly der: Uint8Array;
  readonly serial: (index: number) => string;
} {
  const next = randomWords(seed);
  const date = time(new Date(at.getTime() - dayMs));
  const content = new Uint8Array(entries * (2 + 2 + serialOctets + 1 + date.length));
  const offsets = new Uint32Array(entries);
  let size = 0;
  for (let index = 0; index < entries; index++) {
    const words = [next(), next(), next(), next()];
    if (words[0]! < 0x01000000) words[0]! += 0x01000000; // no leading zero, so that all are 16 octets
    const zero = words[0]! > 0x7fffffff ? 1 : 0;
    const serialSize = serialOctets + zero;
    content.set([0x30, 2 + serialSize + date.length, 0x02, serialSize], size);
    size += 4;
    offsets[index] = size;
    if (zero === 1) content[size++] = 0;
    for (const word of words) {
      content.set([word >>> 24, word >>> 16 & 255, word >>> 8 & 255, word & 255], size);
      size += 4;
    }
    content.set(date, size);
    size += date.length;
  }
  const algorithm = sequence(Uint8Array.of(0x06, 3, 0x2b, 0x65, 0x70));
  const tbs = sequence(
    integer(1),
    algorithm,
    issuer,
    time(new Date(at.getTime() - dayMs)),
    time(new Date(at.getTime() + 30 * dayMs)),
    derValue(0x30, [content.subarray(0, size)]),
    constructed(0, encodeExtensions([crlNumber(1n)])),
  );
  const signature = sign(null, tbs, key);
  const der = sequence(tbs, algorithm, derValue(0x03, [Uint8Array.of(0), signature]));
  const serial = (index: number) => {
    const at = offsets[index]!;
    return [...content.subarray(at, at + content[at - 1]!)].map((octet) => octet.toString(16).padStart(2, "0")).join(
      "",
    );
  };
  return { der, serial };
}

/** Random 32-bit words: good enough for serials that need no secrecy. */
export function randomWords(seed: number): () => number {
  const next = seededRandom(seed);
  return () => next() * 2 ** 32;
}
