/**
 * Prints the results of a command: files on standard output, warnings on standard error.
 *
 * @module
 */
import { Console, Effect } from "effect";
import type { Outcome } from "../../actors/certutil/outcome.ts";
import { escapeUnsafe } from "../program/log_line.ts";

/** Runs a command's Effect and prints its outcome. */
export function say<E, R>(command: Effect.Effect<Outcome, E, R>): Effect.Effect<void, E, R> {
  return Effect.gen(function* () {
    const { lines, warnings } = yield* command;
    for (const line of lines) yield* Console.log(escapeUnsafe(line));
    for (const warning of warnings) yield* Console.error(`warning: ${escapeUnsafe(warning)}`);
  });
}
