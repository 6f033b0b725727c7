/**
 * Builds the libp2p node: mutual TLS over TCP, yamux, and the services of this network (`wire`: "Protocols on a
 * connection").
 *
 * @module
 */
import { circuitRelayServer, circuitRelayTransport } from "@libp2p/circuit-relay-v2";
import { dcutr } from "@libp2p/dcutr";
import { type GossipSub, gossipsub, StrictSign } from "@libp2p/gossipsub";
import { type Identify, identify, type IdentifyPush, identifyPush } from "@libp2p/identify";
import type {
  ComponentLogger,
  ConnectionEncrypter,
  ConnectionGater,
  ConnectionProtector,
  Libp2p,
  Logger,
  PeerId,
  StreamMuxerFactory,
} from "@libp2p/interface";
import { type KadDHT, kadDHT } from "@libp2p/kad-dht";
import { type Ping, ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import type { Multiaddr } from "@multiformats/multiaddr";
import { turningAway, type TurnsAway } from "./early_refusal.ts";
import { pingingWithFirstStream } from "./first_ping.ts";
import type { Listening } from "./listening.ts";
import { libp2pKey } from "./key.ts";
import { guardedMuxer } from "./guarded_muxer.ts";
import { limitingMuxer } from "./negotiation_limit.ts";
import { filteringNames } from "./resolved_names.ts";
import { leavingSilent } from "./silent_addresses.ts";
import type { TransportInput } from "../port.ts";
import { reservationsMax, reservationTtlMs } from "../core/admission.ts";
import type { Clock } from "../core/clock.ts";
import { kadProtocol, type WireListener } from "../core/wire.ts";

/** The services of a node. */
export interface NodeServices extends Record<string, unknown> {
  readonly identify: Identify;
  readonly identifyPush: IdentifyPush;
  readonly ping: Ping;
  readonly dht: KadDHT;
  readonly pubsub: GossipSub;
}

/** A libp2p node of this network. */
export type Node = Libp2p<NodeServices>;

/** The protocol's version in identify. */
export const protocolVersion = "/hypha-identify/0.0.1";

/** libp2p's own limits, set out of the way of `admission.ts`: libp2p gives no reason when it applies them. */
const outOfTheWay = 1_000_000;
/**
 * Deadline of an upgrade, of one address and of a dial, in milliseconds: above the listener's own, which is to fire first.
 */
const upgradeSlackMs = 5_000;
/** A stream's window, in bytes: half of what libp2p keeps of a paused stream before it resets it (4 MiB). */
export const streamWindowMax = 2 * 1_048_576;
/** Circuits that one member may have through a gateway at once. */
const circuitsPerPeerMax = 256;
/**
 * Members that a gateway hands each message on to, at most: all that are connected. By default a gossipsub node keeps a dozen, who reach
 * the others; members of this network are linked with their gateways alone.
 */
const gatewayMeshMax = 16_384;
/**
 * Streams of gossip that a peer may have open on a connection, by protocol. A node opens one; a newer one may come while the older
 * is not yet over.
 */
const gossipStreamsMax = 8;
/** Gossip that waits for a peer that does not read it, in bytes. Above it the peer gets no more gossip over that stream. */
const gossipUnreadMaxBytes = 4 * 1_048_576;

/**
 * Streams that a peer may have open on a connection, begun or not: those of the node's protocols, circuits through a relay, and some for
 * libp2p's services. The multiplexer looks for each frame's stream among them.
 */
export const inboundStreamsMax = 512;

/**
 * Streams that a listener may open before libp2p has taken the connection at the dialler; with more the dial fails. Nothing reads them
 * until then, and each holds at most its first window of 256 KiB: 32 MiB together.
 */
export const earlyStreamsMax = 128;

/** Makes the multiplexer of a node. */
export function nodeMuxer(): (components: { readonly logger: ComponentLogger }) => StreamMuxerFactory {
  const streamOptions = { maxStreamWindowSize: streamWindowMax };
  const streams = { maxInboundStreams: inboundStreamsMax, maxEarlyStreams: earlyStreamsMax };
  const limits = { enableKeepAlive: false, ...streams, streamOptions };
  return guardedMuxer(limitingMuxer(pingingWithFirstStream(yamux(limits))));
}

/** Builds a node that is not yet started: listeners are attached first, or early connections would be missed. */
export async function createNode(input: TransportInput, parts: {
  readonly encrypter: (components: { readonly logger: ComponentLogger }) => ConnectionEncrypter;
  readonly gater: ConnectionGater;
  readonly protector: ConnectionProtector;
  readonly addresses: Pick<WireListener, "mayDial" | "isConfigured" | "mayKnow" | "announced">;
  readonly turnsAway: TurnsAway;
  readonly listening: Listening;
  readonly clock: Pick<Clock, "after" | "cancel">;
}): Promise<Node> {
  const { addresses } = parts;
  const mayKnow: MayKnow = (peer, address) => addresses.mayKnow(peer.toString(), address.toString());
  const plainTcp = tcp({ inboundSocketInactivityTimeout: 0, outboundSocketInactivityTimeout: 0 });
  const deadlineMs = input.handshakeTimeoutMs + upgradeSlackMs;
  return await createLibp2p({
    start: false,
    privateKey: await libp2pKey(input.identity),
    nodeInfo: { name: "hypha", version: "0.1.0", userAgent: "hypha/0.1.0" },
    logger: silentLogger,
    addresses: {
      listen: [...input.listenAddresses],
      appendAnnounce: [...input.externalAddresses],
      announceFilter: (own) => {
        const announced = new Set(addresses.announced(own.map((address) => address.toString())));
        return own.filter((address) => announced.has(address.toString()));
      },
    },
    transports: [
      parts.listening.watching(
        turningAway(leavingSilent(filteringNames(plainTcp, addresses), parts.clock), parts.turnsAway),
      ),
      ...(input.relay === "off" ? [] : [circuitRelayTransport()]),
    ],
    connectionEncrypters: [parts.encrypter],
    streamMuxers: [nodeMuxer()],
    connectionGater: parts.gater,
    connectionProtector: () => parts.protector,
    connectionManager: {
      maxConnections: outOfTheWay,
      inboundConnectionThreshold: outOfTheWay,
      maxIncomingPendingConnections: outOfTheWay,
      inboundUpgradeTimeout: deadlineMs,
      addressDialTimeout: deadlineMs,
      dialTimeout: 2 * deadlineMs,
      reconnectRetries: 0, // the node dials its gateways itself
    },
    connectionMonitor: { enabled: false }, // yamux pings; a stream and its negotiation each ten seconds cost a gateway ten times that
    services: servicesOf(input, mayKnow),
  }) as unknown as Node;
}

type MayKnow = (peer: PeerId, address: Multiaddr) => boolean;

function servicesOf(input: TransportInput, mayKnow: MayKnow) {
  const relayServer = {
    relay: circuitRelayServer({
      // Members are verified, and a whole job must be able to run through a relay: no limit on data or time.
      reservations: { maxReservations: reservationsMax, reservationTtl: reservationTtlMs, applyDefaultLimit: false },
      maxInboundHopStreams: circuitsPerPeerMax,
      maxOutboundStopStreams: circuitsPerPeerMax,
    }),
  };
  return {
    identify: identify({ maxInboundStreams: 4, maxOutboundStreams: 4 }),
    identifyPush: identifyPush({
      maxInboundStreams: 2,
      maxOutboundStreams: 8,
      runOnLimitedConnection: true,
      debounce: 1_500,
    }),
    ping: ping({ maxInboundStreams: 8, maxOutboundStreams: 8 }),
    dht: kadDHT({
      protocol: kadProtocol,
      clientMode: input.role !== "gateway",
      initialQuerySelfInterval: 0,
      allowQueryWithZeroPeers: input.role === "gateway",
      peerInfoMapper: (peer) => ({
        ...peer,
        multiaddrs: peer.multiaddrs.filter((address) => mayKnow(peer.id, address)),
      }),
    }),
    pubsub: gossipsub({
      globalSignaturePolicy: StrictSign,
      allowPublishToZeroTopicPeers: false,
      emitSelf: false,
      runOnLimitedConnection: true,
      fallbackToFloodsub: false,
      maxInboundStreams: gossipStreamsMax,
      maxOutboundBufferSize: gossipUnreadMaxBytes,
      ...(input.role === "gateway" ? { Dhi: gatewayMeshMax } : {}),
      // Members are verified, and many share an address: behind a NAT, or behind the relay that brings them. By default the
      // eleventh of an address costs all of them their score, and from the fifteenth on a node ignores every one of them.
      scoreParams: { IPColocationFactorWeight: 0 },
    }),
    ...(input.relay === "off" ? {} : { dcutr: dcutr() }),
    ...(input.relay === "server" ? relayServer : {}),
  };
}

/** libp2p's log lines are dropped: the transport's facts report what matters, and formatting costs time. */
const silent = Object.assign(() => {}, {
  enabled: false,
  trace: () => {},
  error: () => {},
  newScope: () => silent,
}) as unknown as Logger;
/** A logger for libp2p that formats and writes nothing. */
export const silentLogger: ComponentLogger = { forComponent: () => silent };
