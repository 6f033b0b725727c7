/**
 * How long certificates live.
 *
 * @module
 */
import { Clock, Effect, Result } from "effect";
import type { Certificate } from "../../pki/certificate.ts";
import type { IssuePeriod } from "../../pki/issue/mod.ts";
import { CertutilError } from "./certutil_error.ts";

const dayMs = 24 * 60 * 60 * 1_000;

/** Days that each kind of certificate lives, as the existing network's tool has them. */
export const defaultDays = { root: 3_650, intermediate: 1_825, node: 365, crl: 30 } as const;

/** Longest life that can be asked for: a hundred years. */
export const daysMax = 36_525;

/** How long before its making a certificate becomes valid: peers' clocks may lag. */
export const backdatedMs = dayMs;

/** A period as asked for; `notBefore` and `notAfter` are RFC 3339. */
export interface Lifetime {
  readonly days: number;
  readonly notBefore?: string | undefined;
  readonly notAfter?: string | undefined;
}

/** The period that a lifetime means now. */
export function periodOf(lifetime: Lifetime): Effect.Effect<IssuePeriod, CertutilError> {
  return Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis;
    const { days } = yield* Effect.fromResult(checkDays(lifetime.days));
    const notBefore = yield* Effect.fromResult(parseTime("--not-before", lifetime.notBefore));
    const notAfter = yield* Effect.fromResult(parseTime("--not-after", lifetime.notAfter));
    return { notBefore: notBefore ?? new Date(now - backdatedMs), notAfter: notAfter ?? new Date(now + days * dayMs) };
  });
}

/** Insists on a number of days between 1 and {@linkcode daysMax}. */
export function checkDays(days: number): Result.Result<{ readonly days: number }, CertutilError> {
  if (Number.isInteger(days) && days >= 1 && days <= daysMax) return Result.succeed({ days });
  const remedy = `Give a whole number from 1 to ${daysMax}.`;
  return Result.fail(new CertutilError({ what: "use --days", detail: `${days} is out of range`, remedy }));
}

/** Reads an RFC 3339 time; undefined stays undefined. */
export function parseTime(flag: string, text: string | undefined): Result.Result<Date | undefined, CertutilError> {
  if (text === undefined) return Result.succeed(undefined);
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(text) ? new Date(text) : undefined;
  if (time !== undefined && !Number.isNaN(time.getTime())) return Result.succeed(time);
  const remedy = "Write it as in RFC 3339, for instance 2026-01-31T12:00:00Z.";
  return Result.fail(new CertutilError({ what: `use ${flag}`, detail: `${JSON.stringify(text)} is no time`, remedy }));
}

/** Says when a certificate outlives its issuer: from then on nobody accepts it. */
export function outlivesWarning(period: IssuePeriod, issuer: Certificate): readonly string[] {
  const end = issuer.period.notAfter;
  if (period.notAfter <= end) return [];
  return [`the certificate outlives its issuer, which expires at ${end.toISOString()}: it is of no use after that`];
}
