/**
 * Held resources as actors. A machine invokes one and receives `effect.done.<name>` with the resource, which stays
 * acquired until the actor is stopped. The counterpart of `fromEffect` for directories, sockets and processes.
 *
 * @module
 */
import { Effect, Exit, type Scope } from "effect";
import type { Services } from "./ports.ts";
import {
  effectDone,
  type EffectEvent,
  effectFailed,
  type EffectInput,
  type EffectLogic,
  fromSource,
} from "./effect_actor.ts";

/**
 * Turns a scoped Effect into actor logic. Stopping the actor closes the scope in the background; a caller that has to
 * know when it is closed adds a finalizer that reports it.
 *
 * Sends `effect.done.<name>` once. Sends `effect.failed.<name>` when the Effect fails, or its scope cannot be kept.
 *
 * @param name Distinguishes the events of one machine's several Effects.
 * @param make From the actor's input to the resource.
 */
export function fromScoped<const Name extends string, A, E, Input extends EffectInput>(
  name: Name,
  make: (input: Input) => Effect.Effect<A, E, Services | Scope.Scope>,
): EffectLogic<Name, A, E, Input> {
  return fromSource<EffectEvent<Name, A, E>, Input>((input, send) => {
    const held = Effect.scoped(Effect.gen(function* () {
      const exit = yield* Effect.exit(make(input));
      if (Exit.isFailure(exit)) return yield* exit;
      send(effectDone(name, exit.value));
      return yield* Effect.never;
    }));
    return input.ports.run(held, (exit) => {
      if (Exit.isFailure(exit)) send(effectFailed(name, exit.cause));
    });
  });
}
