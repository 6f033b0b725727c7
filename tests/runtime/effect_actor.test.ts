/**
 * Type holes: each line below `@ts-expect-error` has to be an error for `deno check` and for `tsc`, or this file does
 * not compile. The machine runs too, so that its events are what their types say.
 *
 * @module
 */
import { Data, Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assign, setup } from "xstate";
import { EffectDied, type EffectInput, type EventsOf, fromEffect } from "../../actors/runtime/effect_actor.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { fromScoped } from "../../actors/runtime/scoped_actor.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";

class NotFound extends Data.TaggedError("NotFound")<{ readonly path: string }> {}

interface LoadInput extends EffectInput {
  readonly outcome: "value" | "error" | "defect";
}

const actors = {
  load: fromEffect(
    "load",
    ({ outcome }: LoadInput): Effect.Effect<number, NotFound> =>
      outcome === "value"
        ? Effect.succeed(1)
        : outcome === "error"
        ? Effect.fail(new NotFound({ path: "/a" }))
        : Effect.die(new TypeError("broken")),
  ),
  hold: fromScoped("hold", (_: EffectInput) => Effect.succeed("held" as const)),
};

type Event = EventsOf<typeof actors>;
interface Context extends LoadInput {
  readonly value: number | undefined;
  readonly error: NotFound | EffectDied | undefined;
}

const machineSetup = setup({
  types: { input: {} as LoadInput, context: {} as Context, events: {} as Event },
  actors,
  actions: {
    take: assign((_, { value }: { readonly value: number }) => ({ value })),
    takeError: assign((_, { error }: { readonly error: NotFound | EffectDied }) => ({ error })),
    takePath: assign((_, { path }: { readonly path: string }) => ({ error: new NotFound({ path }) })),
  },
});

const machine = machineSetup.createMachine({
  context: ({ input }) => ({ ...input, value: undefined, error: undefined }),
  initial: "loading",
  states: {
    loading: {
      invoke: { src: "load", input: ({ context: { ports, outcome } }) => ({ ports, outcome }) },
      on: {
        "effect.done.load": { target: "done", actions: { type: "take", params: ({ event }) => event } },
        "effect.failed.load": { target: "done", actions: { type: "takeError", params: ({ event }) => event } },
      },
    },
    done: { type: "final" },
  },
});

machineSetup.createStateConfig({
  on: {
    // @ts-expect-error No actor of this name.
    "effect.done.lod": {},
  },
});
machineSetup.createStateConfig({
  on: {
    // @ts-expect-error An event that no actor sends.
    "load.done": {},
  },
});
machineSetup.createStateConfig({
  on: {
    // @ts-expect-error The value of another actor: a text where a number is wanted.
    "effect.done.hold": { actions: { type: "take", params: ({ event }) => event } },
  },
});
machineSetup.createStateConfig({
  on: {
    // @ts-expect-error A failure has no value.
    "effect.failed.load": { actions: { type: "take", params: ({ event }) => ({ value: event.value }) } },
  },
});
machineSetup.createStateConfig({
  on: {
    // @ts-expect-error What was thrown has no path, the typed error alone has.
    "effect.failed.load": { actions: { type: "takePath", params: ({ event }) => ({ path: event.error.path }) } },
  },
});
// @ts-expect-error No actor of this name.
machineSetup.createStateConfig({ invoke: { src: "lod" } });
// @ts-expect-error The actor's input lacks `outcome`.
machineSetup.createStateConfig({ invoke: { src: "load", input: ({ context: { ports } }) => ({ ports }) } });
machine.provide({
  actors: {
    // @ts-expect-error An actor that sends another value cannot take the place of `load`.
    load: fromEffect("load", (_: LoadInput) => Effect.succeed("one")),
  },
});
machine.provide({
  actors: {
    // @ts-expect-error An actor that sends another error cannot take the place of `load`.
    load: fromEffect("load", (_: LoadInput) => Effect.fail(new TypeError("other"))),
  },
});
machine.provide({
  actors: {
    // @ts-expect-error An actor whose events have another name cannot take the place of `load`.
    load: fromEffect("reload", (_: LoadInput) => Effect.succeed(1)),
  },
});
const another = machine.provide({ actors: { load: fromEffect("load", (_: EffectInput) => Effect.succeed(2)) } });

const test = suite("typed events of Effects");

async function run(logic: typeof machine, outcome: LoadInput["outcome"]): Promise<Context> {
  const ports = makePorts(() => {});
  try {
    return await new Promise((resolve, onError) => {
      const root = superviseRoot(logic, {
        id: "load",
        input: { ports, outcome },
        onError,
        onDone: () => resolve(root.getSnapshot().context),
      });
    });
  } finally {
    await ports.dispose();
  }
}

test("a success carries its value", async () => {
  assert.is((await run(machine, "value")).value, 1);
  assert.is((await run(another, "value")).value, 2);
});

test("a failure carries the Effect's own error", async () => {
  const { error } = await run(machine, "error");
  assert.ok(error instanceof NotFound && error.path === "/a", String(error));
});

test("a thrown value arrives as EffectDied with its message", async () => {
  const { error } = await run(machine, "defect");
  assert.ok(error instanceof EffectDied && error.cause instanceof TypeError, String(error));
  assert.is(error.message, "broken");
});

test.run();
