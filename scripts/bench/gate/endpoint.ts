/**
 * What is compared: one end of a connection, by each of the ways to authenticate it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { constants } from "node:crypto";
import { connect as connectTcp } from "node:net";
import { connect, createSecureContext, createServer, type TLSSocket } from "node:tls";
import type { Connection, Stream } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import type { MtlsSecurity } from "../../../transport/libp2p/mtls_security.ts";
import { DirectDials } from "../../../transport/libp2p/direct_dials.ts";
import { dialInternalsOf } from "../../../transport/libp2p/node_internals.ts";
import { libp2pKey } from "../../../transport/libp2p/key.ts";
import { nodeMuxer, silentLogger } from "../../../transport/libp2p/node.ts";
import { identityFrom, securityOf, snapshotFrom, unlimited } from "./security.ts";

/** The ways. `ours` has the classical key exchange, `limited` is over its limit from the start. */
export type Way = "ours" | "hybrid" | "plain" | "limited" | "noise" | "tls" | "bare";

/** What an end is made with: all of it goes through a pipe as JSON. */
export interface EndSetup {
  readonly way: Way;
  readonly listens: boolean;
  readonly identity: {
    readonly name: string;
    readonly peer: string;
    readonly certPem: string;
    readonly keyPem: string;
  };
  readonly chain: readonly string[];
  readonly trustPem: string;
  readonly crlsPath: string;
}

/** A connection of any kind. */
export interface Wire {
  /** The connection itself: two wires of one connection would be one handshake counted twice. */
  readonly connection: object;
  /** Sends so many bytes on a stream of its own; ends when the other side has confirmed that it read them all. */
  send(bytes: number): Promise<void>;
  isOpen(): boolean;
  close(): void;
}

/** An end. */
export interface End {
  readonly address: string;
  /**
   * Dials; ends when both sides have verified each other. Dials at the same time need diallers of their own, from 0 to
   * 15: a libp2p node joins its dials of one address into a single connection.
   */
  connect(address: string, dialler?: number): Promise<Wire>;
  /** Takes another revocation list. */
  trust(crlsPath: string): void;
}

const chunk = Buffer.alloc(65_536, 7);
/** What a plain loop writes at once: the fewest waits, and no gain beyond it. */
const bareChunk = Buffer.alloc(1_048_576, 7);
const sink = "/bench/sink/1";
/** Most dials at once. */
const diallers = 16;

/** Makes an end. */
export function makeEnd(setup: EndSetup): Promise<End> {
  return setup.way === "bare" ? bareEnd(setup) : libp2pEnd(setup);
}

async function libp2pEnd(setup: EndSetup): Promise<End> {
  const { way, listens } = setup;
  const identity = identityFrom(setup);
  const securities: MtlsSecurity[] = [];
  const makeNode = async () => {
    const security = way === "noise" || way === "tls" ? undefined : securityOf(setup, identity);
    if (security !== undefined) securities.push(security);
    return await createLibp2p({
      privateKey: await libp2pKey(identity),
      addresses: { listen: listens ? ["/ip4/127.0.0.1/tcp/0"] : [] },
      transports: [security === undefined ? tcp() : security.early(tcp())],
      streamMuxers: [security === undefined ? yamux() : nodeMuxer()],
      connectionEncrypters: [security === undefined ? await theirEncrypter(way) : security.encrypter],
      connectionGater: { ...security?.gater, denyDialMultiaddr: () => false },
      logger: silentLogger,
      connectionManager: {
        maxConnections: unlimited,
        inboundConnectionThreshold: unlimited,
        maxIncomingPendingConnections: unlimited,
        maxParallelDials: unlimited,
        maxDialQueueLength: unlimited,
      },
      connectionMonitor: { enabled: false },
    });
  };
  const nodes = await Promise.all(Array.from({ length: listens ? 1 : diallers }, makeNode));
  const node = nodes[0]!;
  // As the wire of production dials; the others by libp2p's queue.
  const direct = nodes.map((each) => new DirectDials(dialInternalsOf(each), () => true));
  const isOurs = way !== "noise" && way !== "tls";
  const dial = (address: string, dialler: number) =>
    isOurs
      ? direct[dialler]!.dial(address, new AbortController().signal)
      : nodes[dialler]!.dial(multiaddr(address), { force: true });
  await node.handle(sink, swallow, { maxInboundStreams: 1_024 });
  let generation = 1;
  return {
    address: node.getMultiaddrs()[0]?.toString() ?? "",
    // Without the peer's name, which would find the connection that there is.
    connect: async (address, dialler = 0) => wireOf(await dial(address.replace(/\/p2p\/.*$/, ""), dialler)),
    trust: (crlsPath) => {
      const snapshot = snapshotFrom(setup, crlsPath, ++generation);
      for (const security of securities) security.trustChanged(snapshot);
    },
  };
}

