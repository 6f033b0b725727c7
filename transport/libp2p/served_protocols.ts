/**
 * The protocols that libp2p's own services serve, each with the act that a stream of it is. What has no row is not served: the
 * start fails with its name, so that no handler of a library answers peers that nothing has judged. Streams of protocols that
 * the core serves are judged there.
 *
 * @module
 */
import type { Connection, Stream, StreamHandler } from "@libp2p/interface";
import type { ServiceAct } from "../core/wire.ts";

const rows: Readonly<Record<string, ServiceAct>> = {
  "/ipfs/id/1.0.0": "identify",
  "/ipfs/id/push/1.0.0": "identify",
  "/ipfs/ping/1.0.0": "ping",
  "/libp2p/dcutr": "dcutr",
  "/libp2p/circuit/relay/0.2.0/hop": "relay.reserve",
  "/libp2p/circuit/relay/0.2.0/stop": "relay.connect",
  "/meshsub/1.0.0": "gossip",
  "/meshsub/1.1.0": "gossip",
  "/meshsub/1.2.0": "gossip",
};

/** Whether the peer at the other end of a connection may open a stream of a service. */
export type Permits = (connection: Connection, act: ServiceAct) => boolean;

/** A protocol without a row was to be served. */
export class UnjudgedProtocol extends Error {
  override readonly name = "UnjudgedProtocol";
  /** The protocol. */
  readonly protocol: string;

  constructor(protocol: string) {
    super(`Cannot serve ${protocol}: no act stands for it (transport/libp2p/served_protocols.ts)`);
    this.protocol = protocol;
  }
}

/** Puts the verdict in front of a protocol's handler. The stream of a peer that may not open it is reset before a byte was read. */
export function judged(protocol: string, handler: StreamHandler, permits: Permits): StreamHandler {
  const act = Object.hasOwn(rows, protocol) ? rows[protocol] : undefined;
  if (act === undefined) throw new UnjudgedProtocol(protocol);
  return (stream: Stream, connection: Connection) => {
    if (permits(connection, act)) return handler(stream, connection);
    stream.abort(new Error("not authorized"));
  };
}
