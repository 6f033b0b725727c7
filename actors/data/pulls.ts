/**
 * Places for the pulls of a data node: which pull gets one, and which waits for one.
 *
 * A pull holds a place until its slice, or its refusal, is written. It counts for its peer until the peer has ended its side too: a peer
 * that leaves streams open takes places from itself alone.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText, TransportFact } from "../../transport/port.ts";

/** Pulls served at once. Each holds a file and two pieces of {@linkcode pieceBytes}. */
export const pullsMax = 64;
/** Pulls of one member at once. A worker with a job on each of eight GPUs needs no more: an executor fetches one slice at a time. */
export const pullsOfPeerMax = 8;
/** Pulls that wait for a place, and those of one member; one more is rejected. */
export const waitingMax = 256;
export const waitingOfPeerMax = 16;
/** A pull that waits longer for a place is rejected, in milliseconds. The transport rejects it after `streamAcceptMs`. */
export const pullWaitMs = 8_000;

/** A pull that a peer offers. */
export type OfferedPull = Extract<TransportFact, { type: "stream.received" }>;

/** A pull that was accepted. */
export interface RunningPull {
  readonly identity: PeerIdentity;
  /** Everything is written. The peer has not ended its side. */
  readonly isWritten: boolean;
}

/** The pulls of a data node. */
export interface Pulls {
  /** By exchange. */
  readonly pulls: Readonly<Record<string, RunningPull>>;
  /** The first of them gets the next place that it may take. */
  readonly waiting: readonly OfferedPull[];
}

/** Whether all places of the node are taken. */
export function isFull({ pulls }: Pick<Pulls, "pulls">): boolean {
  return Object.values(pulls).filter(({ isWritten }) => !isWritten).length >= pullsMax;
}

/** Whether a peer may have one more pull now. */
export function hasPlace({ pulls }: Pick<Pulls, "pulls">, peer: PeerText): boolean {
  const ofPeer = Object.values(pulls).filter(({ identity }) => identity.peer === peer).length;
  return ofPeer < pullsOfPeerMax && !isFull({ pulls });
}

/** Whether one more pull of a peer may wait for a place. */
export function mayWait({ waiting }: Pick<Pulls, "waiting">, peer: PeerText): boolean {
  return waiting.length < waitingMax && waiting.filter((pull) => pull.peer === peer).length < waitingOfPeerMax;
}
