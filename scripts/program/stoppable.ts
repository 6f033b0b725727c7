/**
 * Ends a command's work in order when a signal stops it.
 *
 * @module
 */
import process from "node:process";
import { Effect } from "effect";
import { ProgramFailed } from "./failure.ts";

/** Runs a command's work until SIGINT or SIGTERM: the work is interrupted then, and takes away what it has begun. */
export function stoppable<A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E | ProgramFailed, R> {
  return Effect.suspend(() => {
    const { promise, reject } = Promise.withResolvers<never>();
    const onInt = () => reject(new ProgramFailed({ exitCode: 130, notice: "Stopped by SIGINT" }));
    const onTerm = () => reject(new ProgramFailed({ exitCode: 143, notice: "Stopped by SIGTERM" }));
    process.on("SIGINT", onInt);
    process.on("SIGTERM", onTerm);
    const stopped = Effect.tryPromise({ try: () => promise, catch: (error) => error as ProgramFailed });
    const quiet = Effect.sync(() => {
      process.off("SIGINT", onInt);
      process.off("SIGTERM", onTerm);
    });
    return Effect.ensuring(Effect.raceFirst(work, stopped), quiet);
  });
}
