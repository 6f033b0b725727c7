/**
 * What every role's machine is born with, what it hears of the network, and how it ends: the words between `node.ts` and
 * the machines of gateway, scheduler, worker and data node.
 *
 * @module
 */
import type { ActorRef, Snapshot } from "xstate";
import type { PeerText, ReplyTo, TransportAsk, TransportFact } from "../../transport/port.ts";
import type { Ports } from "./ports.ts";

/** Signs with a node's own key. What is signed must say itself what it is about (`transport/protocols/grant.ts`). */
export type Sign = (bytes: Uint8Array) => Uint8Array;

/** The transport, as a machine sees it: something that takes asks. */
export type TransportRef = ActorRef<Snapshot<unknown>, TransportAsk>;

/** What a role is born with, beside its configuration. */
export interface RoleInput<Config> {
  readonly config: Config;
  readonly ports: Ports;
  readonly transport: TransportRef;
  /** This node's own PeerID. */
  readonly self: PeerText;
  /** Signs grants with the node's own key (`data/grant.ts`); undefined where that key cannot. */
  readonly sign?: Sign | undefined;
  /** Who was established when the role started; later ones arrive as facts. */
  readonly peers: readonly PeerText[];
}

/** What a role hears: facts of the transport, that it is to take leave, and that the node joined (again). */
export type RoleEvent =
  | TransportFact
  /** The node lost its gateways and found one again: what was announced may have to be announced again. */
  | { readonly type: "rejoined" }
  /** Finish or give up what is under way, then end. The node waits, but not for ever. */
  | { readonly type: "role.drain"; readonly reason?: string }
  /**
   * The node has another key now, and this role goes on under the former one: begin nothing new, finish what is under way,
   * then end. After `withinMs` comes `role.drain`.
   */
  | { readonly type: "role.retire"; readonly withinMs: number };

/** How a role ended. `failed` makes the program exit with a code other than 0. */
export type RoleOutcome =
  | { readonly type: "finished" }
  | { readonly type: "drained" }
  | { readonly type: "failed"; readonly reason: string };

/**
 * Turns each answer of the transport into an event of the asker's own.
 *
 * @param self The asker.
 * @param make From the answer to the event.
 */
export function answerAs<Answer, Event>(
  self: { send(event: Event): void },
  make: (answer: Answer) => Event,
): ReplyTo<Answer> {
  return { send: (answer) => self.send(make(answer)) };
}
