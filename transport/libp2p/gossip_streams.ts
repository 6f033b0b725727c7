/**
 * The streams that gossipsub opens to its peers. gossipsub opens one after the other: a peer that does not answer on its stream
 * delays those of all other peers, by ten seconds each time, and a gateway that starts again waits for a thousand members in turn.
 *
 * @module
 */
import type { Connection, PeerId } from "@libp2p/interface";

/** What is used of gossipsub. */
export interface OpensStreams {
  /** Opens the outbound stream to a peer where there is none. libp2p ends an attempt after ten seconds. */
  createOutboundStream(peer: PeerId, connection: Connection): Promise<void>;
}

/** Makes gossipsub open streams to several peers at once, and to each peer one. */
export function openStreamsApart(pubsub: OpensStreams): void {
  const open = pubsub.createOutboundStream.bind(pubsub);
  /** By peer whose stream is being opened: the connection to try after that, where it has a newer one. */
  const next = new Map<string, Connection | undefined>();
  const openOne = async (peer: PeerId, first: Connection) => {
    const id = peer.toString();
    try {
      for (let connection: Connection | undefined = first; connection !== undefined; connection = next.get(id)) {
        next.set(id, undefined);
        await open(peer, connection); // at once where there is a stream by now
      }
    } finally {
      next.delete(id);
    }
  };
  pubsub.createOutboundStream = (peer, connection) => {
    const id = peer.toString();
    if (next.has(id)) next.set(id, connection);
    else openOne(peer, connection).catch(() => {}); // gossipsub drops its errors itself
    return Promise.resolve();
  };
}
