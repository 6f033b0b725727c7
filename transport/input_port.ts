/**
 * What a transport is made with.
 *
 * @module
 */
import type { MemberRole } from "../pki/certificate.ts";
import type { TrustSnapshot } from "../pki/trust.ts";
import type { Rule } from "./authorization/authorize.ts";
import type { MakeGate } from "./gate_port.ts";
import type { AddressText, NodeIdentity } from "./node_identity.ts";

/** Limits on connections. Each has its default, with its source, in `admission.ts`. */
export interface TransportLimits {
  /** Handshakes under way, in all and from one address. */
  readonly pendingMax: number;
  /** Handshakes of one address at once. */
  readonly pendingPerAddressMax: number;
  /** Established connections, in all, from one address and of one PeerID. */
  readonly connectionsMax: number;
  /** Connections of one address at once. */
  readonly connectionsPerAddressMax: number;
  /** Connections of one peer at once. */
  readonly connectionsPerPeerMax: number;
  /** Handshakes a second from one address (token bucket). */
  readonly handshakesPerSecond: number;
  /** Handshakes of one address at once. */
  readonly handshakesBurst: number;
}

/** What happens to connections that were made with a previous certificate or key. */
export interface RotationPolicy {
  /** `expiry`: connections live until the previous certificate ends; `time`: for `drainMs` at most. */
  readonly drain: "expiry" | "time";
  /** In milliseconds. Connections of a previous key never live longer than this, whatever `drain` is. */
  readonly drainMs: number;
}

/** The input of a transport actor. */
export interface TransportInput {
  /** The node's role. */
  readonly role: MemberRole;
  /** Key and certificate at the beginning. */
  readonly identity: NodeIdentity;
  /** The trust at the beginning. */
  readonly snapshot: TrustSnapshot;
  /** Makes the gate of each connection. */
  readonly makeGate: MakeGate;
  /** The operator's rules at the beginning; none by default. */
  readonly rules?: readonly Rule[];
  /** Multiaddrs to listen on. */
  readonly listenAddresses: readonly AddressText[];
  /** Announced in addition to what is listened on. */
  readonly externalAddresses: readonly AddressText[];
  /** Gateways: dialled by the node, relayed through where `relay` is `client`. Canonical text, with or without `/p2p/…`. */
  readonly gatewayAddresses: readonly AddressText[];
  /** Addresses of peers inside these ranges are not taken from the network, nor announced, nor dialled. */
  readonly excludeCidr: readonly string[];
  /** What happens to connections that were made with a previous certificate of the same key. */
  readonly rotation: RotationPolicy;
  /** Serves circuits, uses them, or neither. */
  readonly relay: "server" | "client" | "off";
  /** `hybrid`: post-quantum first where the runtime offers it, X25519 always; `classical`: X25519. */
  readonly keyExchange: "hybrid" | "classical";
  /** From a gate's creation to its verdict, in milliseconds. */
  readonly handshakeTimeoutMs: number;
  /** Limits on connections and handshakes. */
  readonly limits: TransportLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Evenly spread in [0, 1). */
  readonly random: () => number;
  /** Makes identifiers. */
  readonly uuid: () => string;
}
