/**
 * The brand of proofs: what a check returns where it holds.
 *
 * @module
 */

/**
 * Carries no value at run time. The member is protected, so that neither an object literal nor a changed copy of a proof
 * (`{ ...found, paths: [] }`) has the type of a proof. Only a type assertion makes one, and only the file of its check
 * may hold that assertion: `tests/pki/checks/proof.test.ts` reads the sources. (A private member would lose its type in the declarations of the
 * package, and with it what tells one proof from another.)
 */
export declare abstract class Proof<Name extends string> {
  protected readonly proof: Name;
}
