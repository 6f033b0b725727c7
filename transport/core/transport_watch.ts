/**
 * How a caller looks on at a transport without being its parent.
 *
 * @module
 */
import type { TransportFact } from "../port.ts";
import type { Message } from "../protocols/messages.ts";
import type { RequestTraces } from "./request_traces.ts";
import type { Session } from "./session.ts";

/** What looks on at a transport: a simulation does, and traces. */
export interface TransportWatch {
  /** A session began. */
  session?(session: Session): void;
  /** A fact of a session is delivered, to the parent or where a retiring transport sends it. */
  fact?(fact: TransportFact, session: Session | undefined): void;
  /** An ask is answered. */
  asked?(answer: unknown): void;
  /** A role answers a request. `session` tells the transports of a process apart: two of them have one PeerID when a key returns. */
  answer?(message: Message, session: Session): void;
  /** Follows requests. */
  readonly requests?: RequestTraces;
}
