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
  const [, day] = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  // `Date` turns the 30th of February into the 2nd of March.
  const exists = day !== undefined && new Date(`${day}T00:00:00Z`).getUTCDate() === Number(day.slice(-2));
  const time = exists ? new Date(text) : undefined;
  if (time !== undefined && !Number.isNaN(time.getTime())) return Result.succeed(time);
  const remedy = "Write it as in RFC 3339, for instance 2026-01-31T12:00:00Z.";
  return Result.fail(new CertutilError({ what: `use ${flag}`, detail: `${JSON.stringify(text)} is no time`, remedy }));
}

/** A period, and what the operator must know about it. */
export interface IssuedPeriod {
  readonly period: IssuePeriod;
  readonly warnings: readonly string[];
}

/**
 * The period that a lifetime means now under an issuer. It ends with the issuer's certificate at the latest: peers refuse
 * the certificate after that. An issuer that has expired issues nothing.
 *
 * @param file The issuer's certificate, for the message.
 */
export function periodUnder(
  lifetime: Lifetime,
  { subject, period: { notAfter: end } }: Certificate,
  file: string,
): Effect.Effect<IssuedPeriod, CertutilError> {
  return Effect.gen(function* () {
    const period = yield* periodOf(lifetime);
    if (end.getTime() < (yield* Clock.currentTimeMillis)) {
      const detail = `${subject.text} expired at ${end.toISOString()}, and peers refuse what it issues`;
      const remedy = "Give a CA's certificate that is still valid with --ca-cert.";
      return yield* new CertutilError({ what: "sign with", file, detail, remedy });
    }
    if (period.notAfter <= end) return { period, warnings: [] };
    const asked = period.notAfter.toISOString();
    const warning = `the certificate ends with its issuer at ${end.toISOString()}, not at ${asked}`;
    return { period: { ...period, notAfter: end }, warnings: [warning] };
  });
}
