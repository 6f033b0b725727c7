/**
 * A member that keeps to no rule: a libp2p node with a valid certificate that sends any bytes on any protocol.
 *
 * @module
 */
import type { Connection, MessageStream, Stream, StreamMuxerFactory } from "@libp2p/interface";
import { setImmediate } from "node:timers";
import { identify } from "@libp2p/identify";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { Result } from "effect";
import { createLibp2p } from "libp2p";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import { defaultFrameLimits } from "../../../transport/libp2p/frame_guard.ts";
import { makeMtlsSecurity } from "../../../transport/libp2p/mtls_security.ts";
import { libp2pKey } from "../../../transport/libp2p/key.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";
import type { NodeIdentity } from "../../../transport/port.ts";
import { encodeMessage } from "../../../transport/protocols/mod.ts";

/** What a raw member is made with. */
interface RawMemberInit {
  readonly identity: NodeIdentity;
  readonly trustPem: string;
  /** Its own address: each attack comes from others, so that limits of an address hold for itself alone. */
  readonly from: string;
  /** Whether it listens, for peers that dial it. */
  readonly listens?: boolean;
  /** Services of libp2p in addition. */
  readonly services?: object;
}

const unlimited = 1_000_000;

/** What lies below the muxer of a stream. */
const wires = new WeakMap<Stream, MessageStream>();

/** Remembers what lies below each stream that is opened here. */
function tellingWires(factory: StreamMuxerFactory): StreamMuxerFactory {
  return {
    protocol: factory.protocol,
    createStreamMuxer: (wire) => {
      const muxer = factory.createStreamMuxer(wire);
      const { createStream } = muxer;
      muxer.createStream = async (options) => {
        const stream = await createStream.call(muxer, options);
        wires.set(stream, wire);
        return stream;
      };
      return muxer;
    },
  };
}

/** The wire below a stream of a raw member: frames of the muxer can be written to it that no stream sends. */
export function wireBelow(stream: Stream): MessageStream {
  const wire = wires.get(stream);
  if (wire === undefined) throw new Error("Cannot reach the wire: the stream was not opened by a raw member");
  return wire;
}

/** A running raw member. */
export class RawMember {
  readonly peer: string;
  readonly #libp2p: Awaited<ReturnType<typeof createLibp2p>>;

  private constructor(peer: string, libp2p: Awaited<ReturnType<typeof createLibp2p>>) {
    this.peer = peer;
    this.#libp2p = libp2p;
  }

  /** Starts one. */
  static async start({ identity, trustPem, from, listens = false, services = {} }: RawMemberInit): Promise<RawMember> {
    const made = makeTrustSnapshot({ trustPem, policy: defaultPolicy, generation: 1, at: new Date() });
    const security = makeMtlsSecurity({
      identity: () => identity,
      snapshot: Result.getOrThrow(made).snapshot,
      makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
      keyExchange: "classical",
      deadlineMs: 30_000,
      frames: { ...defaultFrameLimits, perSecondUs: unlimited * 1_000, burstUs: unlimited * 1_000 },
      limits: { ...defaultLimits, connectionsPerPeerMax: unlimited, handshakesPerSecond: unlimited },
      now: Date.now,
    });
    const libp2p = await createLibp2p({
      privateKey: await libp2pKey(identity),
      logger: silentLogger,
      addresses: { listen: listens ? [`/ip4/${from}/tcp/0`] : [] },
      transports: [tcp({ dialOpts: { localAddress: from } as object })],
      connectionEncrypters: [security.encrypter],
      streamMuxers: [() => tellingWires(yamux({ streamOptions: { maxStreamWindowSize: 2 * 1_048_576 } })())],
      connectionGater: { ...security.gater, denyDialMultiaddr: () => false },
      connectionManager: { reconnectRetries: 0, maxParallelDials: 64, maxDialQueueLength: 10_000 },
      connectionMonitor: { enabled: false },
      services: { identify: identify(), ping: ping(), ...services }, // the DHT takes only peers that answer pings
    });
    return new RawMember(identity.peer, libp2p);
  }

  /** Its addresses. */
  get addresses(): readonly string[] {
    return this.#libp2p.getMultiaddrs().map((address) => address.toString());
  }

  /** Its open connections with a peer. */
  connectionsWith(peer: string): readonly Connection[] {
    return this.#libp2p.getConnections().filter(({ remotePeer }) => remotePeer.toString() === peer);
  }

  /** Opens one more connection. Throws where it is refused. */
  connect(address: string): Promise<Connection> {
    return this.#libp2p.dial(multiaddr(address), { force: true });
  }

