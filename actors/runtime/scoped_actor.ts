/**
 * Things that are held, as actors: a machine invokes one, hears `effect.done.<name>` with what was acquired, and it
 * stays acquired until the actor is stopped. The counterpart of `fromEffect` for directories, sockets and processes.
 *
 * @module
 */
import { Cause, Effect, Exit, type Scope } from "effect";
import { type CallbackActorLogic, type EventObject, fromCallback } from "xstate";
import type { Services } from "./ports.ts";
import type { EffectInput } from "./effect_actor.ts";

/**
 * Turns a scoped Effect into actor logic. Stopping the actor closes the scope, in the background: who must know that it
 * is closed gives the Effect a release that says so.
 *
 * Says `effect.done.<name>` or `effect.failed.<name>`, once.
 *
 * @param name Distinguishes the events of one machine's several Effects.
 * @param make From the actor's input to what is acquired.
 */
export function fromScoped<const Name extends string, A, E, Input extends EffectInput>(
  name: Name,
  make: (input: Input) => Effect.Effect<A, E, Services | Scope.Scope>,
): CallbackActorLogic<EventObject, Input> {
  return fromCallback<EventObject, Input>(({ input, sendBack }) => {
    let stopped = false;
    const say = (event: EventObject) => {
      if (!stopped) sendBack(event);
    };
    const held = Effect.scoped(Effect.gen(function* () {
      const exit = yield* Effect.exit(make(input));
      if (Exit.isFailure(exit)) return yield* exit;
      say({ type: `effect.done.${name}`, value: exit.value } as EventObject);
      return yield* Effect.never;
    }));
    const interrupt = input.ports.run(held, (exit) => {
      if (Exit.isFailure(exit)) say({ type: `effect.failed.${name}`, error: Cause.squash(exit.cause) } as EventObject);
    });
    return () => {
      stopped = true;
      interrupt();
    };
  });
}
