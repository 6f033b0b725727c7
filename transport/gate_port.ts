/**
 * The gate port: how the transport's core asks the gate of a connection, and what the gate reports.
 *
 * @module
 */
import type { Result } from "effect";
import type { PeerIdentity } from "../pki/path.ts";
import type { Refusal } from "../pki/refusal.ts";
import type { TrustSnapshot } from "../pki/trust.ts";
import type { AddressText, NodeIdentity, PeerText } from "./node_identity.ts";

/** Why a connection ended. The gate records which side closed: libp2p reports `local` at both ends. */
export type CloseReason =
  | { readonly type: "by-us"; readonly detail: string }
  | { readonly type: "by-them" }
  | { readonly type: "trust.changed"; readonly refusal: Refusal }
  | { readonly type: "expired"; readonly refusal: Refusal }
  | { readonly type: "lost"; readonly detail: string };

/** The phase of a gate. `refused` and `closed` are final. */
export type GatePhase =
  | "admitting"
  | "securing"
  | "verifying"
  | "opening"
  | "established"
  | "reverifying"
  | "refused"
  | "closed";

/** The input of a gate. */
export interface GateInput {
  /** Identifier, for the log. */
  readonly id: string;
  /** Who dialled. */
  readonly direction: "inbound" | "outbound";
  /** The peer's address, or the relay's where the connection is relayed. */
  readonly address: AddressText;
  /** The PeerID that was dialled, where one was named. */
  readonly expectedPeer: PeerText | undefined;
  /** What admission control decided before any byte was read. */
  readonly admission: Result.Result<unknown, Refusal>;
  /** The trust that the peer is checked against. */
  readonly snapshot: TrustSnapshot;
  /** What we show the peer: the connection ends when either end's certificate does. */
  readonly own: Pick<NodeIdentity, "name" | "notAfter">;
  /** From its creation to its verdict, in milliseconds. */
  readonly deadlineMs: number;
}

/** What the connection table sends a gate. Delivery is synchronous: after `send` returns, `phase` is the new one. */
export type GateCommand =
  /** TLS begins on the raw connection. */
  | { readonly type: "connection.securing" }
  /** The TLS handshake is complete: version such as `TLSv1.3`, and the chain that the peer sent, leaf first, as DER. */
  | { readonly type: "tls.secured"; readonly version: string; readonly chain: readonly Uint8Array[] }
  /** TLS failed, as this refusal. */
  | { readonly type: "tls.failed"; readonly refusal: Refusal }
  /** The wire opened the connection: the multiplexer is agreed on. */
  | { readonly type: "connection.opened" }
  /** The connection ended; `detail` for the log. */
  | { readonly type: "connection.closed"; readonly by: "us" | "them" | "lost"; readonly detail: string }
  /** The wire gave up while the multiplexer was negotiated. */
  | { readonly type: "opening.failed"; readonly refusal: Refusal }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  /** This node wants the connection closed. */
  | { readonly type: "close"; readonly reason: string };

/** What a gate reports. */
export type GateEvent =
  | { readonly type: "gate.verified"; readonly identity: PeerIdentity }
  | { readonly type: "gate.established"; readonly identity: PeerIdentity }
  | { readonly type: "gate.refused"; readonly refusal: Refusal }
  /** An established (or opening) connection must be, or was, closed. The transport closes it if it is still open. */
  | { readonly type: "gate.closed"; readonly reason: CloseReason };

/** A running gate, seen from the transport. */
export interface Gate {
  /** Identifier, for the log. */
  readonly id: string;
  /** Its phase. */
  readonly phase: GatePhase;
  /** Why it refused, once it did. */
  readonly refusal: Refusal | undefined;
  /** Who the peer is, once it was verified. */
  readonly identity: PeerIdentity | undefined;
  /**
   * When the first certificate of the path ends, or what we showed the peer, in milliseconds since the epoch; undefined until
   * the peer was verified.
   */
  readonly expiresAt: number | undefined;
  /** What the leaf claims, verified or not, once it was read: the line of a refusal names the peer that was refused. */
  readonly presented?: { readonly name: string; readonly id: PeerText } | undefined;
  /** Reports what happened to its connection. */
  send(command: GateCommand): void;
  /** Calls `listener` for everything that the gate reports from now on. Returns how to stop that. */
  listen(listener: (event: GateEvent) => void): () => void;
  /** Ends its actor. */
  stop(): void;
}

/** Makes the gate of a connection. The node hands it to the transport, closed over the supervisor. */
export type MakeGate = (input: GateInput) => Gate;
