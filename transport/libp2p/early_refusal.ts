/**
 * Turns attempts over a limit away at the socket, before libp2p has made a connection of it: an attempt of a flood must cost
 * little. The connection's listener still decides about what passes here.
 *
 * @module
 */
import { isIPv4, isIPv6, type Socket } from "node:net";
import type { Transport } from "@libp2p/interface";
import { checkTcp, type ListenerServer, tcpListenerOf } from "./connection_internals.ts";
import type { AddressText } from "../port.ts";

/** Whether an attempt from this address is turned away; the function has counted and reported it then. */
export type TurnsAway = (address: AddressText) => boolean;

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
 * @returns What makes the transport; it throws {@linkcode MovedInternal} where the inside of `@libp2p/tcp` is another.
 */
export function turningAway<Components>(
  make: (components: Components) => Transport,
  turnsAway: TurnsAway,
): (components: Components) => Transport {
  return (components) => {
    const transport = make(components);
    checkTcp(transport);
    const createListener = transport.createListener.bind(transport);
    return Object.assign(transport, {
      createListener: (options: Parameters<typeof createListener>[0]) => {
        const listener = createListener(options);
        lookFirst(tcpListenerOf(listener).server, turnsAway);
        return listener;
      },
    });
  };
}

/** An error counts as a refusal: in a socket's event it would end the process. */
function isTurnedAway(turnsAway: TurnsAway, address: AddressText): boolean {
  try {
    return turnsAway(address);
  } catch {
    return true;
  }
}

function lookFirst(server: ListenerServer, turnsAway: TurnsAway): void {
  const [goOn] = server.listeners("connection");
  server.removeAllListeners("connection");
  server.on("connection", (socket) => {
    const address = addressOf(socket);
    if (address === undefined || !isTurnedAway(turnsAway, address)) return goOn?.(socket);
    socket.on("error", () => {}); // nothing else listens to it any more
    socket.resetAndDestroy();
  });
}
