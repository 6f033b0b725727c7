/**
 * Effects as actors: a machine invokes one, hears `effect.done.<name>` or `effect.failed.<name>`, and stopping the actor
 * interrupts it. Takes the place of `fromPromise`, whose completion depends on microtask depth and so never replays.
 *
 * @module
 */
import { Cause, type Effect, Exit } from "effect";
import { type CallbackActorLogic, type EventObject, fromCallback } from "xstate";
import type { Ports, Services } from "./ports.ts";

/** Said to the parent when the Effect succeeded. */
export interface EffectDone<Name extends string, A> {
  /** Names the Effect. */
  readonly type: `effect.done.${Name}`;
  /** What it succeeded with. */
  readonly value: A;
}

/** Said to the parent when the Effect failed; a defect arrives as `error` too, as it was thrown. */
export interface EffectFailed<Name extends string, E> {
  /** Names the Effect. */
  readonly type: `effect.failed.${Name}`;
  /** What it failed with. */
  readonly error: E;
}

/** Both events of an Effect actor. */
export type EffectSaid<Name extends string, A, E> = EffectDone<Name, A> | EffectFailed<Name, E>;

/** What every Effect actor is given beside its own input. */
export interface EffectInput {
  /** Runs the Effect. */
  readonly ports: Pick<Ports, "run">;
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
): CallbackActorLogic<EventObject, Input> {
  return fromCallback<EventObject, Input>(({ input, sendBack }) => {
    let stopped = false;
    const interrupt = input.ports.run(make(input), (exit) => {
      if (stopped) return;
      sendBack(
        Exit.isSuccess(exit)
          ? { type: `effect.done.${name}`, value: exit.value }
          : { type: `effect.failed.${name}`, error: Cause.squash(exit.cause) },
      );
    });
    return () => {
      stopped = true;
      interrupt();
    };
  });
}
