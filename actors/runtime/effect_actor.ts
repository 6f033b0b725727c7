/**
 * Effects as actors. A machine invokes one and receives `effect.done.<name>` or `effect.failed.<name>`; stopping the
 * actor interrupts the Effect. Replaces `fromPromise`, whose completion depends on microtask depth and never replays.
 *
 * The logic carries its events as a type: a machine takes them with {@linkcode EventsOf}, so that a wrong name, value
 * or error does not compile.
 *
 * @module
 */
import { Cause, Data, type Effect, Exit, Result } from "effect";
import {
  type ActorLogic,
  type AnyActorLogic,
  type EventObject,
  fromCallback,
  type InputFrom,
  type Snapshot,
} from "xstate";
import type { ParentRef } from "./parent.ts";
import type { Ports, Services } from "./ports.ts";

/** Sent to the parent when the Effect succeeded. */
export interface EffectDone<Name extends string, A> {
  /** Names the Effect. */
  readonly type: `effect.done.${Name}`;
  /** The Effect's result. */
  readonly value: A;
}

/** Sent to the parent when the Effect failed. */
export interface EffectFailed<Name extends string, E> {
  /** Names the Effect. */
  readonly type: `effect.failed.${Name}`;
  /** The Effect's own error, or {@linkcode EffectDied}. */
  readonly error: E | EffectDied;
}

/** Both events of an Effect actor. */
export type EffectEvent<Name extends string, A, E> = EffectDone<Name, A> | EffectFailed<Name, E>;

/** An Effect threw, or was interrupted from inside: a programmer's mistake, or a resource that the runtime took away. */
export class EffectDied extends Data.TaggedError("EffectDied")<{
  /** The thrown value. */
  readonly cause: unknown;
}> {
  /** The thrown value's own message. */
  override get message(): string {
    return this.cause instanceof Error ? this.cause.message : String(this.cause);
  }
}

/** The input that every Effect actor needs. */
export interface EffectInput {
  /** Runs the Effect. */
  readonly ports: Pick<Ports, "run">;
}

declare const events: unique symbol;

/** Actor logic that sends `Event` to its parent. The property exists in the type only, not at run time. */
export interface Sends<Event extends EventObject> {
  /** Any of the events. */
  readonly [events]: Event;
}

/** Actor logic whose events have a type. Its snapshot does not name its input, so that `provide` takes another logic. */
export type SendingLogic<Event extends EventObject, Input> =
  & ActorLogic<Snapshot<undefined>, EventObject, Input>
  & Sends<Event>;

/** Actor logic that runs an Effect. */
export type EffectLogic<Name extends string, A, E, Input> = SendingLogic<EffectEvent<Name, A, E>, Input>;

/** The events that an actor sends to its parent: those of {@linkcode fromSource}, or of the parent that its input names. */
export type EventOf<Logic> = Logic extends Sends<infer Event> ? Event
  : Logic extends AnyActorLogic ? EventOfParent<InputFrom<Logic>>
  : never;
type EventOfParent<Input> = Input extends { readonly parent?: infer Parent }
  ? Parent extends ParentRef<infer Event> ? Event : never
  : never;

/** The events that a machine receives from its actors, given by name as in `setup({ actors })`. */
export type EventsOf<Actors> = { readonly [Key in keyof Actors]: EventOf<Actors[Key]> }[keyof Actors];

/**
 * xstate's `fromCallback` with typed events.
 *
 * @param start Starts the actor's work and returns how to stop it. Events sent after that are dropped.
 */
export function fromSource<Event extends EventObject, Input>(
  start: (input: Input, send: (event: Event) => void) => () => void,
): SendingLogic<Event, Input> {
  const logic = fromCallback<EventObject, Input>(({ input, sendBack }) => {
    let stopped = false;
    const stop = start(input, (event) => {
      if (!stopped) sendBack(event);
    });
    return () => {
      stopped = true;
      stop();
    };
  });
  return logic as unknown as SendingLogic<Event, Input>; // the only place that adds the type
}

/**
 * Turns an Effect into actor logic.
 *
 * @param name Distinguishes the events of one machine's several Effects.
 * @param make From the actor's input to the Effect.
 */
export function fromEffect<const Name extends string, A, E, Input extends EffectInput>(
  name: Name,
  make: (input: Input) => Effect.Effect<A, E, Services>,
): EffectLogic<Name, A, E, Input> {
  return fromSource<EffectEvent<Name, A, E>, Input>((input, send) =>
    input.ports.run(
      make(input),
      (exit) => send(Exit.isSuccess(exit) ? effectDone(name, exit.value) : effectFailed(name, exit.cause)),
    )
  );
}

/** The event of an Effect that succeeded. */
export function effectDone<Name extends string, A>(name: Name, value: A): EffectDone<Name, A> {
  return { type: `effect.done.${name}`, value };
}

/** The event of an Effect that failed, with its typed error or with the thrown value. */
export function effectFailed<Name extends string, E>(name: Name, cause: Cause.Cause<E>): EffectFailed<Name, E> {
  const failed = Cause.findError(cause);
  const error = Result.isSuccess(failed) ? failed.success : new EffectDied({ cause: Cause.squash(cause) });
  return { type: `effect.failed.${name}`, error };
}
