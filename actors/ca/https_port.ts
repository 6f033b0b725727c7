/**
 * The CA's HTTPS port: for members, and for those who are none yet. Everything is bounded: connections, time and bytes.
 *
 * TLS 1.3 alone, without `ca`: client certificates are asked for and evaluated with each request, by the CA. The options go to the
 * server itself, not in a ready context: Node ignores that one and sends tickets.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { constants } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import { createServer as createTcpServer, type Server as TcpServer, type Socket } from "node:net";
import { setImmediate } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { Data, Effect, Result, type Scope } from "effect";
import { Admission, defaultLimits } from "../../transport/core/admission.ts";
import { explainListenFailure } from "../../transport/core/listen_failure.ts";
import { plainAddress } from "../../transport/ip_ranges.ts";
import { peerChain } from "../../transport/libp2p/peer_chain.ts";
import type { CaAnswer, CaRequest } from "./answer.ts";
import { bodyBytesMax } from "./est_bodies.ts";
import type { ServerIdentity } from "./own_certificate.ts";

/** Connections at once; a renewal takes one for a few milliseconds. */
export const httpsConnectionsMax = 512;
/** Connections at once from one address: many nodes may share one. */
export const httpsConnectionsPerAddressMax = 64;

/** Handshakes under way at once from one address. */
export const httpsHandshakesPerAddressMax = 32;

/** Times in milliseconds; Node's own leave a silent client 120 s. */
export interface PortTimes {
  readonly handshakeMs: number;
  readonly headersMs: number;
  readonly requestMs: number;
  readonly idleMs: number;
  /** How often the limits are checked. */
  readonly checkMs: number;
  /** The longest that an answer may take to be read, besides what its bytes need. */
  readonly answerMs: number;
}

/** The times of the CA. */
export const portTimes: PortTimes = {
  handshakeMs: 5_000,
  headersMs: 5_000,
  requestMs: 10_000,
  idleMs: 30_000,
  checkMs: 500,
  answerMs: 10_000,
};
/** A client reads an answer at this rate at least, in bytes a millisecond: a list of 5 MB takes 80 s at most. */
const answerBytesPerMs = 64;
/** Bytes of an answer that are encrypted in one turn of the event loop. */
const sliceBytes = 65_536;
/** Bytes of a request's head: a token and a URL have under 2 kB. */
const headBytesMax = 16_384;

