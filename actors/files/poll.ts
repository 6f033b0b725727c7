/**
 * Regular looks at files by one actor: a machine invokes it in the state in which it waits for changes.
 *
 * @module
 */
import { Cause, Effect } from "effect";
import { type EffectInput, fromSource, type SendingLogic } from "../runtime/effect_actor.ts";
import type { Services } from "../runtime/ports.ts";

/** How often it looks, in milliseconds. */
export interface PollInput extends EffectInput {
  readonly everyMs: number;
}

/** What one look found; undefined where the look itself broke off. */
export interface Polled<A> {
  readonly type: "polled";
  readonly seen: A | undefined;
}

/**
 * Actor logic that looks, first after `everyMs`, until it is stopped. One actor and one Effect serve all looks: a machine that enters a
 * state and starts an actor for each of them costs three times as much, and most of what an idle node does is to find nothing new.
 *
 * @param look From the actor's input to one look.
 */
export function fromPoll<A, Input extends PollInput>(
  look: (input: Input) => Effect.Effect<A, never, Services>,
): SendingLogic<Polled<A>, Input> {
  return fromSource<Polled<A>, Input>((input, send) => {
    const once = Effect.gen(function* () {
      yield* Effect.sleep(input.everyMs);
      const seen = yield* Effect.catchCause(
        look(input),
        (cause) => Cause.hasInterrupts(cause) ? Effect.interrupt : Effect.undefined,
      );
      send({ type: "polled", seen });
    });
    return input.ports.run(Effect.forever(once), () => {});
  });
}
