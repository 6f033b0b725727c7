/**
 * Files from the web: http and https, bounded in size, time and redirects, whole or not at all.
 *
 * @module
 */
import { Effect } from "effect";
import type { JobLimits } from "../limits.ts";
import type { WorkDirectory } from "../paths.ts";
import { type BridgeProblem, connectorFailed, invalidRequest, pathProblem } from "./problem.ts";

/** Where the web is, and how it is asked. */
export interface Web {
  readonly fetch: typeof globalThis.fetch;
  /** Base address of the model hub. */
  readonly hubUrl: string;
}

/** The runtime's own. */
export const defaultWeb: Web = { fetch: globalThis.fetch, hubUrl: "https://huggingface.co" };

/** What is fetched, and where it goes. */
export interface WebFile {
  readonly url: URL;
  /** Sent as a bearer token, to the address's own origin only. */
  readonly token: string | undefined;
  /** In the work directory. */
  readonly path: string;
}

/** Reads an address: http or https, nothing else. */
export function parseWebAddress(text: string): Effect.Effect<URL, BridgeProblem> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && isWeb(url)
    ? Effect.succeed(url)
    : Effect.fail(invalidRequest(`invalid URI: expected http(s)://..., got \`${text.slice(0, 256)}\``));
}

/** The name a file gets: the last segment of the path, with the query; `part-<n>.bin` where that is empty. */
export function webFileName(url: URL, index: number): string {
  const last = url.pathname.slice(url.pathname.lastIndexOf("/") + 1);
  return `${last}${url.search}` || `part-${index}.bin`;
}

/** @returns The file's size in bytes. */
export function fetchWebFile(
  file: WebFile,
  directory: WorkDirectory,
  limits: JobLimits,
  web: Web,
): Effect.Effect<number, BridgeProblem> {
  return Effect.scoped(Effect.gen(function* () {
    // Ending the scope aborts what is still being read.
    const controller = yield* Effect.acquireRelease(
      Effect.sync(() => new AbortController()),
      (controller) => Effect.sync(() => controller.abort()),
    );
    const response = yield* follow(file, limits, web, controller.signal);
    const out = yield* Effect.mapError(directory.create(file.path), pathProblem);
    const reader = response.body?.getReader();
    let sizeBytes = 0;
    while (reader !== undefined) {
      const piece = yield* step(file.url, limits, () => reader.read());
      if (piece.done) break;
      sizeBytes += piece.value.length;
      if (sizeBytes > limits.fileBytesMax) {
        return yield* Effect.fail(connectorFailed(`${file.url.href} is over ${limits.fileBytesMax} bytes`));
      }
      yield* Effect.mapError(out.write(piece.value), pathProblem);
    }
    yield* Effect.mapError(out.commit, pathProblem);
    return sizeBytes;
  }));
}

/** Follows redirects itself: each is counted, stays on http(s), and a token does not leave its origin. */
function follow(
  { url: first, token }: WebFile,
  limits: JobLimits,
  web: Web,
  signal: AbortSignal,
): Effect.Effect<Response, BridgeProblem> {
  return Effect.gen(function* () {
    let url = first;
    for (let redirects = 0; redirects <= limits.redirectsMax; redirects++) {
      const headers: Record<string, string> = token !== undefined && url.origin === first.origin
        ? { authorization: `Bearer ${token}` }
        : {};
      const response: Response = yield* step(
        url,
        limits,
        () => web.fetch(url, { redirect: "manual", signal, headers }),
      );
      if (response.ok) return response;
      yield* Effect.promise(() => response.body?.cancel().catch(() => {}) ?? Promise.resolve());
      const location = response.headers.get("location");
      if (response.status < 300 || response.status > 399 || location === null) {
        return yield* Effect.fail(
          connectorFailed(`HTTP request error: HTTP status ${response.status} for url (${url.href})`),
        );
      }
      const next: URL | undefined = URL.canParse(location, url) ? new URL(location, url) : undefined;
      if (next === undefined || !isWeb(next) || (url.protocol === "https:" && next.protocol !== "https:")) {
        return yield* Effect.fail(connectorFailed(`HTTP request error: redirect that is not followed (${url.href})`));
      }
      url = next;
    }
    return yield* Effect.fail(
      connectorFailed(`HTTP request error: more than ${limits.redirectsMax} redirects (${first.href})`),
    );
  });
}

function step<A>(url: URL, limits: JobLimits, ask: () => Promise<A>): Effect.Effect<A, BridgeProblem> {
  return Effect.tryPromise({
    try: ask,
    catch: (error) => connectorFailed(`HTTP request error: ${(error as Error).message} (${url.href})`),
  }).pipe(Effect.timeoutOrElse({
    duration: limits.idleMs,
    orElse: () => Effect.fail(connectorFailed(`HTTP request error: nothing for ${limits.idleMs} ms (${url.href})`)),
  }));
}

function isWeb({ protocol }: URL): boolean {
  return protocol === "http:" || protocol === "https:";
}
