/**
 * Every bound of a job, in one place. A worker may hand its jobs others; a test hands them smaller ones.
 *
 * @module
 */

/** Bounds of one job. Sizes in bytes, times in milliseconds. */
export interface JobLimits {
  /** Work directory and bridge stand within this. */
  readonly prepareMs: number;
  /** From SIGTERM to SIGKILL (5 s, as in the existing workers). */
  readonly graceMs: number;
  /** A job that is still not gone this long after it was told to end is given up, and reported. */
  readonly endMs: number;
  /** A bridge request's body. */
  readonly bodyBytesMax: number;
  /** A bridge request's body is there within this. */
  readonly bodyMs: number;
  /** Bridge requests under way at once; one more is answered 503. */
  readonly requestsMax: number;
  /** Connections to the bridge's socket at once; one more is closed. */
  readonly connectionsMax: number;
  /** Between two keep-alive comments of a quiet event stream (5 s, as in the existing workers). */
  readonly keepaliveMs: number;
  /** An event stream's reader that takes nothing for this long is given up. */
  readonly readerMs: number;
  /** One file fetched or received. */
  readonly fileBytesMax: number;
  /** A fetch, send or receive in which nothing moves for this long is given up. */
  readonly idleMs: number;
  /** Answers of the scheduler, and opening of a stream (`docs/wire.md`, "Protocols": 10 s). */
  readonly exchangeMs: number;
  /** Copies to peers that go on in the background at once; one more is answered 503. */
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
  sendsMax: 32,
  filesMax: 256,
  redirectsMax: 5,
};
