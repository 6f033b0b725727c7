/**
 * Turns attempts over a limit away at the socket, before libp2p has made a connection of it: what floods must cost little.
 * What is let through here is still admitted, or not, when its gate is born.
 *
 * @module
 */
import { isIPv4, isIPv6, type Socket } from "node:net";
import type { Listener, Transport } from "@libp2p/interface";
import type { AddressText } from "./port.ts";

/** Whether an attempt from this address is turned away; whoever answers has counted and told it. */
export type TurnsAway = (address: AddressText) => boolean;

/** What a listener of `@libp2p/tcp` keeps: it takes sockets from this server's event. */
interface Server {
  listeners(event: "connection"): ((socket: Socket) => void)[];
  removeAllListeners(event: "connection"): unknown;
  on(event: "connection", listener: (socket: Socket) => void): unknown;
}

/**
 * The other end of a socket as a multiaddr; undefined where the socket has none any more. An IPv4 address in IPv6's clothes
 * (RFC 4291 §2.5.5.2) is an IPv4 address, as it is for libp2p.
 */
export function addressOf({ remoteAddress, remotePort }: Pick<Socket, "remoteAddress" | "remotePort">) {
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  const [host = ""] = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, "").split("%");
  if (isIPv4(host)) return `/ip4/${host}/tcp/${remotePort}`;
  return isIPv6(host) ? `/ip6/${host}/tcp/${remotePort}` : undefined;
}

/**
 * Gives the listeners of a TCP transport a look at each socket before libp2p has one.
 *
 * @param make `tcp()`, as `createLibp2p` takes it.
 */
export function turningAway<Components>(
  make: (components: Components) => Transport,
  turnsAway: TurnsAway,
): (components: Components) => Transport {
  return (components) => {
    const transport = make(components);
    const createListener = transport.createListener.bind(transport);
    return Object.assign(transport, {
      createListener: (options: Parameters<typeof createListener>[0]) => {
        const listener = createListener(options);
        lookFirst(serverOf(listener), turnsAway);
        return listener;
      },
    });
  };
}

function serverOf(listener: Listener): Server {
  const { server } = listener as Partial<{ server: Server }>;
  if (server?.listeners("connection").length !== 1) {
    throw new Error("Cannot find the server of a TCP listener in libp2p: it was moved");
  }
  return server;
}

/** Whoever throws over an attempt has turned it away: in a socket's event it would end the process. */
function isTurnedAway(turnsAway: TurnsAway, address: AddressText): boolean {
  try {
    return turnsAway(address);
  } catch {
    return true;
  }
}

function lookFirst(server: Server, turnsAway: TurnsAway): void {
  const [goOn] = server.listeners("connection");
  server.removeAllListeners("connection");
  server.on("connection", (socket) => {
    const address = addressOf(socket);
    if (address === undefined || !isTurnedAway(turnsAway, address)) return goOn?.(socket);
    socket.on("error", () => {}); // it is nobody's any more
    socket.resetAndDestroy();
  });
}
