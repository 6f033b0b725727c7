/**
 * The parts of the performance table. A part is a module with `measure`.
 *
 * @module
 */
import type { BenchRow } from "./row.ts";

/** What a part is measured with. `quick` is for tests: the same rows, with figures that have no meaning. */
export interface BenchOptions {
  readonly quick: boolean;
  /** How many nodes a network has. */
  readonly nodes?: number;
}

/** The exports of a part's module. */
interface BenchPart {
  readonly measure: (options: BenchOptions) => Promise<readonly BenchRow[]>;
}

/** Every part, loaded when it is measured. */
export const parts = {
  gate: (): Promise<BenchPart> => import("./gate/part.ts"),
  pki: (): Promise<BenchPart> => import("./pki/part.ts"),
  cell: (): Promise<BenchPart> => import("./cell/part.ts"),
  simulation: (): Promise<BenchPart> => import("./simulation/part.ts"),
  network: (): Promise<BenchPart> => import("./network/part.ts"),
  program: (): Promise<BenchPart> => import("./program/part.ts"),
  training: (): Promise<BenchPart> => import("./training/part.ts"),
  ca: (): Promise<BenchPart> => import("./ca/part.ts"),
  audit: (): Promise<BenchPart> => import("./audit/part.ts"),
} as const;

/** The name of a part. */
export type PartName = keyof typeof parts;
