/**
 * Streams to peers. Our own protocol carries length, digest and grant. Peers of the existing network do not support it and
 * get the plain protocol.
 *
 * @module
 */
import { Effect } from "effect";
import type { PeerText, StreamHandle, StreamProtocol, TransportError } from "../../transport/port.ts";
import { encodeGrantedPullHeader, encodePullHeader, type GrantedPullHeader } from "../../transport/protocols/mod.ts";
import { isFramed, pullProtocols, pushProtocols } from "../files/stream_file.ts";
import type { JobNetwork } from "./network.ts";

/** Opens a stream for pushing a file. */
export function openPush(
  network: Pick<JobNetwork, "openStream">,
  peer: PeerText,
  timeoutMs?: number,
): Effect.Effect<StreamHandle, TransportError> {
  return openEither(network, peer, pushProtocols, timeoutMs);
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
  return Effect.flatMap(openEither(network, peer, pullProtocols, timeoutMs), (stream) => {
    const { dataset, index } = header;
    const bytes = isFramed(stream.protocol) ? encodeGrantedPullHeader(header) : encodePullHeader({ dataset, index });
    return stream.write(bytes).pipe(
      Effect.andThen(stream.end),
      Effect.as(stream),
      Effect.onError(() => stream.abort("not asked")),
    );
  });
}

/**
 * Opens a stream of our own protocol, else of the plain one. A peer of ours serves both from the same moment on, which may lie between
 * the two tries: where the plain one is open, ours is tried once more. A peer of the existing network never sees a stream that is given up.
 */
function openEither(
  network: Pick<JobNetwork, "openStream">,
  peer: PeerText,
  [ours, plain]: readonly [StreamProtocol, StreamProtocol],
  timeoutMs?: number,
): Effect.Effect<StreamHandle, TransportError> {
  const open = (protocol: StreamProtocol) => network.openStream(peer, protocol, timeoutMs);
  const orOurs = (stream: StreamHandle) =>
    Effect.matchEffect(open(ours), {
      onFailure: () => Effect.succeed(stream),
      onSuccess: (framed) => Effect.as(stream.abort("our own protocol is served"), framed),
    }).pipe(Effect.onInterrupt(() => stream.abort("not wanted any more")));
  return Effect.catch(
    open(ours),
    (error) => error.code === "unsupported" ? Effect.flatMap(open(plain), orOurs) : Effect.fail(error),
  );
}
