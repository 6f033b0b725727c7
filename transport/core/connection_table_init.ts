/**
 * What a connection table is made with, and what it reports.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { AddressText, CloseReason, Gate, GateEvent, MakeGate, NodeIdentity, TransportLimits } from "../port.ts";
import type { Clock } from "./clock.ts";
import type { WireConnection } from "./wire.ts";

/** What the table reports. All of it is called synchronously; the receiver defers what it passes on. */
export interface ConnectionTableListener {
  /** An inbound attempt over a limit was turned away without a gate. */
  turnedAway?(address: AddressText, refusal: Refusal): void;
  /** A connection was established; `first` where its member had no other. */
  established?(connection: WireConnection, identity: PeerIdentity, first: boolean): void;
  /**
   * An established connection ended; `last` where its member has no other. `proven` is what the newest trust proved of it, undefined where
   * the connection ended before it was evaluated with that.
   */
  left?(
    connection: WireConnection,
    identity: PeerIdentity,
    reason: CloseReason,
    last: boolean,
    proven: PeerIdentity | undefined,
  ): void;
  /** A connection was refused before it was established. */
  refused?(connection: WireConnection, gate: Gate, refusal: Refusal): void;
  /** Everything that a gate reports, in order. */
  gate?(connection: WireConnection, event: GateEvent): void;
}

/** What a table is made with. */
export interface ConnectionTableInit {
  readonly clock: Clock;
  /** Makes the gate of each connection. */
  readonly makeGate: MakeGate;
  /** The trust at the beginning. */
  readonly snapshot: TrustSnapshot;
  /** The pair that new handshakes use. */
  readonly identity: () => NodeIdentity;
  readonly limits: TransportLimits;
  /** From a gate's creation to its verdict, in milliseconds. */
  readonly handshakeTimeoutMs: number;
  readonly uuid: () => string;
  readonly listener: ConnectionTableListener;
}
