/** What a node's operator may ask, and what a node that cannot do it answers. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AdminRoute } from "../../actors/admin/serve_admin.ts";
import type { NodeCommand } from "../../actors/node/node_setup.ts";
import { operatorRoutes, type OperatorRoutesInit } from "../../actors/node/operator_routes.ts";

const test = suite("an operator's routes");

/** Routes of a node whose enrolment takes a renewal, or not; what was done. */
function world(enrolment: "idle" | "busy" | "absent" | "failed" | "none", more: Partial<OperatorRoutesInit> = {}) {
  const done: string[] = [];
  const child = {
    getSnapshot: () => ({ can: () => enrolment === "idle", matches: (state: string) => state === enrolment }),
    send: ({ type }: { readonly type: string }) => void done.push(type),
  };
  const node = {
    getSnapshot: () => ({ children: enrolment === "none" ? {} : { enrolment: child } }) as never,
    send: ({ type }: NodeCommand) => void done.push(type),
  };
  const routes = operatorRoutes({
    node: () => node,
    show: () => ({ state: "ready" }) as never,
    log: { setLevel: (level) => void done.push(level), follow: () => () => {} },
    drain: (reason) => done.push(reason),
    ...more,
  });
  const ask = async (route: string, body: unknown = {}) => {
    const { status, body: answer } = await (routes[route] as AdminRoute)(body);
    return [status, (answer as { readonly code?: string }).code];
  };
  return { routes, done, ask };
}

test("status, reload, drain, log level and renewal reach the node", async () => {
  const { ask, done, routes } = world("idle", { trainings: () => Promise.resolve([1]) });
  assert.equal(await (routes["GET /status"] as AdminRoute)({}), {
    status: 200,
    body: { state: "ready", trainings: [1] },
  });
  for (const route of ["POST /reload", "POST /drain", "POST /renew"]) assert.equal(await ask(route), [200, undefined]);
  assert.equal(await ask("POST /drain", { reason: "maintenance" }), [200, undefined]);
  assert.equal(await ask("POST /log-level", { level: "debug" }), [200, undefined]);
  assert.equal(done, ["trust.reload", "its operator requested it", "pair.renew", "maintenance", "debug"]);
});

test("what it does not understand, and what it cannot do now, changes nothing", async () => {
  const { ask, done } = world("busy");
  const wrong: readonly (readonly [route: string, body: unknown])[] = [
    ["POST /log-level", { level: "loud" }],
    ["POST /log-level", {}],
    ["POST /log-level", { level: "debug", for: 5 }],
    ["POST /drain", { reason: "x".repeat(257) }],
    ["POST /drain", null],
    ["POST /reload", null],
  ];
  for (const [route, body] of wrong) assert.equal(await ask(route, body), [400, "wrong-body"], JSON.stringify(body));
  assert.equal(await ask("POST /renew"), [409, "busy"]);
  // bug: a node without a certificate was called busy.
  for (const state of ["absent", "failed"] as const) {
    assert.equal(await world(state).ask("POST /renew"), [409, "no-certificate"]);
  }
  assert.equal(await world("none").ask("POST /renew"), [409, "no-membership"]);
  const early = world("idle", { node: () => undefined });
  for (const route of ["GET /status", "POST /renew", "POST /reload"]) {
    assert.equal(await early.ask(route), [503, "starting"]);
  }
  assert.equal([...done, ...early.done], []);
});

test.run();
