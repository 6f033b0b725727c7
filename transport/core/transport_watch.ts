/**
 * How a caller looks on at a transport without being its parent.
 *
 * @module
 */
import type { PeerText, TransportFact } from "../port.ts";
import type { Message } from "../protocols/messages.ts";
import type { Session } from "./session.ts";

/** What looks on at a transport; a simulation does. */
export interface TransportWatch {
  /** A session began. */
  session?(session: Session): void;
  /** A fact of a session is delivered, to the parent or where a retiring transport sends it. */
  fact?(fact: TransportFact, session: Session | undefined): void;
  /** An ask is answered. */
  asked?(answer: unknown): void;
  /** A request is answered here; `self` tells the transports of a process apart. */
  answer?(message: Message, self: PeerText): void;
}
