/**
 * Asking a running program over its admin socket.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type ClientRequest, request } from "node:http";
import { pipeline, Readable } from "node:stream";
import { Data, Effect } from "effect";
import { type AdminAnswer, adminTimeoutMs, adminUploadMs } from "./serve_admin.ts";

/** Bytes of an answer: a list of ten thousand nodes has 3 MB. */
export const adminAnswerBytesMax = 64 * 1024 * 1024;

/** The program did not answer. */
export class AdminNotAsked extends Data.TaggedError("AdminNotAsked")<{
  readonly path: string;
  /** `not-running`: no process listens on the socket. `not-sent`: the body's own pieces broke off, and `detail` says why. */
  readonly problem: "not-running" | "no-answer" | "not-sent";
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot ask over ${this.path}: ${this.detail}`;
  }
}

/**
 * Sends one request.
 *
 * @param path The socket.
 * @param route Method and path: `POST /ca/token`.
 * @param body Becomes JSON; GET sends none.
 * @param timeoutMs How long the answer may take.
 */
export function askAdmin(
  path: string,
  route: string,
  body: unknown = {},
  timeoutMs: number = adminTimeoutMs,
): Effect.Effect<AdminAnswer, AdminNotAsked> {
  const isRead = route.startsWith("GET ");
  return send(
    { path, route, timeoutMs },
    (sent) => void sent.end(isRead ? undefined : JSON.stringify(body)),
  );
}

/**
 * Sends a body of any length.
 *
 * @param body Its pieces; an error of theirs ends the request.
 */
export function uploadAdmin(
  path: string,
  route: string,
  body: AsyncIterable<Uint8Array>,
): Effect.Effect<AdminAnswer, AdminNotAsked> {
  return send({ path, route, timeoutMs: adminUploadMs }, (sent, notSent) => {
    // Where the program has closed its end, its answer, or the absence of one, says why.
    pipeline(Readable.from(watched(body, notSent)), sent, () => {});
  });
}

/** The same pieces; calls `broke` when they fail by themselves, and not when their reader ends them. */
async function* watched(
  body: AsyncIterable<Uint8Array>,
  broke: (detail: string) => void,
): AsyncGenerator<Uint8Array> {
  let isHandedOn = false;
  try {
    for await (const piece of body) {
      isHandedOn = true;
      yield piece;
      isHandedOn = false;
    }
  } catch (error) {
    if (!isHandedOn) broke(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

interface Sending {
  readonly path: string;
  readonly route: string;
  readonly timeoutMs: number;
}

function send(
  { path, route, timeoutMs }: Sending,
  write: (sent: ClientRequest, notSent: (detail: string) => void) => void,
): Effect.Effect<AdminAnswer, AdminNotAsked> {
  const [method = "", url = ""] = route.split(" ");
  const fail = (detail: string, problem: AdminNotAsked["problem"] = "no-answer") =>
    Effect.fail(new AdminNotAsked({ path, problem, detail }));
  return Effect.callback<AdminAnswer, AdminNotAsked>((resume) => {
    const sent = request({ socketPath: path, method, path: url, timeout: timeoutMs }, (response) => {
      const parts: Uint8Array[] = [];
      let size = 0;
      response.on("data", (part: Uint8Array) => {
        size += part.length;
        if (size > adminAnswerBytesMax) sent.destroy(new Error("the answer is too long"));
        else parts.push(part);
      });
      response.on("error", (error: Error) => resume(fail(error.message)));
      response.on("end", () => {
        try {
          const text = Buffer.concat(parts).toString("utf8");
          resume(Effect.succeed({ status: response.statusCode ?? 0, body: JSON.parse(text) }));
        } catch {
          resume(fail("the answer is not JSON"));
        }
      });
    });
    sent.on("timeout", () => sent.destroy(new Error("it takes too long")));
    sent.on("error", ({ code, message }: Error & { readonly code?: string }) => {
      const away = ["ENOENT", "ECONNREFUSED"].includes(code ?? "");
      resume(away ? fail("no process listens on it", "not-running") : fail(message));
    });
    write(sent, (detail) => resume(fail(detail, "not-sent")));
    return Effect.sync(() => sent.destroy());
  });
}
