/**
 * The bridge's token: one a job, told to its executor as `BRIDGE_TOKEN`.
 *
 * As long as executors are not confined in a cell, everything of the worker's own user can reach a job's socket; the
 * token is then required unless the executor's configuration says `token = "optional"` (executors written for the
 * existing workers know of none). `optional` still refuses a wrong one.
 *
 * @module
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** What a bridge asks for. */
export interface BridgeToken {
  readonly value: string;
  readonly policy: "required" | "optional";
}

/** A fresh one: 32 random bytes. Unlike an identifier it is a secret, so it does not come from a replayable port. */
export function makeBridgeToken(policy: "required" | "optional" = "required"): BridgeToken {
  return { value: randomBytes(32).toString("base64url"), policy };
}

/** @param header The request's `authorization`. */
export function isAuthorized(header: string | undefined, { value, policy }: BridgeToken): boolean {
  if (header === undefined) return policy === "optional";
  const [scheme = "", given = "", ...rest] = header.split(" ");
  return scheme.toLowerCase() === "bearer" && rest.length === 0 && timingSafeEqual(digest(given), digest(value));
}

/** Equal lengths for the comparison. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
