/**
 * When yamux pings: a listener at once, a dialler with the first stream, and both every 30 s; and that a connection ends whose peer does
 * not answer, or whose multiplexer is over, which yamux leaves to others.
 *
 * yamux's own keep-alive pings at once at both ends, with a task of its own for each connection. The round trip that the ping measures
 * opens the windows of streams, so that a connection with a stream must have it. A listener measures it before the peer has work:
 * under the first burst of streams it would be longer, and windows would open further. A dialler has its round trip from the ping that
 * confirms the connection (`early_muxer.ts`).
 *
 * @module
 */
import type { MessageStream, StreamMuxer } from "@libp2p/interface";
import { closeGraceMs } from "../core/wire.ts";
import { type YamuxMuxer, yamuxOf } from "./connection_internals.ts";

/** Between two pings, in milliseconds: yamux's own interval. */
export const pingEveryMs = 30_000;
/** A peer that does not answer a ping for so long is gone, in milliseconds. Training keeps both cores busy. */
export const pingTimeoutMs = 20_000;

/** Times, in milliseconds. */
export interface PingTimes {
  readonly everyMs: number;
  readonly timeoutMs: number;
}
const pingTimes: PingTimes = { everyMs: pingEveryMs, timeoutMs: pingTimeoutMs };

/** The peer serves the connection no more, and neither side closed it. */
export class PeerLost extends Error {
  override readonly name = "PeerLost";
}

/**
 * Makes a listener's multiplexer ping at once, a dialler's with its first stream, whichever side opens it, and both at intervals. A
 * ping that was sent before the first stream counts. A connection ends whose peer does not answer in time,
 * or whose multiplexer is over.
 *
 * @param make `yamux({ enableKeepAlive: false })`.
 */
export function pingingWithFirstStream<
  Components,
  Factory extends { createStreamMuxer(connection: MessageStream): StreamMuxer },
>(make: (components: Components) => Factory, times = pingTimes): (components: Components) => Factory {
  return (components) => {
    const factory = make(components);
    const create = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => pinging(create(connection), connection, times);
    return factory;
  };
}

function pinging(made: StreamMuxer, connection: MessageStream, { everyMs, timeoutMs }: PingTimes): StreamMuxer {
  const muxer = yamuxOf(made);
  const { ping, createStream, onRemoteStream } = muxer;
  let isPinged = false;
  let deadline: NodeJS.Timeout | undefined;
  muxer.ping = (options) => {
    isPinged = true;
    return ping.call(muxer, options);
  };
  const pingNow = () => {
    deadline ??= setTimeout(() => connection.abort(new PeerLost(`no answer to a ping for ${timeoutMs} ms`)), timeoutMs);
    const answered = () => {
      clearTimeout(deadline);
      deadline = undefined;
    };
    muxer.ping().then(answered, answered); // it fails where the multiplexer is closing
  };
  muxer.createStream = (options) => {
    if (!isPinged) pingNow();
    return createStream.call(muxer, options);
  };
  muxer.onRemoteStream = (stream) => {
    if (!isPinged) pingNow();
    onRemoteStream.call(muxer, stream);
  };
  if (connection.direction === "inbound") queueMicrotask(pingNow);
  const timer = setInterval(pingNow, everyMs);
  connection.addEventListener("close", () => {
    clearInterval(timer);
    clearTimeout(deadline);
  }, { once: true });
  endWithMuxer(muxer, connection);
  return muxer;
}

/**
 * Ends a connection whose multiplexer is over: nothing can be sent over it. A peer that closes gently ends its multiplexer first and its
 * connection right after, so there is a while for that.
 */
function endWithMuxer(muxer: YamuxMuxer, connection: MessageStream): void {
  let grace: NodeJS.Timeout | undefined;
  const over = () => {
    if (connection.status !== "open") return;
    grace ??= setTimeout(() => connection.abort(new PeerLost("its multiplexer is over")), closeGraceMs);
  };
  const { abort, onTransportClosed } = muxer;
  muxer.abort = (error) => {
    abort.call(muxer, error);
    over();
  };
  muxer.onTransportClosed = (error) => {
    onTransportClosed.call(muxer, error);
    over();
  };
  connection.addEventListener("close", () => clearTimeout(grace), { once: true });
}
