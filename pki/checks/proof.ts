/**
 * The brand of proofs: what a check returns where it holds.
 *
 * @module
 */

/**
 * Carries no value at run time. The member is protected, so that neither an object literal nor a changed copy of a proof
 * (`{ ...found, paths: [] }`) has the type of a proof; a private member would lose its type in the package's declarations.
 * Only a type assertion makes a proof, and only the file of its check may hold that assertion:
 * `tests/pki/checks/proof.test.ts` reads the sources.
 */
export declare abstract class Proof<Name extends string> {
  /** The name of the proof, as a type only. */
  protected readonly proof: Name;
}