/** Loaded only where it is compared: `@libp2p/tls` puts a crypto provider of its own under `@peculiar/x509`. */
async function theirEncrypter(way: Way) {
  if (way === "noise") return (await import("@chainsafe/libp2p-noise")).noise();
  return (await import("@libp2p/tls")).tls();
}

/** Reads a stream to its end and confirms it. */
async function swallow(stream: Stream): Promise<void> {
  for await (const piece of stream) void piece.byteLength;
  stream.send(Buffer.from("."));
  await stream.close();
}

function wireOf(connection: Connection): Wire {
  return {
    connection,
    isOpen: () => connection.status === "open",
    close: () => connection.abort(new Error("enough")),
    send: async (bytes) => {
      const stream = await connection.newStream(sink, { maxOutboundStreams: 1_024 });
      const answered = new Promise<void>((resolve, reject) => {
        stream.addEventListener("message", () => resolve(), { once: true });
        stream.addEventListener("close", () => reject(new Error("closed before its answer")), { once: true });
      });
      for (let left = bytes; left > 0; left -= chunk.length) {
        if (stream.send(chunk.subarray(0, Math.min(left, chunk.length)))) continue;
        await new Promise<void>((resolve) => stream.addEventListener("drain", () => resolve(), { once: true }));
      }
      await Promise.all([stream.close(), answered]);
    },
  };
}

async function bareEnd({ listens, identity, trustPem }: EndSetup): Promise<End> {
  // One context for all dials, and no tickets, as ours has it.
  const context = {
    cert: identity.certPem,
    key: identity.keyPem,
    ca: trustPem,
    minVersion: "TLSv1.3",
    ecdhCurve: "X25519",
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const;
  const secureContext = createSecureContext(context);
  let address = "";
  if (listens) {
    const server = createServer(
      { ...context, allowHalfOpen: true, requestCert: true, rejectUnauthorized: true },
      (socket) => {
        socket.on("error", () => {}).on("data", () => {}).on("end", () => socket.end("."));
        socket.write("."); // only now does the dialler know that it was let in
      },
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    address = String((server.address() as { port: number }).port);
  }
  return {
    address,
    connect: (port) =>
      new Promise((resolve, reject) => {
        const to = { port: Number(port), host: "127.0.0.1", allowHalfOpen: true };
        const socket = connect({ ...to, secureContext, checkServerIdentity: () => undefined });
        socket.on("error", reject);
        socket.once("data", () => resolve(bareWire(socket)));
      }),
    trust: () => {},
  };
}

function bareWire(socket: TLSSocket): Wire {
  return {
    connection: socket,
    isOpen: () => !socket.destroyed,
    close: () => void socket.destroy(),
    send: async (bytes) => {
      const answered = new Promise<void>((resolve) => socket.once("data", () => resolve()));
      for (let left = bytes; left > 0; left -= bareChunk.length) {
        if (socket.write(bareChunk.subarray(0, Math.min(left, bareChunk.length)))) continue;
        await new Promise<void>((resolve) => socket.once("drain", () => resolve()));
      }
      socket.end();
      await answered;
    },
  };
}

/** Connects and waits until the other end closes: by an end or, where it was quick, by a reset. */
export function knock(address: string): Promise<void> {
  const port = Number(/\/tcp\/(\d+)/.exec(address)?.[1]);
  return new Promise((resolve) => {
    connectTcp(port, "127.0.0.1").on("error", () => {}).once("close", () => resolve()).resume();
  });
}
