/**
 * Pieces of hostile programs, and the parser of their reports.
 *
 * @module
 */
import type { AttackResult } from "./attacks.ts";
import { ranMark, type RunningJob } from "./world.ts";

/** The things that a job reports to have reached. A job that did not run proves nothing, so it counts as an escape. */
export function escapes(job: RunningJob, attempts = 1): AttackResult {
  const ran = job.output().includes(ranMark);
  const escaped = job.output().filter((line) => line.startsWith("ESCAPED")).map((line) => line.slice(8));
  const why = job.reports.map(({ message }) => message).slice(-1)[0] ?? "";
  return { attempts, escaped: ran ? escaped : [`the attack did not run: ${why}`] };
}

/** `ask(path, body)` for a program of Node: one POST to its own bridge. */
export const askBridge = `
  const http = require("node:http");
  const ask = (path, body, socketPath = process.env.SOCKET_PATH, token = process.env.BRIDGE_TOKEN) =>
    new Promise((resolve) => {
      const request = http.request({ socketPath, path, method: "POST", agent: false,
        headers: { "content-type": "application/json", ...(token ? { authorization: "Bearer " + token } : {}) } },
        (response) => { let text = ""; response.on("data", (piece) => { text += piece; }).on("error", () => {})
          .on("close", () => resolve({ status: response.statusCode, text })); });
      request.on("error", (error) => resolve({ status: 0, text: error.code }));
      request.end(JSON.stringify(body));
    });`;
