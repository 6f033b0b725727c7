/**
 * Type holes between an actor and its parent, and in a role's table of requests: each line below `@ts-expect-error` has to
 * be an error for `deno check` and for `tsc`, or this file does not compile.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assign, enqueueActions, sendTo, setup } from "xstate";
import type { EventsOf } from "../../actors/runtime/effect_actor.ts";
import type { HasParent } from "../../actors/runtime/parent.ts";
import { handleRequest, type RequestTable } from "../../actors/runtime/requests.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { requestFrom } from "../support/fake_transport.ts";

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

const taken: string[] = [];
const take = (place: string) => (_: unknown, { exchange }: { readonly exchange: string }) =>
  void taken.push(`${place} ${exchange}`);
const api = {
  WorkerOffer: take("WorkerOffer"),
  RenewLease: take("RenewLease"),
  JobStatus: take("JobStatus"),
  DispatchJob: take("DispatchJob"),
};
const others = { "/hypha-health/0.0.1": take("health"), "/hypha-progress/0.0.1": take("progress") };
const table: RequestTable<undefined> = { ...others, "/hypha-api/0.0.1": { ...api, Data: take("Data") } };
// @ts-expect-error `Data` has no handler.
const incomplete: RequestTable<undefined> = { ...others, "/hypha-api/0.0.1": api };
const wrong: RequestTable<undefined> = {
  ...others,
  // @ts-expect-error The message of `Data` has no `id`.
  "/hypha-api/0.0.1": { ...api, Data: (_, { message }) => void message.id },
};

const test = suite("typed parents and requests");

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

test("a request goes to the handler of its protocol and variant", () => {
  const requests = [
    requestFrom("a", "/hypha-health/0.0.1", {}),
    requestFrom("a", "/hypha-api/0.0.1", { Data: { dataset: "digits" } }),
    requestFrom("a", "/hypha-api/0.0.1", { RenewLease: { id: "1" } }),
    requestFrom("a", "/hypha-progress/0.0.1", { job_id: "1", progress: "update" }),
  ];
  taken.length = 0;
  for (const request of requests) assert.is(handleRequest(table, undefined, request), true);
  assert.equal(
    taken,
    ["health", "Data", "RenewLease", "progress"].map((place, index) => `${place} ${requests[index]?.exchange}`),
  );
});

test("a variant or protocol that the table does not have, or only inherits, has no handler", () => {
  const data = requestFrom("a", "/hypha-api/0.0.1", { Data: { dataset: "digits" } });
  assert.is(handleRequest(incomplete, undefined, data), false);
  assert.is(handleRequest(wrong, undefined, { ...data, message: { constructor: {} } }), false);
  assert.is(handleRequest(table, undefined, { ...data, message: {} }), false);
  const unknown = { ...data, protocol: "toString" } as unknown as typeof data;
  assert.is(handleRequest(table, undefined, unknown), false);
});

test.run();
