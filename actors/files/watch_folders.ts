/**
 * Folders watched by an actor: a machine invokes one and receives `files.touched` when something in them changes.
 *
 * @module
 */
import { Cause, Effect, Exit, Schedule, Stream } from "effect";
import { FileSystem } from "effect/FileSystem";
import { type EffectInput, fromSource, type SendingLogic } from "../runtime/effect_actor.ts";
import { answerMs, withinDeadline } from "./patient_files.ts";

/** Folders are watched, not files: a file that is replaced by a rename is another file. */
export interface WatchInput extends EffectInput {
  readonly folders: readonly string[];
}

/** What the watcher sends. */
export type WatchEvent =
  /** Watching began (earlier changes may have been missed), or something in a folder changed: look. */
  | { readonly type: "files.touched" }
  /** The system refuses to watch, or stopped watching. It is the last event. */
  | { readonly type: "watch.failed"; readonly error: unknown };

/** The watcher as actor logic. It reports that something changed, not what: the receiver looks. */
export const watchFoldersLogic: SendingLogic<WatchEvent, WatchInput> = fromSource((input, send) => {
  const touched = () => send({ type: "files.touched" });
  const watch = Effect.gen(function* () {
    const files = yield* FileSystem;
    // A folder that does not answer would hold a thread for each watch of it. The others are watched meanwhile.
    const look = (folder: string) =>
      Effect.retry(withinDeadline(folder, Effect.uninterruptible(files.stat(folder))), {
        while: ({ reason }) => reason._tag === "TimedOut",
        schedule: Schedule.spaced(answerMs),
      });
    const watchOne = (folder: string) =>
      Effect.andThen(
        look(folder),
        Stream.runForEach(files.watch(folder, { onReady: touched }), () => Effect.sync(touched)),
      );
    yield* Effect.forEach([...new Set(input.folders)], watchOne, { concurrency: "unbounded", discard: true });
  });
  return input.ports.run(watch, (exit) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : new Error("the watcher ended");
    send({ type: "watch.failed", error });
  });
});
