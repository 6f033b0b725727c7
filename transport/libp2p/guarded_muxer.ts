/**
 * Lets a connection know the streams that its own side opens: their data is what this side requested (`frame_guard.ts`).
 *
 * @module
 */
import type { MessageStream, StreamMuxer } from "@libp2p/interface";
import { SecuredStream } from "./secured_stream.ts";

/** Makes multiplexers whose connections know what they open. */
export function guardedMuxer<
  Components,
  Factory extends { createStreamMuxer(connection: MessageStream): StreamMuxer },
>(make: (components: Components) => Factory): (components: Components) => Factory {
  return (components) => {
    const factory = make(components);
    const create = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const muxer = create(connection);
      if (!(connection instanceof SecuredStream)) return muxer;
      const { createStream } = muxer;
      muxer.createStream = async (options) => {
        const stream = await createStream.call(muxer, options);
        connection.opened(stream);
        return stream;
      };
      return muxer;
    };
    return factory;
  };
}
