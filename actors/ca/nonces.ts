/**
 * Nonces that a CA gives: each is good for one request, for a short time, at this process.
 *
 * A nonce holds the moment at which it was made and a MAC under a key of this process, so that nonces that are asked for take no
 * memory. Those that were used are remembered until they end; a restart makes another key.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { CaRefusalCode } from "./ca_refused.ts";

/** How long a nonce is good, in milliseconds: a token in hardware may take some seconds to sign. */
export const nonceLifetimeMs = 120_000;
/** Used nonces that are remembered at once; each was used with a valid signature. */
export const usedNoncesMax = 16_384;

const timeBytes = 8;
const randomPartBytes = 16;
const macBytes = 32;

/** The nonces of one process. */
export class Nonces {
  readonly #key = randomBytes(32);
  /** When each used one ends, in the order in which they were used. */
  readonly #used = new Map<string, number>();

  /** Makes a nonce. */
  make(now: number): string {
    const content = Buffer.alloc(timeBytes + randomPartBytes);
    content.writeBigUInt64BE(BigInt(Math.max(0, Math.floor(now))));
    randomBytes(randomPartBytes).copy(content, timeBytes);
    return Buffer.concat([content, this.#macOf(content)]).toString("base64url");
  }

  /** Why a nonce is not good; undefined where it is. */
  refuse(nonce: string, now: number): CaRefusalCode | undefined {
    const bytes = Buffer.from(nonce, "base64url");
    const content = bytes.subarray(0, timeBytes + randomPartBytes);
    const isOurs = bytes.length === timeBytes + randomPartBytes + macBytes && bytes.toString("base64url") === nonce &&
      timingSafeEqual(bytes.subarray(content.length), this.#macOf(content));
    if (!isOurs) return "nonce-unknown";
    const madeAt = Number(content.readBigUInt64BE());
    if (now < madeAt || now - madeAt >= nonceLifetimeMs) return "nonce-expired";
    return this.#used.has(nonce) ? "nonce-used" : undefined;
  }

  /** Notes that a nonce was used. Does not where too many are remembered. */
  use(nonce: string, now: number): "noted" | "full" {
    for (const [used, ends] of this.#used) {
      if (ends > now) break;
      this.#used.delete(used);
    }
    if (this.#used.size >= usedNoncesMax) return "full";
    this.#used.set(nonce, now + nonceLifetimeMs);
    return "noted";
  }

  #macOf(content: Uint8Array): Buffer {
    return createHmac("sha256", this.#key).update(content).digest();
  }
}
