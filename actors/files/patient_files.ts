/**
 * Access to files that may lie on a mount whose server is gone: a file that does not answer holds up nothing but itself.
 *
 * An operation on a hard mount cannot be ended, and holds one of the few threads that a runtime has for files. So a file has one
 * operation at a time, and while one is late, every other of that file fails at once.
 *
 * @module
 */
import { Effect, Fiber } from "effect";
import { FileSystem } from "effect/FileSystem";
import { type PlatformError, systemError } from "effect/PlatformError";

/** A file's operation is late after this, in milliseconds. */
export const answerMs = 5_000;
/** The slowest reading, in bytes of a millisecond. */
const bytesPerMs = 5_000;

/** How long the reading of a file of this size may take. */
export const readingMs = (bytes: number): number => answerMs + bytes / bytesPerMs;

interface Operation {
  readonly fiber: Fiber.Fiber<unknown, unknown>;
  /** Abandoned: no caller waits for its result, and it may still end. Late: it did not end within its time. */
  state: "awaited" | "abandoned" | "late";
}

/** The operations that have not ended, by the path of their file. */
const underWay = new WeakMap<FileSystem, Map<string, Operation>>();

/**
 * Runs an operation on a file, after those of the same file. Fails with `TimedOut` where it takes too long, or an earlier one does.
 *
 * An operation that is late, or whose callers were interrupted, is interrupted and not waited for. It counts until it has ended: calls
 * of the system in it must be uninterruptible.
 */
export function withinDeadline<A, E>(
  path: string,
  operation: Effect.Effect<A, E>,
  ms: number = answerMs,
): Effect.Effect<A, E | PlatformError, FileSystem> {
  const late = Effect.suspend(() =>
    Effect.fail(
      systemError({ _tag: "TimedOut", module: "FileSystem", method: "withinDeadline", pathOrDescriptor: path }),
    )
  );
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const operations = underWay.get(files) ?? new Map<string, Operation>();
    underWay.set(files, operations);
    const services = yield* Effect.context();
    const turn: Effect.Effect<A, E | PlatformError> = Effect.suspend(() => {
      const before = operations.get(path);
      if (before?.state === "late") return late;
      if (before !== undefined) return Effect.andThen(Fiber.await(before.fiber), turn);
      return Effect.callback<A, E>((resume) => {
        const fiber = Effect.runForkWith(services)(operation);
        const own: Operation = { fiber, state: "awaited" };
        operations.set(path, own);
        fiber.addObserver((exit) => {
          operations.delete(path);
          resume(exit);
        });
        return Effect.sync(() => {
          own.state = "abandoned";
          fiber.interruptUnsafe();
        });
      });
    });
    return yield* Effect.timeoutOrElse(turn, {
      duration: ms,
      orElse: () => {
        const hanging = operations.get(path);
        if (hanging?.state === "abandoned") hanging.state = "late";
        return late;
      },
    });
  });
}
