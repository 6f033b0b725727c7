/**
 * The network as a job sees it: the port behind the bridge and under the parameter server. `job_network.ts` speaks it over a
 * transport actor; a test or a simulation puts something else there.
 *
 * @module
 */
import type { Effect, Scope } from "effect";
import type { PeerText, StreamHandle, StreamProtocol, TransportError } from "../../transport/port.ts";
import type { MessageProtocol, ProtocolMessages } from "../../transport/protocols/messages.ts";

/** Who may push files to a job while it receives. */
export interface ReceiveOptions {
  /** PeerIDs; `undefined` lets every peer in that got through the gate. */
  readonly peers: readonly PeerText[] | undefined;
  /** Accepted streams that may wait to be taken; one over it is rejected. {@linkcode waitingStreamsMax} by default. */
  readonly waitingMax?: number;
}

/** Accepted streams that wait to be taken, at most: bounds what pushers can make a job hold open. */
export const waitingStreamsMax = 16;

/** A running receive. It ends with the scope it was opened in: what still waits then is reset. */
export interface PushReceiver {
  /** The next accepted stream, oldest first. Fails with `stopped` when the transport went away. */
  readonly next: Effect.Effect<StreamHandle, TransportError>;
  /** Replaces the set of peers: a stream of a peer left out is rejected from now on. */
  allow(peers: readonly PeerText[] | undefined): void;
}

/** What a job may ask of the network. Interrupting an Effect cancels what it asked for. */
export interface JobNetwork {
  /** One request and its response. `timeoutMs` ends it with `timed-out`. */
  request<P extends MessageProtocol>(
    peer: PeerText,
    protocol: P,
    message: ProtocolMessages[P]["request"],
    timeoutMs: number,
  ): Effect.Effect<ProtocolMessages[P]["response"], TransportError>;
  /** Opens a raw stream to a peer. */
  openStream(
    peer: PeerText,
    protocol: StreamProtocol,
    timeoutMs?: number,
  ): Effect.Effect<StreamHandle, TransportError>;
  /** Takes pushes from now until the scope closes. Push is offered to the network only while someone receives. */
  receive(options: ReceiveOptions): Effect.Effect<PushReceiver, never, Scope.Scope>;
}
