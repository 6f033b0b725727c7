/**
 * How long a peer may go on proposing protocols. libp2p answers every line of multistream-select, thousands of them in one
 * turn of the event loop if they came together.
 *
 * @module
 */
import type { ComponentLogger, MessageStream, StreamMuxer } from "@libp2p/interface";
import { checkMuxer, yamuxOf } from "./connection_internals.ts";

/** Answers before a protocol is agreed on: the header, and more proposals than any node of this network has protocols for. */
export const negotiationAnswersMax = 16;

/**
 * Counts what is sent on a stream until the negotiation is over, and calls `onExceeded` instead of the answer that is one too
 * many. From then on, or from the end of the negotiation on, the stream is as it was.
 */
export function limitNegotiation(
  stream: MessageStream,
  isOver: () => boolean,
  onExceeded: (detail: string) => void,
): void {
  const { send } = stream;
  let answers = 0;
  stream.send = (data) => {
    if (isOver()) stream.send = send;
    else if (++answers > negotiationAnswersMax) {
      stream.send = send;
      onExceeded(`it proposed ${answers - 1} times without agreeing on a protocol`);
      throw new Error("the negotiation was given up");
    }
    return send.call(stream, data);
  };
}

/** What libp2p gives to whatever it makes. */
interface Loggers {
  readonly logger: ComponentLogger;
}

/** A multiplexer's factory, as libp2p is given it. */
type MuxerFactory = { createStreamMuxer(connection: MessageStream): StreamMuxer };

/**
 * Limits the negotiation of every stream that a peer opens. A stream that goes over is reset; its connection lives.
 *
 * The multiplexer hands its streams on through `onRemoteStream`; a listener of ours would make it believe that libp2p's own is
 * there already, and streams that come early would be lost.
 */
export function limitingMuxer<Components extends Loggers, Factory extends MuxerFactory>(
  make: (components: Components) => Factory,
): (components: Components) => Factory {
  return (components) => {
    const factory = make(components);
    checkMuxer(factory, components.logger.forComponent("hypha:start"));
    const create = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const muxer = yamuxOf(create(connection));
      const onRemoteStream = muxer.onRemoteStream.bind(muxer);
      muxer.onRemoteStream = (stream) => {
        limitNegotiation(stream, () => stream.protocol !== "", () => {});
        onRemoteStream(stream);
      };
      return muxer;
    };
    return factory;
  };
}
