/**
 * The bridge's token: each job has its own, which its executor gets as `BRIDGE_TOKEN`.
 *
 * Where no cell confines executors, every process of the worker's own user can reach a job's socket. The token is then
 * required, unless the executor's configuration has `token = "optional"`: executors written for the existing workers send
 * none. `optional` still refuses a wrong token.
 *
 * @module
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** A bridge's token, and whether requests must carry it. */
export interface BridgeToken {
  readonly value: string;
  readonly policy: "required" | "optional";
}

/** Makes a token: 32 random bytes. It is a secret, so it does not come from the replayable ports. */
export function makeBridgeToken(policy: "required" | "optional" = "required"): BridgeToken {
  return { value: randomBytes(32).toString("base64url"), policy };
}

/**
 * Whether a request carries the token that the policy requires.
 *
 * @param header The request's `authorization`.
 */
export function isAuthorized(header: string | undefined, { value, policy }: BridgeToken): boolean {
  if (header === undefined) return policy === "optional";
  const [scheme = "", given = "", ...rest] = header.split(" ");
  return scheme.toLowerCase() === "bearer" && rest.length === 0 && timingSafeEqual(digest(given), digest(value));
}

/** Digests have equal lengths, which the comparison requires. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
