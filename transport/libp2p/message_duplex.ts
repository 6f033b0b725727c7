/**
 * A Node stream around a libp2p message stream: what TLS runs over where there is no socket (a relayed connection).
 *
 * @module
 */
import { Duplex } from "node:stream";
import type { MessageStream } from "@libp2p/interface";
import { drained } from "./drained.ts";

/**
 * Wraps `stream` with back-pressure both ways. Whatever libp2p has read ahead of the stream comes out first, since it is
 * dispatched to the first listener. Destroying the duplex aborts the stream; the stream's end ends the duplex,
 * once everything before was read.
 */
export function messageDuplex(stream: MessageStream): Duplex {
  let paused = false;
  const onMessage = (event: { data: Uint8Array | { subarray(): Uint8Array } }) => {
    if (!duplex.push(event.data.subarray()) && !paused && stream.status === "open") {
      paused = true;
      stream.pause();
    }
    if (stream.readableEnded) onEnd();
  };
  // Later: yamux reports a frame's end before the bytes of the same frame.
  const onEnd = () =>
    queueMicrotask(() => {
      if (stream.readBufferLength === 0 && !isReset(stream)) duplex.push(null);
    });
  const onClose = (event: { error?: Error }) => {
    if (event.error !== undefined || duplex.readableEnded) duplex.destroy(event.error);
    else duplex.once("end", () => duplex.destroy());
  };
  const duplex = new Duplex({
    allowHalfOpen: true,
    read() {
      if (!paused) return;
      paused = false;
      if (!stream.readableEnded || stream.readBufferLength > 0) resume(stream);
    },
    write(chunk: Uint8Array, _encoding, done) {
      let more: boolean;
      try {
        more = stream.send(chunk);
      } catch (error) {
        done(error as Error);
        return;
      }
      if (more) done();
      else drained(stream).then(() => done(), done);
    },
    final(done) {
      stream.close().then(() => done(), done);
    },
    destroy(error, done) {
      stream.removeEventListener("message", onMessage);
      stream.removeEventListener("end", onEnd);
      stream.removeEventListener("close", onClose);
      if (stream.status === "open") stream.abort(error ?? new Error("TLS over this stream ended"));
      done(error);
    },
  });
  stream.addEventListener("message", onMessage);
  stream.addEventListener("end", onEnd);
  stream.addEventListener("close", onClose);
  return duplex;
}

const isReset = ({ status }: MessageStream) => status === "aborted" || status === "reset";

/** Delivers at once what libp2p has kept, also of a stream that has closed. */
function resume(stream: MessageStream): void {
  try {
    stream.resume();
  } catch (error) {
    if (stream.status === "open") throw error; // a connection that ends takes no window update
  }
}
