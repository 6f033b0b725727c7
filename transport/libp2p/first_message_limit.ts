/**
 * How much a relay reads of a stream before it has answered.
 *
 * The library gathers up to 4 MiB of a stream until it holds the first message, for as long as half a minute: over all streams and
 * connections of one member that is a gigabyte. A relay's messages are smaller than a kilobyte, and a peer sends no byte for the
 * other side before the relay has answered.
 *
 * @module
 */
import type { Stream, StreamHandler } from "@libp2p/interface";

/** Protocols whose handler reads one message, answers it, and then carries what others send. */
const limited: ReadonlySet<string> = new Set([
  "/libp2p/circuit/relay/0.2.0/hop",
  "/libp2p/circuit/relay/0.2.0/stop",
]);
/** Most bytes that arrive before the answer: go-libp2p reads relay messages of at most 4,096 bytes. */
export const firstMessageMaxBytes = 4_096;

/** Resets a stream that brings more than {@linkcode firstMessageMaxBytes} before the first answer. Other protocols stay as they are. */
export function limitedFirstMessage(protocol: string, handler: StreamHandler): StreamHandler {
  if (!limited.has(protocol)) return handler;
  return (stream, connection) => {
    limitUntilAnswered(stream);
    return handler(stream, connection);
  };
}

function limitUntilAnswered(stream: Stream): void {
  let arrived = 0;
  const count = ({ data }: { readonly data: { readonly byteLength: number } }) => {
    arrived += data.byteLength;
    if (arrived > firstMessageMaxBytes) stream.abort(new Error("a first message that is too large"));
  };
  const send = stream.send.bind(stream);
  stream.send = (data) => {
    stream.removeEventListener("message", count);
    stream.send = send;
    return send(data);
  };
  stream.addEventListener("message", count);
}