  /** Takes the streams of a protocol that others open; identify tells that it does. */
  serve(protocol: string, takes: (stream: Stream, connection: Connection) => void): Promise<void> {
    const options = { maxInboundStreams: 10_000, force: true as const };
    return this.#libp2p.handle(protocol, (stream, connection) => takes(stream, connection), options);
  }

  async stop(): Promise<void> {
    for (const connection of this.#libp2p.getConnections()) connection.abort(new Error("it leaves"));
    await this.#libp2p.stop();
  }
}

/** What became of a stream. */
export interface StreamFate {
  readonly stream: Stream;
  /** Bytes that came back. */
  received: number;
  /** The first bytes that came back. */
  first: Uint8Array;
  /** It was answered and ended in order, or the other side reset it; undefined while it is open. */
  end: "closed" | "reset" | undefined;
}

/** Opens a stream and follows what becomes of it. Throws where the other side does not speak the protocol. */
export async function openStream(connection: Connection, protocol: string): Promise<StreamFate> {
  const stream = await connection.newStream(protocol, {
    maxOutboundStreams: 10_000,
    signal: AbortSignal.timeout(30_000),
  });
  return follow(stream);
}

/** Follows a stream. */
export function follow(stream: Stream): StreamFate {
  const fate: StreamFate = { stream, received: 0, first: new Uint8Array(), end: undefined };
  stream.addEventListener("message", ({ data }) => {
    if (fate.received === 0) fate.first = new Uint8Array(data.subarray());
    fate.received += data.byteLength;
  });
  stream.addEventListener("close", () => fate.end = stream.status === "closed" ? "closed" : "reset");
  stream.addEventListener("remoteCloseWrite", () => fate.end ??= "closed");
  if (stream.status !== "open") fate.end = "reset"; // before its negotiation was over here
  return fate;
}

/** Sends without an end, as fast as the other side takes it; false where the stream was closed meanwhile. */
export async function pour(stream: MessageStream, pieces: Iterable<Uint8Array>): Promise<boolean> {
  for (const piece of pieces) {
    if (!trySend(stream, piece)) return false;
    if (stream.writableNeedsDrain) await Promise.race([stream.onDrain().catch(() => {}), closed(stream)]);
    else await new Promise<void>((resolve) => setImmediate(resolve)); // other attacks go on
  }
  return stream.status === "open";
}

/** Sends, where the other side has not closed the stream yet; whether it was taken. */
export function trySend(stream: MessageStream, bytes: Uint8Array): boolean {
  try {
    if (stream.status === "open") stream.send(bytes);
  } catch {
    // closed just now
  }
  return stream.status === "open";
}

const closed = (stream: MessageStream) =>
  new Promise<void>((resolve) => stream.addEventListener("close", () => resolve()));

/** Sends a message, ends the stream, and gives the answer; undefined where there is none. */
export async function exchange(
  connection: Connection,
  protocol: string,
  bytes: Uint8Array,
  withinMs = 15_000,
): Promise<Uint8Array | undefined> {
  let stream: Stream;
  try {
    ({ stream } = await openStream(connection, protocol));
  } catch {
    return undefined;
  }
  const pieces: Uint8Array[] = [];
  stream.addEventListener("message", ({ data }) => pieces.push(new Uint8Array(data.subarray())));
  const over = new Promise<void>((resolve) => {
    stream.addEventListener("remoteCloseWrite", () => resolve());
    stream.addEventListener("close", () => resolve());
    setTimeout(resolve, withinMs);
  });
  try {
    stream.send(bytes);
    await stream.close();
  } catch {
    // reset by the other side
  }
  await over;
  if (stream.status === "open" || stream.status === "closing") stream.abort(new Error("enough"));
  return pieces.length === 0 ? undefined : joined(pieces);
}

const health = "/hypha-health/0.0.1";

/** Asks a node for its health: it has read then what was sent over the connection before. False where there was no answer. */
export async function catchesUp(connection: Connection, withinMs = 30_000): Promise<boolean> {
  return await exchange(connection, health, encodeMessage(health, "request", {}), withinMs) !== undefined;
}

/** How often a node is asked whether it runs, and how much of the time between two answers counts, in milliseconds. */
const looks = { everyMs: 50, countMs: 150 };

/** Waits until a node had so much time, in milliseconds: one that stands still answers nothing. */
export async function whileItRuns(connection: Connection, ms: number): Promise<void> {
  for (let had = 0; had < ms;) {
    const from = performance.now();
    if (!await catchesUp(connection)) return;
    await new Promise((resolve) => setTimeout(resolve, looks.everyMs));
    had += Math.min(looks.countMs, performance.now() - from);
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}
