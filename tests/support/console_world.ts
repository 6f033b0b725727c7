/**
 * A console that is served for tests, and requests to it as a browser sends them, or as none would.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { request } from "node:http";
import { Effect, Exit, Scope } from "effect";
import type { AdminRoutes } from "../../actors/admin/serve_admin.ts";
import { type ConsoleInit, type PageFiles, serveConsole } from "../../actors/console/serve_console.ts";

/** An answer. */
export interface ConsoleAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** A console that is open. */
export interface ConsoleWorld {
  readonly port: number;
  readonly authority: string;
  readonly url: string;
  /** Cookie and key of a session. */
  readonly session: { readonly cookie: string; readonly key: string };
  /** Sends a request with a session, `with` the headers that are given; a header that is undefined is left out. */
  readonly ask: (
    route: string,
    options?: { readonly with?: Readonly<Record<string, string | undefined>>; readonly body?: string },
  ) => Promise<ConsoleAnswer>;
  readonly close: () => Promise<void>;
}

const plainPage: PageFiles = { html: "<!doctype html><title>page</title>", js: "export {};", css: "body {}" };

/** Opens a console on a free port and begins a session. */
export async function openConsoleWorld(
  init: Partial<ConsoleInit> & { readonly routes: AdminRoutes },
): Promise<ConsoleWorld> {
  const scope = Effect.runSync(Scope.make());
  const served = serveConsole({
    place: { host: "127.0.0.1", port: 0 },
    page: plainPage,
    now: () => Date.now(),
    look: () => Promise.resolve({ state: "ready" }),
    lookMs: 50,
    ...init,
  });
  const { port, url } = await Effect.runPromise(Scope.provide(served, scope));
  const authority = `127.0.0.1:${port}`;
  const entered = await send(port, "GET", new URL(url).pathname + new URL(url).search, { host: authority });
  const cookie = String(entered.headers["set-cookie"]).split(";", 1)[0] ?? "";
  const key = String(entered.headers["location"]).split("#")[1] ?? "";
  return {
    ...{ port, authority, url, session: { cookie, key } },
    ask: (route, { with: headers = {}, body } = {}) => {
      const [method = "", path = ""] = route.split(" ");
      const origin = method === "GET" ? {} : { origin: `http://${authority}` };
      const all = { host: authority, cookie, "x-hypha-console": key, ...origin, ...headers };
      return send(port, method, path, all, body);
    },
    close: () => Effect.runPromise(Scope.close(scope, Exit.void)),
  };
}

function send(
  port: number,
  method: string,
  path: string,
  headers: Readonly<Record<string, string | undefined>>,
  body?: string,
): Promise<ConsoleAnswer> {
  const given = Object.entries(headers).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]);
  const sized = body === undefined ? [] : [["content-length", String(Buffer.byteLength(body))]];
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: "127.0.0.1", port, method, path, headers: Object.fromEntries([...given, ...sized]), agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (piece: string) => (text += piece));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}
