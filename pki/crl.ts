/**
 * Certificate revocation lists: DER → compact index, lookups that do not grow with it.
 *
 * @module
 */

/** The revocation lists of a snapshot, by issuer. */
export interface RevocationIndex {
  readonly lists: readonly unknown[];
}
