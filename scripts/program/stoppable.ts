/**
 * Ends a command's work in order when a signal stops it.
 *
 * @module
 */
import process from "node:process";
import { Effect } from "effect";
import { ProgramFailed } from "./failure.ts";

/** What stops a command, with the exit codes that shells give them. */
const stops = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Runs a command's work until a signal: the work is interrupted then, and takes away what it has begun. The same signal again ends it at once. */
export function stoppable<A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E | ProgramFailed, R> {
  return Effect.suspend(() => {
    const { promise, reject } = Promise.withResolvers<never>();
    const listeners = Object.entries(stops).map(([signal, exitCode]) =>
      [signal, () => reject(new ProgramFailed({ exitCode, notice: `Stopped by ${signal}` }))] as const
    );
    for (const [signal, listener] of listeners) process.once(signal, listener);
    const stopped = Effect.tryPromise({ try: () => promise, catch: (error) => error as ProgramFailed });
    const quiet = Effect.sync(() => {
      for (const [signal, listener] of listeners) process.off(signal, listener);
    });
    return Effect.ensuring(Effect.raceFirst(work, stopped), quiet);
  });
}
