/**
 * The parts of the performance table. A part is a module with `measure`.
 *
 * @module
 */
import type { BenchRow } from "./row.ts";

/** The exports of a part's module. `quick` is for tests: the same rows, with figures that have no meaning. */
interface BenchPart {
  readonly measure: (options: { readonly quick: boolean }) => Promise<readonly BenchRow[]>;
}

/** Every part, loaded when it is measured. */
export const parts = {
  gate: (): Promise<BenchPart> => import("./gate/part.ts"),
  pki: (): Promise<BenchPart> => import("./pki/part.ts"),
  cell: (): Promise<BenchPart> => import("./cell/part.ts"),
  simulation: (): Promise<BenchPart> => import("./simulation/part.ts"),
} as const;

/** The name of a part. */
export type PartName = keyof typeof parts;
