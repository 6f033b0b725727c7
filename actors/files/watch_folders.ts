/**
 * Folders watched by an actor: a machine invokes one and hears `files.touched` whenever something in them changes.
 *
 * @module
 */
import { Cause, Effect, Exit, Stream } from "effect";
import { FileSystem } from "effect/FileSystem";
import { type CallbackActorLogic, type EventObject, fromCallback } from "xstate";
import type { EffectInput } from "../runtime/effect_actor.ts";

/** Folders are watched, not files: a file that is replaced by a rename is another file. */
export interface WatchInput extends EffectInput {
  readonly folders: readonly string[];
}

/** What the watcher says. */
export type WatchSaid =
  /** Watching began (what happened before may have been missed), or something in a folder changed: look. */
  | { readonly type: "files.touched" }
  /** The system does not let us watch, or stopped; nothing more will be said. */
  | { readonly type: "watch.failed"; readonly error: unknown };

/** The watcher as actor logic. It says that something happened, not what: whoever hears it looks. */
export const watchFoldersLogic: CallbackActorLogic<EventObject, WatchInput> = fromCallback<EventObject, WatchInput>(
  ({ input, sendBack }) => {
    let stopped = false;
    const say = (said: WatchSaid) => {
      if (!stopped) sendBack(said);
    };
    const touched = () => say({ type: "files.touched" });
    const watch = Effect.gen(function* () {
      const files = yield* FileSystem;
      const watchOne = (folder: string) =>
        Stream.runForEach(files.watch(folder, { onReady: touched }), () => Effect.sync(touched));
      yield* Effect.forEach([...new Set(input.folders)], watchOne, { concurrency: "unbounded", discard: true });
    });
    const interrupt = input.ports.run(watch, (exit) => {
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : new Error("the watcher ended");
      say({ type: "watch.failed", error });
    });
    return () => {
      stopped = true;
      interrupt();
    };
  },
);
