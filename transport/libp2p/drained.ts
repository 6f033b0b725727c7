/**
 * Waiting until a stream takes more.
 *
 * @module
 */
import type { MessageStream } from "@libp2p/interface";

/**
 * Resolves when everything that was sent has been handed on and more would be taken.
 *
 * libp2p's own `onDrain` keeps its first promise for ever, so that every wait after the first is none, and a
 * multiplexer reports `drain` to all of its streams whenever the connection drains, also to those whose window is used up:
 * what counts is what the stream still holds.
 *
 * @throws the signal's reason, or an error when the stream closes first.
 */
export function drained(stream: MessageStream, signal?: AbortSignal): Promise<void> {
  const free = () => !stream.writableNeedsDrain && stream.writeBufferLength === 0;
  if (free()) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const settle = () => {
      stream.removeEventListener("drain", look);
      stream.removeEventListener("idle", look);
      stream.removeEventListener("close", onClose);
      signal?.removeEventListener("abort", onAbort);
    };
    const look = () => {
      if (!free()) return;
      settle();
      resolve();
    };
    const onClose = () => {
      settle();
      reject(new Error("the stream closed before it took everything"));
    };
    const onAbort = () => {
      settle();
      reject(signal?.reason);
    };
    stream.addEventListener("drain", look);
    stream.addEventListener("idle", look);
    stream.addEventListener("close", onClose);
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted) onAbort();
    else if (stream.status !== "open" && stream.status !== "closing") onClose();
  });
}
