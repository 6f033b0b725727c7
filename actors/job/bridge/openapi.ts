/**
 * `GET /openapi.json`: the description of the bridge, for people and generators. The existing workers' document describes only
 * itself; ours describes every route.
 *
 * @module
 */
const problem = { description: "Refused or failed: `{error, detail}`, or plain text" };

function post(operationId: string, summary: string, description: string) {
  return {
    post: {
      operationId,
      summary,
      requestBody: { required: true, content: { "application/json": { schema: { type: "object" } } } },
      responses: { "200": { description }, default: problem },
    },
  };
}

const document = {
  openapi: "3.1.0",
  info: { title: "hypha-worker", license: { name: "Apache-2.0", identifier: "Apache-2.0" }, version: "0.1.0" },
  paths: {
    "/openapi.json": {
      get: {
        operationId: "openapi",
        summary: "Describes the routes",
        responses: { "200": { description: "An OpenAPI document" } },
      },
    },
    "/resources/fetch": post("fetch", "Fetches the files of a reference", "`[{path, size}]`, under `artifacts/`"),
    "/resources/send": post("send", "Sends a file to peers: `{resource, path}`", "Accepted"),
    "/resources/receive": post(
      "receive",
      "Receives files from peers: `{resource, path?}`",
      "Server-sent events, one a file: `{path, size, from_peer}`, with `round` where it is a result of a training whose model the scheduler keeps",
    ),
    "/status/send": {
      ...post("status", "Reports progress to the scheduler", "The scheduler's response"),
      parameters: [{
        name: "parameters",
        in: "query",
        description: "With `update-received`: SHA-256 of the parameters, as a file with the header of the fetched one",
        schema: { type: "string", pattern: "^[0-9a-f]{64}$" },
      }, {
        name: "round",
        in: "query",
        description: "With `update-received`: the round of the last result that was applied",
        schema: { type: "integer", minimum: 0 },
      }],
    },
  },
  components: { securitySchemes: { bridgeToken: { type: "http", scheme: "bearer" } } },
};

/** The document as JSON text. */
export const openApiJson: string = JSON.stringify(document);
