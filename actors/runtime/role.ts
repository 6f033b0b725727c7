/**
 * The interface between `node.ts` and the machines of gateway, scheduler, worker and data node: a role's input, its events
 * and its output.
 *
 * @module
 */
import type { ActorRef, Snapshot } from "xstate";
import type { ConnectedMember } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText, ReplyTo, TransportAsk, TransportFact } from "../../transport/port.ts";
import type { ParentRef } from "./parent.ts";
import type { Ports } from "./ports.ts";

/** Signs with a node's own key. The signed bytes must name their own purpose (`transport/protocols/grant.ts`). */
export type Sign = (bytes: Uint8Array) => Uint8Array;

/** The transport as a machine sees it: an actor that takes asks. */
export type TransportRef = ActorRef<Snapshot<unknown>, TransportAsk>;

/** The events that a role sends to its node. */
export type RoleFact =
  /** The level at which a worker confines its executors. The node tells it to peers that probe. */
  | { readonly type: "role.cell"; readonly level: string }
  /** A role refused a member what it asked for. */
  | Extract<TransportFact, { type: "peer.refused" }>;

/** A role's input besides its configuration. */
export interface RoleInput<Config> {
  readonly config: Config;
  readonly ports: Ports;
  readonly transport: TransportRef;
  /** The node; undefined where the role runs without one. */
  readonly parent?: ParentRef<RoleFact> | undefined;
  /** This node's own PeerID. */
  readonly self: PeerText;
  /** Signs grants with the node's own key (`data/grant.ts`); undefined where that key cannot. */
  readonly sign?: Sign | undefined;
  /** Members that were connected when the role started. A role that needs to know who is follows the facts from there. */
  readonly members: readonly ConnectedMember[];
}

/** For a role that continues under a previous key: a member connected with the node under its present one. */
export interface MemberConnected {
  readonly type: "member.connected";
  readonly identity: PeerIdentity;
}

/** The events that a role receives: facts of the transport, commands of the node, and that the node joined again. */
export type RoleEvent =
  | TransportFact
  | MemberConnected
  /** The node lost its gateways and found one again: a role may have to repeat its announcements. */
  | { readonly type: "rejoined" }
  /** Finish or give up running work, then end. The node waits for a limited time. */
  | { readonly type: "role.drain"; readonly reason?: string }
  /**
   * The node has another key now, and this role continues under the previous one: start nothing new, finish running work,
   * then end. `role.drain` follows after `withinMs`.
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
