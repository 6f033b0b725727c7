/**
 * Sends files again that a receiver of ours did not save: its disk was full, or the head of the push came late. Receivers of the
 * existing network reset a stream also where they have the file.
 *
 * @module
 */
import { Effect } from "effect";
import type { StreamHandle, TransportError } from "../../transport/port.ts";
import type { PushLabel } from "../../transport/protocols/messages.ts";
import type { ReadableFile } from "../files/contained_files.ts";
import type { WorkFileFailed } from "../files/path_refused.ts";
import { type CopyLimits, isFramed } from "../files/stream_file.ts";
import { sendFile } from "./copy.ts";

/** Tries of sending a file that is not saved, and the pause between two in milliseconds. */
const triesMax = 6;
const againMs = 5_000;

/** What became of a file: `whole` and reset, where a receiver of ours did not save it; `cut` where the stream broke before its end. */
export type Sent = "sent" | "whole" | { readonly cut: TransportError };

/** Sends a file once ({@linkcode sendFile}). */
export function sendOnce(
  file: ReadableFile,
  stream: StreamHandle,
  limits: CopyLimits,
  label?: PushLabel,
): Effect.Effect<Sent, TransportError | WorkFileFailed> {
  const sent = sendFile(file, stream, limits, label);
  if (!isFramed(stream.protocol)) return Effect.as(sent, "sent");
  return Effect.matchEffect(sent, {
    onFailure: (error): Effect.Effect<Sent, TransportError | WorkFileFailed> =>
      error._tag === "TransportError" && error.code === "stream-reset"
        ? Effect.succeed({ cut: error })
        : Effect.fail(error),
    onSuccess: (outcome) => Effect.succeed<Sent>(outcome === "broken" ? "whole" : "sent"),
  });
}

/**
 * Sends a file until it is saved, for half a minute. A receiver that has it refuses it, and nothing is wrong: its acknowledgement was
 * lost. A later try that cannot reach the receiver is the last one.
 *
 * @param again The tries after the first one.
 * @returns Whether it was saved, as far as its receiver said. Fails where no try sent the whole file.
 */
export function sendUntilSaved<E>(
  first: Effect.Effect<Sent, E>,
  again: Effect.Effect<Sent, E>,
): Effect.Effect<"saved" | "refused", E | TransportError> {
  const next = (before: Sent, tries: number): Effect.Effect<"saved" | "refused", TransportError> => {
    if (before === "sent") return Effect.succeed("saved");
    const given = before === "whole" ? Effect.succeed("refused" as const) : Effect.fail(before.cut);
    if (tries === 0) return given;
    return Effect.matchEffect(Effect.andThen(Effect.sleep(againMs), again), {
      onFailure: () => given,
      onSuccess: (sent) => next(before === "whole" && sent !== "sent" ? before : sent, tries - 1),
    });
  };
  return Effect.flatMap(first, (sent) => next(sent, triesMax - 1));
}
