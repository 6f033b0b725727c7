/**
 * A sweep whose failure is a result, and the report of it: `worker.swept` and its neighbours, `evaluation.swept` where a scheduler swept.
 *
 * @module
 */
import { Effect } from "effect";
import type { Ports } from "../runtime/ports.ts";
import { sweepLeftovers, type Swept } from "./work_directory.ts";

/** The result of a sweep, or the reason why there was none. */
export interface SweepResult extends Pick<Swept, "removed" | "failed" | "unowned"> {
  /** Why nothing was swept, where the directory could not be read. */
  readonly unswept?: string | undefined;
}

/** Sweeps ({@linkcode sweepLeftovers}), with a failure as its result. */
export function trySweep(
  workDir: string,
  options: { readonly isLocked: boolean },
): Effect.Effect<SweepResult> {
  return Effect.catch(
    sweepLeftovers(workDir, options),
    ({ message }) => Effect.succeed<SweepResult>({ removed: [], failed: [], unowned: [], unswept: message }),
  );
}

/**
 * Reports what was removed, what could not be removed, and what was kept.
 *
 * @param by First part of the events' names.
 */
export function reportSwept(
  report: Ports["report"],
  by: "worker" | "evaluation",
  { removed, failed, unowned, unswept }: SweepResult,
): void {
  if (unowned.length > 0) {
    report({
      level: "warn",
      event: `${by}.unowned`,
      message: "Kept what is named like a job's directory and has no readable record of its owner (DIRECTORY.owner). " +
        `If no other program uses it, remove it and its .owner file: ${unowned.join(", ")}`,
      fields: { unowned },
    });
  }
  if (unswept !== undefined) {
    report({
      level: "warn",
      event: `${by}.unswept`,
      message: `Cannot sweep left-over work directories: ${unswept}`,
    });
  }
  if (removed.length + failed.length === 0) return;
  report({
    level: failed.length > 0 ? "warn" : "info",
    event: `${by}.swept`,
    message: `Removed ${removed.length} left-over work directories, ${failed.length} could not be removed`,
    fields: { removed, failed: failed.map(({ message }) => message) },
  });
}
