/**
 * Type holes between an actor and its parent: each line below `@ts-expect-error` has to be an error for `deno check` and for
 * `tsc`, or this file does not compile.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assign, enqueueActions, sendTo, setup } from "xstate";
import type { EventsOf } from "../../actors/runtime/effect_actor.ts";
import type { HasParent } from "../../actors/runtime/parent.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";

type ChildEvent = { readonly type: "child.counted"; readonly count: number };
type ChildInput = HasParent<ChildEvent>;

const childSetup = setup({
  types: { input: {} as ChildInput, context: {} as ChildInput, events: {} as { readonly type: "child.end" } },
  actions: {
    sendCount: sendTo(({ context }) => context.parent, { type: "child.counted", count: 3 }),
    // @ts-expect-error The parent receives no such event.
    sendOther: sendTo(({ context }) => context.parent, { type: "child.other" }),
    sendText: enqueueActions(({ context, enqueue }) => {
      // @ts-expect-error The event's data has another type.
      enqueue.sendTo(context.parent, { type: "child.counted", count: "3" });
    }),
  },
});
const child = childSetup.createMachine({
  context: ({ input }) => input,
  initial: "counting",
  states: { counting: { entry: "sendCount" } },
});

const actors = { child };
const parentSetup = setup({
  types: { context: {} as { readonly count: number }, events: {} as EventsOf<typeof actors> },
  actors,
  actions: { take: assign((_, { count }: { readonly count: number }) => ({ count })) },
});
const parent = parentSetup.createMachine({
  context: { count: 0 },
  invoke: { src: "child", input: ({ self }) => ({ parent: self }) },
  on: { "child.counted": { actions: { type: "take", params: ({ event }) => event } } },
});

parentSetup.createStateConfig({
  on: {
    // @ts-expect-error The child sends no such event.
    "child.other": {},
  },
});
// @ts-expect-error The child needs its parent.
parentSetup.createStateConfig({ invoke: { src: "child", input: () => ({}) } });

const deaf = setup({ types: { events: {} as { readonly type: "other" } }, actors });
// @ts-expect-error This machine does not receive the child's events.
deaf.createStateConfig({ invoke: { src: "child", input: ({ self }) => ({ parent: self }) } });

const test = suite("typed parents");

test("a parent receives the events of its child", () => {
  const root = superviseRoot(parent, {
    id: "parent",
    input: undefined,
    onError: (error) => {
      throw error;
    },
  });
  assert.is(root.getSnapshot().context.count, 3);
  root.stop();
});

test.run();
