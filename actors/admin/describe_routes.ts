/**
 * The description of an admin socket's routes, OpenAPI 3.1, from the schemas that check its requests.
 *
 * @module
 */
import { Schema } from "effect";
import type { AdminRoutes } from "./serve_admin.ts";

/** The description of one route. */
interface Operation {
  readonly summary: string;
  readonly requestBody?: object;
  readonly responses: Readonly<Record<string, object>>;
}

const json = (description: string, schema: object) => ({ description, content: { "application/json": { schema } } });
const refused = json("Refused, or not possible now.", {
  type: "object",
  required: ["error"],
  properties: {
    code: { type: "string", description: "Names the reason; it never changes." },
    error: { type: "string" },
    hint: { type: "string", description: "What the operator can do." },
  },
});

/** All routes, each with the schema of its body. */
export function describeRoutes(routes: AdminRoutes): object {
  const paths: Record<string, Record<string, Operation>> = {};
  for (const [name, route] of Object.entries(routes)) {
    const [method = "", path = ""] = name.split(" ");
    (paths[path] ??= {})[method.toLowerCase()] = describeRoute(method, route);
  }
  return { openapi: "3.1.0", info: { title: "Admin socket of a Hypha program", version: "1" }, paths };
}

function describeRoute(method: string, route: AdminRoutes[string]): Operation {
  const { summary = "" } = route;
  if (typeof route !== "function") {
    return "follow" in route
      ? { summary, responses: { 200: streamed, default: refused } }
      : { summary, requestBody: uploaded, responses: { 200: json("Done.", {}), default: refused } };
  }
  const responses = { 200: json("Done.", {}), default: refused };
  if (method === "GET" || route.schema === undefined) return { summary, responses };
  return {
    summary,
    requestBody: { content: { "application/json": { schema: bodySchema(route.schema) } } },
    responses,
  };
}

const uploaded = { required: true, content: { "application/octet-stream": { schema: {} } } };
const streamed = {
  description: "Events until a side closes the connection; the data of each is one line of JSON.",
  content: { "text/event-stream": { schema: { type: "string" } } },
};

/** A schema without keys accepts an object without keys: the generator says "not null" of it. */
function bodySchema(of: Schema.Top): object {
  const { schema } = Schema.toJsonSchemaDocument(of, { onExcessProperty: "error" });
  return "not" in schema ? { type: "object", additionalProperties: false } : schema;
}
