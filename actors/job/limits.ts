/**
 * Every bound of a job, in one place. A worker may give its jobs other bounds; tests give them smaller ones.
 *
 * @module
 */

/** Bounds of one job. Sizes in bytes, times in milliseconds. */
export interface JobLimits {
  /** Work directory and bridge are ready within this. */
  readonly prepareMs: number;
  /** From SIGTERM to SIGKILL (5 s, as in the existing workers). */
  readonly graceMs: number;
  /** A job whose process has not ended this long after its termination is reported and no longer waited for. */
  readonly endMs: number;
  /** A bridge request's body. */
  readonly bodyBytesMax: number;
  /** A bridge request's body arrives within this. */
  readonly bodyMs: number;
  /** Concurrent bridge requests; one more is answered 503. */
  readonly requestsMax: number;
  /** Concurrent connections to the bridge's socket; one more is closed. */
  readonly connectionsMax: number;
  /** Interval of keep-alive comments in a quiet event stream (5 s, as in the existing workers). */
  readonly keepaliveMs: number;
  /** An event stream whose reader takes no bytes for this long is ended. */
  readonly readerMs: number;
  /** Size of one received file or slice. Files of the web have `[fetch] file_bytes_max`. */
  readonly fileBytesMax: number;
  /** A fetch, send or receive without progress for this long is given up. */
  readonly idleMs: number;
  /** Answers of the scheduler, and opening of a stream (`docs/wire.md`, "Protocols": 10 s). */
  readonly exchangeMs: number;
  /** A fetch waits so long for a data node, or a scheduler with the parameters, that is away. */
  readonly awayMs: number;
  /** Concurrent background copies to peers; one more is answered 503. */
  readonly sendsMax: number;
  /** Files of one `huggingface` reference. */
  readonly filesMax: number;
  /** HTTP redirects followed in one fetch. */
  readonly redirectsMax: number;
}

/** The defaults. */
export const jobLimits: JobLimits = {
  prepareMs: 10_000,
  graceMs: 5_000,
  endMs: 15_000,
  bodyBytesMax: 1024 * 1024,
  bodyMs: 10_000,
  requestsMax: 64,
  connectionsMax: 128,
  keepaliveMs: 5_000,
  readerMs: 60_000,
  fileBytesMax: 4 * 1024 ** 3,
  idleMs: 60_000,
  exchangeMs: 10_000,
  awayMs: 3_600_000,
  sendsMax: 32,
  filesMax: 256,
  redirectsMax: 5,
};

/** The size of one file of a job, in bytes: the default, or more where the job has more room. */
export function fileBytesOf({ diskBytes }: { readonly diskBytes: number }): number {
  return Math.max(jobLimits.fileBytesMax, diskBytes);
}
