/** The description of the admin socket says of each route what the route itself checks. */
import { Schema } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describeRoutes } from "../../actors/admin/describe_routes.ts";
import { jsonRoute } from "../../actors/admin/json_route.ts";
import { logRoutes } from "../../actors/admin/log_routes.ts";
import { adminRoutes as caRoutes } from "../../actors/ca/admin_routes.ts";
import { adminRoutes as trainingRoutes } from "../../actors/scheduler/admin_routes.ts";
import { operatorRoutes } from "../../actors/node/operator_routes.ts";

const test = suite("the description of an admin socket");
const done = () => ({ status: 200, body: {} });
const none = {} as never;
const log = { follow: () => () => {}, setLevel: () => {} };

interface Described {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}
interface Operation {
  readonly summary: string;
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: unknown }>> };
  readonly responses: Readonly<Record<string, { readonly content: object }>>;
}

test("a route has its summary, and the schema of its body with every limit", () => {
  const body = Schema.Struct({
    role: Schema.Literals(["a", "b"]),
    name: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(9))),
  });
  const { openapi, paths } = describeRoutes({
    "POST /x": jsonRoute({ summary: "Do it.", body }, done),
    "POST /none": jsonRoute({ summary: "Do that.", body: Schema.Struct({}) }, done),
    "POST /file": { summary: "Take it.", upload: () => Promise.resolve(done()) },
    ...logRoutes(log),
  }) as Described;
  assert.is(openapi, "3.1.0");
  const schemaOf = (path: string) => paths[path]?.["post"]?.requestBody?.content["application/json"]?.schema;
  assert.equal(schemaOf("/x"), {
    type: "object",
    properties: { role: { type: "string", enum: ["a", "b"] }, name: { type: "string", maxLength: 9 } },
    required: ["role"],
    additionalProperties: false,
  });
  assert.equal(schemaOf("/none"), { type: "object", additionalProperties: false });
  assert.equal(Object.keys(paths["/file"]?.["post"]?.requestBody?.content ?? {}), ["application/octet-stream"]);
  assert.is(paths["/events"]?.["get"]?.requestBody, undefined);
  assert.equal(Object.keys(paths["/events"]?.["get"]?.responses["200"]?.content ?? {}), ["text/event-stream"]);
});

test("every route of every program is described", () => {
  const programs = {
    ca: { ...caRoutes(none, none), ...logRoutes(log) },
    scheduler: trainingRoutes({ ports: none, stateDir: "", ask: none, receiving: new Set() }),
    node: operatorRoutes({ node: none, show: none, log, drain: none }),
  };
  for (const [program, routes] of Object.entries(programs)) {
    const { paths } = describeRoutes(routes) as Described;
    for (const name of Object.keys(routes)) {
      const [method = "", path = ""] = name.split(" ");
      const operation = paths[path]?.[method.toLowerCase()];
      assert.match(operation?.summary ?? "", /^[A-Z].*\.$/, `${program}: ${name}`);
      assert.is(operation?.requestBody !== undefined, method === "POST", `${program}: ${name}`);
    }
  }
});

test.run();
