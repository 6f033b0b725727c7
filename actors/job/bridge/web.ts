/**
 * Files from the web: http and https, bounded in size, time and redirects, whole or not at all.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Effect, type Scope } from "effect";
import type { JobLimits } from "../limits.ts";
import type { WorkDirectory } from "../../files/contained_files.ts";
import { type BridgeProblem, connectorFailed, invalidRequest, pathProblem } from "./problem.ts";
import { openWebRequest, type Web } from "./web_request.ts";

/** A file to fetch, and its place in the work directory. */
export interface WebFile {
  readonly url: URL;
  /** Sent as a bearer token, to the address's own origin only. */
  readonly token: string | undefined;
  /** In the work directory. */
  readonly path: string;
}

/** A file that was fetched whole. */
export interface FetchedWebFile {
  readonly sizeBytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** Bytes between two reports of progress. */
const progressBytes = 256 * 1024 * 1024;

/** Parses an address. Accepts http and https only. */
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

/**
 * Fetches one file.
 *
 * @param onProgress Called with the bytes so far, once every 256 MiB.
 */
export function fetchWebFile(
  file: WebFile,
  directory: WorkDirectory,
  limits: JobLimits,
  web: Web,
  onProgress: (sizeBytes: number) => void = () => {},
): Effect.Effect<FetchedWebFile, BridgeProblem> {
  const bytesMax = web.rules.fileBytesMax;
  const fetched = Effect.scoped(Effect.gen(function* () {
    const response = yield* follow(file, limits, web);
    const out = yield* Effect.mapError(directory.create(file.path), pathProblem);
    const pieces: AsyncIterator<Uint8Array> = response[Symbol.asyncIterator]();
    const digest = createHash("sha256");
    let sizeBytes = 0;
    for (;;) {
      const piece = yield* step(file.url, limits, () => pieces.next());
      if (piece.done === true) break;
      const before = sizeBytes;
      sizeBytes += piece.value.length;
      if (sizeBytes > bytesMax) {
        return yield* Effect.fail(connectorFailed(`${file.url.href} is over ${bytesMax} bytes`));
      }
      digest.update(piece.value);
      yield* Effect.mapError(out.write(piece.value), pathProblem);
      if (Math.floor(before / progressBytes) !== Math.floor(sizeBytes / progressBytes)) onProgress(sizeBytes);
    }
    if (!response.complete) return yield* Effect.fail(connectorFailed(`${file.url.href} broke off`));
    yield* Effect.mapError(out.commit, pathProblem);
    return { sizeBytes, sha256: digest.digest("hex") };
  }));
  return Effect.timeoutOrElse(fetched, {
    duration: web.rules.timeoutMs,
    orElse: () => Effect.fail(connectorFailed(`${file.url.href} took more than ${web.rules.timeoutMs} ms`)),
  });
}

/** Follows redirects itself: counts each, checks it like the first address, and sends a token to its own origin only. */
function follow(
  { url: first, token }: WebFile,
  limits: JobLimits,
  web: Web,
): Effect.Effect<IncomingMessage, BridgeProblem, Scope.Scope> {
  return Effect.gen(function* () {
    let url = first;
    const redirectsMax = Math.min(limits.redirectsMax, web.rules.redirectsMax);
    for (let redirects = 0; redirects <= redirectsMax; redirects++) {
      const headers: Record<string, string> = token !== undefined && url.origin === first.origin
        ? { authorization: `Bearer ${token}` }
        : {};
      const response = yield* openWebRequest(url, { headers, idleMs: limits.idleMs }, web);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return response;
      response.destroy();
      const { location } = response.headers;
      if (status < 300 || status > 399 || location === undefined) {
        return yield* Effect.fail(
          connectorFailed(`HTTP request error: HTTP status ${status} for url (${url.href})`),
        );
      }
      const next: URL | undefined = URL.canParse(location, url) ? new URL(location, url) : undefined;
      if (next === undefined || !isWeb(next) || (url.protocol === "https:" && next.protocol !== "https:")) {
        return yield* Effect.fail(connectorFailed(`HTTP request error: redirect that is not followed (${url.href})`));
      }
      url = next;
    }
    return yield* Effect.fail(
      connectorFailed(`HTTP request error: more than ${redirectsMax} redirects (${first.href})`),
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
