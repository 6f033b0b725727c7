/**
 * Lets a connection know its multiplexer, whose streams tell which data this side asked for (`frame_guard.ts`).
 *
 * @module
 */
import type { MessageStream, StreamMuxer } from "@libp2p/interface";
import { SecuredStream } from "./secured_stream.ts";

/** Makes multiplexers that their connections know. */
export function guardedMuxer<
  Components,
  Factory extends { createStreamMuxer(connection: MessageStream): StreamMuxer },
>(make: (components: Components) => Factory): (components: Components) => Factory {
  return (components) => {
    const factory = make(components);
    const create = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const muxer = create(connection);
      if (connection instanceof SecuredStream) connection.muxer = muxer;
      return muxer;
    };
    return factory;
  };
}
