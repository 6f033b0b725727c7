/**
 * What is known of a secured connection from outside: the bytes that went through it, and its end.
 *
 * @module
 */

/** How a connection came to its end, as far as its socket knows. */
export type SocketEnd = "them" | "lost";

/** Bytes of application data that went through TLS. Shared by all connections of a transport. */
export interface Meter {
  /** Octets that came. */
  received: number;
  /** Octets that went. */
  sent: number;
}
