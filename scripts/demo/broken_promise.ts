/**
 * The error of a stage of the demo that cannot continue.
 *
 * @module
 */

/** A promise of the demo that did not hold; the message is one line for the reader. */
export class BrokenPromise extends Error {
  override name = "BrokenPromise";
}