/** The port could not be opened. */
export class PortNotOpened extends Data.TaggedError("PortNotOpened")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot listen for HTTPS on ${this.detail}`;
  }
}

/** What the port needs. */
export interface HttpsPortOptions {
  readonly host: string;
  /** 0 for any. */
  readonly port: number;
  readonly identity: ServerIdentity;
  readonly answer: (request: CaRequest) => Promise<CaAnswer>;
  /** Milliseconds. */
  readonly now: () => number;
  readonly times?: PortTimes;
}

/** An open port. */
export interface HttpsPort {
  readonly port: number;
  /** New connections get another certificate; those that exist stay. */
  readonly renew: (identity: ServerIdentity) => void;
  /** Open connections. */
  readonly connections: () => number;
}

/** Checks that a port can be opened: opens it and closes it again. Connections are closed before a byte of them is read. Port 0 can. */
export function checkPort(place: Pick<HttpsPortOptions, "host" | "port">): Effect.Effect<void, PortNotOpened> {
  if (place.port === 0) return Effect.void;
  const server = createTcpServer((socket) => socket.destroy());
  const closed = Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)));
  return Effect.uninterruptible(Effect.andThen(opened(server, place), closed));
}

/** Opens a port on a server. */
function opened<A extends TcpServer>(
  server: A,
  { host, port }: Pick<HttpsPortOptions, "host" | "port">,
): Effect.Effect<A, PortNotOpened> {
  return Effect.callback((resume) => {
    server.on("error", ({ code = "", message }: Error & { readonly code?: string }) => {
      const why = explainListenFailure({ code, detail: message, port, anyAddress: `0.0.0.0:${port}` });
      const place = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
      resume(Effect.fail(new PortNotOpened({ detail: `${place} (listen_https): ${why}` })));
    });
    server.listen(port, host, () => resume(Effect.succeed(server)));
  });
}

/** Listens until the scope closes; then every connection ends. */
export function openHttpsPort(options: HttpsPortOptions): Effect.Effect<HttpsPort, PortNotOpened, Scope.Scope> {
  const sockets = new Set<Socket>();
  const acquire = Effect.suspend(() => opened(makeServer(options, sockets), options));
  const release = (server: Server) =>
    Effect.sync(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
  return Effect.map(Effect.acquireRelease(acquire, release), (server) => {
    const address = server.address();
    return {
      port: typeof address === "object" && address !== null ? address.port : options.port,
      renew: (identity) => server.setSecureContext(tlsOptions(identity)),
      connections: () => sockets.size,
    };
  });
}

function tlsOptions({ certPem, keyPem }: ServerIdentity) {
  return {
    cert: certPem,
    key: keyPem,
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const;
}

function makeServer(options: HttpsPortOptions, sockets: Set<Socket>): Server {
  const { times = portTimes } = options;
  const server = createServer({
    ...tlsOptions(options.identity),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: times.handshakeMs,
    headersTimeout: times.headersMs,
    requestTimeout: times.requestMs,
    keepAliveTimeout: times.idleMs,
    connectionsCheckingInterval: times.checkMs,
    maxHeaderSize: headBytesMax,
  });
  server.maxConnections = httpsConnectionsMax;
  const leaves = new WeakMap<Socket, Uint8Array | undefined>();
  const responses = new WeakMap<Socket, ServerResponse>();
  admit(server, sockets, options.now);
  server.on("secureConnection", (socket: TLSSocket) => {
    socket.on("error", () => {});
    leaves.set(socket, leafOf(socket));
  });
  server.on("tlsClientError", (_error: Error, socket: TLSSocket) => socket.destroy());
  server.on("clientError", (_error: Error, socket: Socket) => socket.destroy());
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    // A pipelined request. An earlier one is answered when its answer is written: its client may read that before "finish".
    if (responses.get(socket)?.writableEnded === false) return void socket.destroy();
    responses.set(socket, response);
    const handled = handle(options, leaves.get(socket), request, response);
    handled.catch(() => response.destroy());
  });
  return server;
}

/** Counts connections by address; one over a limit is closed before a byte of it is read. */
function admit(server: Server, sockets: Set<Socket>, now: () => number): void {
  const admission = new Admission({
    ...defaultLimits,
    connectionsMax: httpsConnectionsMax,
    connectionsPerAddressMax: httpsConnectionsPerAddressMax,
    pendingPerAddressMax: httpsHandshakesPerAddressMax,
  });
  // The socket under TLS and the one over it are two objects; both have the peer's port.
  const pending = new Map<string, () => void>();
  const keyOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => {});
    const host = plainAddress(socket.remoteAddress ?? "");
    const admitted = admission.admit(`/${host.includes(":") ? "ip6" : "ip4"}/${host}`, now());
    if (Result.isFailure(admitted)) return void socket.destroy();
    const { opened, release, onEvicted } = admitted.success;
    const key = keyOf(socket);
    sockets.add(socket);
    pending.set(key, opened);
    onEvicted(() => socket.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      if (pending.get(key) === opened) pending.delete(key);
      release();
    });
  });
  server.on("secureConnection", (socket: TLSSocket) => {
    const key = keyOf(socket);
    pending.get(key)?.();
    pending.delete(key);
  });
}

/** The leaf that the client showed. Where the runtime cannot read it, it counts as none. */
function leafOf(socket: TLSSocket): Uint8Array | undefined {
  try {
    return peerChain(socket)[0];
  } catch {
    return undefined;
  }
}

async function handle(
  { answer, times = portTimes }: HttpsPortOptions,
  certificate: Uint8Array | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readBody(request);
  if (body === undefined) {
    return await reply(request, response, { status: 413, headers: { connection: "close" }, body: "" }, times);
  }
  await setImmediate(); // each request has a turn of its own
  if (request.socket.destroyed) return;
  const { authorization, "if-none-match": ifNoneMatch } = request.headers;
  const answered = await answer({
    method: request.method ?? "",
    path: (request.url ?? "").split("?", 1)[0]!,
    authorization,
    ifNoneMatch,
    body,
    certificate,
    session: (request.socket as TLSSocket).isSessionReused() ? "resumed" : "new",
    address: plainAddress(request.socket.remoteAddress ?? ""),
  });
  await reply(request, response, answered, times);
}

/** The body; undefined where it is too long. */
function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const parts: Uint8Array[] = [];
    let size = 0;
    if (Number(request.headers["content-length"] ?? 0) > bodyBytesMax) return resolve(undefined);
    request.on("data", (part: Uint8Array) => {
      size += part.length;
      if (size > bodyBytesMax) return resolve(undefined);
      parts.push(part);
    });
    request.on("end", () => resolve(Buffer.concat(parts)));
    request.on("error", reject);
    request.on("close", () => reject(new Error("the request broke off")));
  });
}

/** Writes an answer with its length: strongSwan reads no chunks. A client that does not read it is cut off. */
async function reply(
  { socket }: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: CaAnswer,
  times: PortTimes,
): Promise<void> {
  if (socket.destroyed) return; // neither "close" comes any more
  const bytes = typeof body === "string" ? Buffer.from(body, "utf8") : body;
  const timer = setTimeout(() => response.destroy(), times.answerMs + bytes.length / answerBytesPerMs);
  const stop = () => {
    clearTimeout(timer);
    socket.off("close", stop);
  };
  response.on("close", stop);
  // On Deno the end of a connection does not close responses that wait for the one before them.
  socket.on("close", stop);
  const length = status === 304 ? {} : { "content-length": String(bytes.length) };
  response.writeHead(status, { "x-content-type-options": "nosniff", ...length, ...headers });
  if (status === 413) response.on("finish", () => response.socket?.destroySoon());
  let from = 0;
  for (; bytes.length - from > sliceBytes; from += sliceBytes) {
    const isDrained = response.write(bytes.subarray(from, from + sliceBytes));
    if (!(await (isDrained ? setImmediate(true) : drained(response)))) return;
  }
  response.end(bytes.subarray(from));
}

/** Waits until a client has read what was written; false where the connection ends. */
function drained(response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve(false);
    const settle = (isDrained: boolean) => {
      response.off("drain", onDrain);
      response.off("close", onClose);
      resolve(isDrained);
    };
    const onDrain = () => settle(true);
    const onClose = () => settle(false);
    response.on("drain", onDrain);
    response.on("close", onClose);
  });
}
