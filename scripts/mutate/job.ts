/**
 * The messages between the pool and its workers: one JSON object in each line.
 *
 * @module
 */

/** The job of a worker: the text of the mutated file, and the tests to run until one fails. */
export interface Job {
  readonly job: number;
  /** Nothing is changed where undefined: the tests have to pass then. */
  readonly change?: { readonly file: string; readonly text: string } | undefined;
  readonly tests: readonly string[];
}

/** Sent when a test file begins. */
export interface Begun {
  readonly job: number;
  readonly begins: string;
}

/** The answer to a job. */
export interface Answer {
  readonly job: number;
  /** The test file that failed, and how; undefined where all passed. */
  readonly failed?: { readonly test: string; readonly what: string } | undefined;
  /** How long each test file took that ran, in milliseconds. */
  readonly ms: Readonly<Record<string, number>>;
  readonly rssBytes: number;
}

/** The prefix of a worker's line: tests print to the same stream. */
export const answerMark = "@mutant ";
