/**
 * When a certificate is renewed, and when a renewal that failed is tried again. Pure.
 *
 * @module
 */
import type { ValidityPeriod } from "../../pki/certificate.ts";

/** The part of its life after which a certificate is renewed. */
export const renewAfterPart = 2 / 3;
/** The part of its life by which the moment is moved to and fro, so that nodes of one day do not come together. */
export const renewJitterPart = 1 / 20;
/** The shortest wait before another attempt, in milliseconds. */
export const retryMinMs = 10_000;
/** The longest, in milliseconds; of a certificate that has ended: the node is off the network. */
export const retryMaxMs = 3_600_000;
export const retryMaxEndedMs = 60_000;
/** The part of what is left of a certificate that one wait may take. */
const retryPart = 1 / 20;
/** How often a node asks its CA whether its issuer is retired, in milliseconds, ± a quarter; the renewal follows within as much. */
export const lookEveryMs = 24 * 60_000;

/**
 * When to renew a certificate, in milliseconds since the epoch.
 *
 * @param random Evenly spread in [0, 1).
 * @param installedAt When a renewal brought it; undefined where it lay there. One that has little left when it comes, because its
 * issuer ends, is kept for a third of that.
 */
export function renewAt({ notBefore, notAfter }: ValidityPeriod, random: number, installedAt?: number): number {
  const life = +notAfter - +notBefore;
  const due = +notBefore + life * (renewAfterPart + (2 * random - 1) * renewJitterPart);
  if (installedAt === undefined) return Math.round(due);
  return Math.round(Math.max(due, installedAt + Math.max(retryMinMs, (+notAfter - installedAt) / 3)));
}

/**
 * The wait before another attempt, in milliseconds: it doubles, takes at most a twentieth of what is left, and is never shorter
 * than {@linkcode retryMinMs}.
 *
 * @param failures Attempts that failed, 1 or more.
 * @param leftMs What is left of the certificate; negative where it has ended.
 * @param random Evenly spread in [0, 1).
 */
export function retryAfterMs(failures: number, leftMs: number, random: number): number {
  const step = Math.min(retryMinMs * 2 ** Math.min(failures - 1, 30), leftMs > 0 ? retryMaxMs : retryMaxEndedMs);
  const bounded = leftMs > 0 ? Math.min(step, leftMs * retryPart) : step;
  return Math.round(Math.max(retryMinMs, bounded * (0.75 + random / 2)));
}

/**
 * The wait that a CA requested (`Retry-After`), where it is longer than the node's own. It takes at most a twentieth of what is left,
 * or {@linkcode retryMinMs}. Where there is no certificate that could end, the CA's wait holds.
 *
 * @param ownMs As {@linkcode retryAfterMs} computes it; 0 where nothing failed.
 * @param requestedMs 0 where the CA requested none.
 * @param leftMs What is left of the certificate; 0 where there is none, negative where it has ended.
 */
export function waitAfterMs(ownMs: number, requestedMs: number, leftMs: number): number {
  if (leftMs === 0) return Math.max(ownMs, requestedMs);
  const longestMs = leftMs > 0 ? Math.max(retryMinMs, Math.round(leftMs * retryPart)) : retryMaxEndedMs;
  return Math.max(ownMs, Math.min(requestedMs, longestMs));
}

/** The wait before the CA is asked about retired issuers, in milliseconds. */
export function lookAfterMs(random: number): number {
  return Math.round(lookEveryMs * (0.75 + random / 2));
}
