/**
 * The parent of an actor, as a typed input. xstate's `sendParent` takes any event and throws where there is no parent; an
 * actor that gets its parent as input can send it these events only, and its parent takes their type with
 * {@linkcode EventsOf} of `effect_actor.ts`.
 *
 * @module
 */
import type { ActorRef, EventObject, Snapshot } from "xstate";

/** An actor that receives `Event`. */
export type ParentRef<Event extends EventObject> = ActorRef<Snapshot<unknown>, Event>;

/** The part of an actor's input that names its parent. */
export interface HasParent<Event extends EventObject> {
  /** Receives the actor's events. */
  readonly parent: ParentRef<Event>;
}
