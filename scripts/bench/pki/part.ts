/**
 * The part `pki` of the performance table.
 *
 * @module
 */
import type { BenchRow } from "../row.ts";
import { measureLoading } from "./load.ts";
import { measureLookup, measureParsing, measureVerification } from "./verify.ts";

/** Measures all of it on this runtime. */
export async function measure(options: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  return [
    ...await measureVerification(options),
    ...measureLookup(options),
    ...await measureLoading(options),
    ...await measureParsing(options),
  ];
}
