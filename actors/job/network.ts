/**
 * The network as a job sees it: the port behind the bridge and the parameter server. `job_network.ts` implements it over a
 * transport actor; tests and simulations have other implementations.
 *
 * @module
 */
import type { Effect, Scope } from "effect";
import type { PeerText, StreamHandle, StreamProtocol, TransportError } from "../../transport/port.ts";
import type { MessageProtocol, ProtocolMessages, TrainingKey } from "../../transport/protocols/messages.ts";

/** The peers that may push files to a job while it receives. */
export interface ReceiveOptions {
  /** PeerIDs; `undefined` accepts every peer that the gate accepted. */
  readonly peers: readonly PeerText[] | undefined;
  /** Accepted streams that may wait to be taken; one more is rejected. {@linkcode waitingStreamsMax} by default. */
  readonly waitingMax?: number;
  /** The training whose labelled pushes are taken; undefined takes none with a label. */
  readonly training?: TrainingKey | undefined;
  /** The round whose labelled pushes are taken; undefined takes each. */
  readonly round?: number | undefined;
}

/** Most accepted streams that wait to be taken: bounds the streams that pushers can make a job hold open. */
export const waitingStreamsMax = 16;

/** A running receive. It ends with the scope that it was opened in, which resets waiting streams. */
export interface PushReceiver {
  /** The next accepted stream, oldest first. Fails with `stopped` when the transport ended. */
  readonly next: Effect.Effect<StreamHandle, TransportError>;
  /** Replaces the set of peers and the round: another stream is rejected from now on. */
  allow(peers: readonly PeerText[] | undefined, round?: number): void;
  /** Replaces the peers whose connections are kept: those that it began with. */
  keep(peers: readonly PeerText[]): void;
  /** A peer has another job from now on. */
  forget(peer: PeerText): void;
}

/** The protocols to negotiate for a stream, the preferred one first. */
export type ProposedProtocols = readonly [protocol: StreamProtocol, fallback?: StreamProtocol];

/** The network of a job. Interrupting an Effect cancels its request. */
export interface JobNetwork {
  /** The training that the job belongs to: set by its worker, undefined where its scheduler names none. */
  readonly training?: TrainingKey | undefined;
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
    protocols: ProposedProtocols,
    timeoutMs?: number,
  ): Effect.Effect<StreamHandle, TransportError>;
  /** Takes pushes from now until the scope closes. The push protocols are served only while a job receives. */
  receive(options: ReceiveOptions): Effect.Effect<PushReceiver, never, Scope.Scope>;
}
