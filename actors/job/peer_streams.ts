/**
 * Streams to peers. Our own protocol carries length, digest and grant. Peers of the existing network do not support it and
 * get the plain protocol. Both are proposed on one stream: with two streams, a peer of ours that begins to serve between them
 * would get the plain protocol.
 *
 * @module
 */
import { Effect } from "effect";
import type { PeerText, StreamHandle, TransportError } from "../../transport/port.ts";
import { encodeGrantedPullHeader, encodePullHeader, type GrantedPullHeader } from "../../transport/protocols/mod.ts";
import { isFramed, pullProtocols, pushProtocols } from "../files/stream_file.ts";
import type { JobNetwork } from "./network.ts";

/** The same network; `onSent` is called after each piece that a stream of it took. */
export function watchSent(network: JobNetwork, onSent: () => void): JobNetwork {
  return {
    ...network,
    openStream: (...ask) => Effect.map(network.openStream(...ask), (stream) => watchStream(stream, onSent)),
  };
}

/** The same stream; `onSent` is called after each piece that it took, with the bytes of all that it took. */
export function watchStream(stream: StreamHandle, onSent: (sentBytes: number) => void): StreamHandle {
  let sentBytes = 0;
  return {
    id: stream.id,
    peer: stream.peer,
    protocol: stream.protocol,
    read: stream.read,
    write: (bytes) => Effect.tap(stream.write(bytes), () => Effect.sync(() => onSent(sentBytes += bytes.length))),
    end: stream.end,
    abort: (reason) => stream.abort(reason),
  };
}

/** Opens a stream for pushing a file. */
export function openPush(
  network: Pick<JobNetwork, "openStream">,
  peer: PeerText,
  timeoutMs?: number,
): Effect.Effect<StreamHandle, TransportError> {
  return Effect.suspend(() => network.openStream(peer, pushProtocols, timeoutMs)); // one stream for each run of the Effect
}

/**
 * Opens a stream for pulling a slice, and writes the header. A data node resets the plain stream of a puller that leaves its
 * own side open, so this side ends after the header.
 *
 * @param header The slice, with the scheduler's grant where it gave one. Only peers that support grants receive it.
 */
export function openPull(
  network: Pick<JobNetwork, "openStream">,
  peer: PeerText,
  header: GrantedPullHeader,
  timeoutMs?: number,
): Effect.Effect<StreamHandle, TransportError> {
  const opened = Effect.suspend(() => network.openStream(peer, pullProtocols, timeoutMs));
  return Effect.flatMap(opened, (stream) => {
    const { dataset, index } = header;
    const bytes = isFramed(stream.protocol) ? encodeGrantedPullHeader(header) : encodePullHeader({ dataset, index });
    return stream.write(bytes).pipe(
      Effect.andThen(stream.end),
      Effect.as(stream),
      Effect.onError(() => stream.abort("not requested")),
    );
  });
}
