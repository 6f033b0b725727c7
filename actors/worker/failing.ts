/**
 * Executors whose jobs end at once. Such a worker would be leased, and fail, again and again: it does not offer the executor to that
 * scheduler for a while, which grows. Another scheduler is not concerned: the cause may be the job. Plain data and pure functions.
 *
 * @module
 */
import type { Descriptor, Peer } from "../../transport/protocols/messages.ts";

/** A job that fails within this after its dispatch failed at once, in milliseconds. */
export const atOnceMs = 15_000;
/** So many failures in a row are borne. */
export const failuresBorne = 2;
/** The first pause, and the longest, in milliseconds. Each further failure doubles it. */
export const pauseLeastMs = 60_000, pauseMostMs = 3_600_000;
/** Pairs of executor and scheduler that are remembered; one more makes the one that failed longest ago forgotten. */
export const failingMax = 1_024;

/** The failures of an executor for one scheduler. */
export interface Failing {
  /** Failures in a row. */
  readonly failures: number;
  /** It is not offered until then, by the monotonic clock (`monotonicNow`), in milliseconds; 0 where it is offered. */
  readonly until: number;
}

/** By executor and scheduler; the newest last. */
export type FailingExecutors = ReadonlyMap<string, Failing>;

/** An executor and the scheduler whose jobs it ran. */
export interface ExecutorFor {
  readonly executor: Descriptor;
  readonly scheduler: Peer;
}

/** A job of it failed at once. */
export function withFailure(failing: FailingExecutors, of: ExecutorFor, now: number): FailingExecutors {
  const failures = (failing.get(keyOf(of))?.failures ?? 0) + 1;
  const pauseMs = Math.min(pauseMostMs, pauseLeastMs * 2 ** (failures - failuresBorne - 1));
  const until = failures > failuresBorne ? now + pauseMs : 0;
  const others = [...withoutFailures(failing, of)];
  return new Map([...others.slice(1 - failingMax), [keyOf(of), { failures, until }]]);
}

/** A job of it ran. */
export function withoutFailures(failing: FailingExecutors, of: ExecutorFor): FailingExecutors {
  return failing.has(keyOf(of)) ? new Map([...failing].filter(([key]) => key !== keyOf(of))) : failing;
}

/** How long it is not offered from now on, in milliseconds. */
export function pauseLeft(failing: FailingExecutors, of: ExecutorFor, now: number): number {
  return Math.max(0, (failing.get(keyOf(of))?.until ?? 0) - now);
}

function keyOf({ executor, scheduler }: ExecutorFor): string {
  return JSON.stringify([executor.class, executor.name, scheduler]);
}
