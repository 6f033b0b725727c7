/**
 * How a stage of the demo says that it cannot go on.
 *
 * @module
 */

/** A promise of the demo that did not hold; the message is one line for the reader. */
export class BrokenPromise extends Error {
  override name = "BrokenPromise";
}
