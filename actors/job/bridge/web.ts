/**
 * Files from the web: http and https, bounded in size, time and redirects, whole or not at all.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Data, Effect, type Scope } from "effect";
import type { JobLimits } from "../limits.ts";
import type { WritableFile } from "../../files/contained_files.ts";
import type { CachedFile } from "../../files/digest_cache.ts";
import { componentBytesMax, type PathError } from "../../files/path_refused.ts";
import { contradicts, type HubFacts, isOfOtherCommit, noHubFacts, withHubFacts } from "./hub_facts.ts";
import { type BridgeProblem, connectorFailed, invalidRequest, pathProblem } from "./problem.ts";
import { openWebRequest, shownAddress, type Web } from "./web_request.ts";

/** A file to fetch, and its place in the work directory. */
export interface WebFile {
  readonly url: URL;
  /** Sent as a bearer token, to the address's own origin only. */
  readonly token: string | undefined;
  /** In the work directory. */
  readonly path: string;
  /** The revision that the model hub is asked for. It names the digests of large files, by which they are kept for later jobs. */
  readonly ofHub?: { readonly revision: string | undefined };
}

/** Where files are made. */
export interface FilesOut {
  /** `sizeBytes` is what the server announces; undefined where it announces nothing. */
  create(
    path: string,
    sizeBytes?: number,
  ): Effect.Effect<Pick<WritableFile, "write" | "commit">, PathError, Scope.Scope>;
}

/** A file that was fetched whole. */
export interface FetchedWebFile {
  readonly sizeBytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
  /** Whether the content was here already; its address was asked all the same. */
  readonly isCached: boolean;
}

/** What has come of a file. */
interface Received {
  sizeBytes: number;
  /** The size that its server announces; undefined where it announces nothing. */
  announced: number | undefined;
}

/** The fetch of a file took longer than the rules allow. */
export class FetchTooSlow extends Data.TaggedClass("FetchTooSlow")<
  Readonly<Received> & { readonly address: string; readonly timeoutMs: number }
> {
  /** The bytes that came, in words. */
  get came(): string {
    return `${this.sizeBytes}${this.announced === undefined ? "" : ` of ${this.announced}`} bytes came`;
  }
}

/** Bytes between two reports of progress. */
const progressBytes = 256 * 1024 * 1024;

/** Parses an address. Accepts http and https only, without user and password. */
export function parseWebAddress(text: string): Effect.Effect<URL, BridgeProblem> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !isWeb(url)) {
    // Where a secret of a text begins is known only if it is an address.
    const shown = url === undefined ? "no address" : `\`${shownAddress(url).slice(0, 256)}\``;
    return Effect.fail(invalidRequest(`invalid URI: expected http(s)://..., got ${shown}`));
  }
  return hasUser(url)
    ? Effect.fail(invalidRequest(`invalid URI: user and password are not sent (${shownAddress(url)})`))
    : Effect.succeed(url);
}

/** A file of a repository of the model hub, without its place here. */
export function hubFile(
  hubUrl: string,
  { repository, revision, token }: {
    readonly repository: string;
    readonly revision?: string | null | undefined;
    readonly token?: string | null | undefined;
  },
  name: string,
): Omit<WebFile, "path"> {
  const encode = (path: string) => path.split("/").map(encodeURIComponent).join("/");
  const at = `${hubUrl}/${encode(repository)}/resolve/${encodeURIComponent(revision ?? "main")}`;
  return {
    url: new URL(`${at}/${encode(name)}`),
    token: token ?? undefined,
    ofHub: { revision: revision ?? undefined },
  };
}

/**
 * The name a file gets: the last segment of the path, decoded, with the query; `part-<n>.bin` where that is empty. Without the query where
 * it makes the name too long, as that of a presigned address does with hundreds of bytes, or no name at all, but a path.
 */
export function webFileName(url: URL, index: number): string {
  const last = decoded(url.pathname.slice(url.pathname.lastIndexOf("/") + 1));
  const whole = `${last}${url.search}`;
  const isName = Buffer.byteLength(whole) <= componentBytesMax && !url.search.includes("/");
  return (isName ? whole : last) || `part-${index}.bin`;
}

/** The path of a file as the log shows it: without the query, which may have a secret. */
export function shownPath({ url: { search }, path }: WebFile): string {
  return search !== "" && path.endsWith(search) ? `${path.slice(0, -search.length)}?…` : path;
}

/** Text of an address without its percent signs; as it is where the result could not be one name. */
function decoded(text: string): string {
  try {
    const plain = decodeURIComponent(text);
    return /[\/\p{Cc}]/u.test(plain) || plain === "." || plain === ".." ? text : plain;
  } catch {
    return text;
  }
}

/**
 * Fetches one file.
 *
 * @param onProgress Called with the bytes so far, once every 256 MiB.
 */
export function fetchWebFile(
  file: WebFile,
  directory: FilesOut,
  limits: JobLimits,
  web: Web,
  onProgress: (sizeBytes: number) => void = () => {},
): Effect.Effect<FetchedWebFile, BridgeProblem | FetchTooSlow> {
  const received: Received = { sizeBytes: 0, announced: undefined };
  const fetching: Fetching = { directory, limits, web, received, onProgress };
  const fetched = Effect.flatMap(
    fetchOnce(file, fetching),
    // What was cached is damaged, and is gone: the second time it is fetched.
    (first) => first === undefined ? fetchOnce(file, fetching) : Effect.succeed(first),
  );
  return fetched.pipe(
    Effect.flatMap((found) =>
      found === undefined
        ? Effect.fail(connectorFailed(`${shownAddress(file.url)} cannot be cached`))
        : Effect.succeed(found)
    ),
    Effect.timeoutOrElse({
      duration: web.rules.timeoutMs,
      orElse: () =>
        Effect.fail(
          new FetchTooSlow({ address: shownAddress(file.url), timeoutMs: web.rules.timeoutMs, ...received }),
        ),
    }),
  );
}

interface Fetching {
  readonly directory: FilesOut;
  readonly limits: JobLimits;
  readonly web: Web;
  readonly received: Received;
  readonly onProgress: (sizeBytes: number) => void;
}

/** A cached file cannot be read, or has not the content that it is kept under. */
class CacheDamaged extends Data.TaggedClass("CacheDamaged")<{ readonly sha256: string }> {}

/** Undefined where a cached file is damaged: it is removed. */
function fetchOnce(
  file: WebFile,
  { directory, limits, web, received, onProgress }: Fetching,
): Effect.Effect<FetchedWebFile | undefined, BridgeProblem> {
  const bytesMax = web.rules.fileBytesMax ?? limits.fileBytesMax;
  const tooLarge = connectorFailed(`${shownAddress(file.url)} is over ${bytesMax} bytes`);
  return Effect.scoped(Effect.gen(function* () {
    const { response, cached, facts } = yield* follow(file, limits, web);
    const named = facts.sha256, otherCommit = isOfOtherCommit(facts, file.ofHub?.revision);
    // What contradicts the hub is the cache's fault first.
    const blamed = (problem: BridgeProblem): BridgeProblem | CacheDamaged =>
      cached === undefined || named === undefined ? problem : new CacheDamaged({ sha256: named });
    if (otherCommit) return yield* Effect.fail(another(file, `it is of commit ${facts.commit}`));
    const pieces: AsyncIterator<Uint8Array> = cached?.pieces ?? response[Symbol.asyncIterator]();
    // A file that is too large is refused before the first of its bytes.
    const announced = cached?.sizeBytes ?? facts.sizeBytes ?? lengthOf(response);
    if (announced !== undefined && announced > bytesMax) return yield* Effect.fail(blamed(tooLarge));
    received.announced = announced;
    const out = yield* Effect.mapError(directory.create(file.path, announced), pathProblem);
    const copy = cached === undefined && named !== undefined && announced !== undefined
      ? yield* web.cache?.begin(named, announced) ?? Effect.undefined
      : undefined;
    const digest = createHash("sha256");
    let sizeBytes = 0;
    for (;;) {
      const piece = yield* Effect.mapError(step(file.url, limits, () => pieces.next()), blamed);
      if (piece.done === true) break;
      const before = sizeBytes;
      received.sizeBytes = sizeBytes += piece.value.length;
      if (sizeBytes > bytesMax) return yield* Effect.fail(blamed(tooLarge));
      if (sizeBytes > (facts.sizeBytes ?? bytesMax)) {
        return yield* Effect.fail(blamed(another(file, `the hub names ${facts.sizeBytes} bytes, and sends more`)));
      }
      digest.update(piece.value);
      yield* Effect.mapError(out.write(piece.value), pathProblem);
      yield* copy?.write(piece.value) ?? Effect.void;
      if (Math.floor(before / progressBytes) !== Math.floor(sizeBytes / progressBytes)) onProgress(sizeBytes);
    }
    const sha256 = digest.digest("hex");
    if (cached === undefined && !response.complete) {
      return yield* Effect.fail(connectorFailed(`${shownAddress(file.url)} broke off`));
    }
    const other = contradicts(facts, { sizeBytes, sha256 });
    if (other !== undefined) return yield* Effect.fail(blamed(another(file, other)));
    yield* Effect.mapError(out.commit, pathProblem);
    yield* copy?.commit ?? Effect.void;
    return { sizeBytes, sha256, isCached: cached !== undefined };
  })).pipe(
    Effect.catchTag("CacheDamaged", ({ sha256 }) => Effect.as(web.cache?.drop(sha256) ?? Effect.void, undefined)),
  );
}

const another = ({ url }: WebFile, why: string) =>
  connectorFailed(`${shownAddress(url)} is another file than was requested from the model hub: ${why}`);

/** The answer that a file comes from. */
interface Followed {
  readonly response: IncomingMessage;
  /** What the hub names of it. */
  readonly facts: HubFacts;
  /** The file, where an earlier job fetched it. */
  readonly cached: CachedFile | undefined;
}

/**
 * Follows redirects itself: counts each, checks it like the first address, and sends a token to its own origin only. The hub is always
 * asked, with the job's own token: a cached file is for jobs that may have it.
 */
function follow(
  { url: first, token, ofHub }: WebFile,
  limits: JobLimits,
  web: Web,
): Effect.Effect<Followed, BridgeProblem, Scope.Scope> {
  return Effect.gen(function* () {
    let url = first, facts = noHubFacts;
    const redirectsMax = Math.min(limits.redirectsMax, web.rules.redirectsMax);
    for (let redirects = 0; redirects <= redirectsMax; redirects++) {
      const headers: Record<string, string> = token !== undefined && url.origin === first.origin
        ? { authorization: `Bearer ${token}` }
        : {};
      const response = yield* openWebRequest(url, { headers, idleMs: limits.idleMs }, web);
      const status = response.statusCode ?? 0;
      if (ofHub !== undefined && url.origin === first.origin && status < 400) {
        facts = withHubFacts(facts, response.headers);
      }
      const { sha256 } = facts;
      const cached = sha256 === undefined ? undefined : yield* web.cache?.find(sha256) ?? Effect.undefined;
      if (cached !== undefined || (status >= 200 && status < 300)) return { response, facts, cached };
      response.destroy();
      const { location } = response.headers;
      if (status < 300 || status > 399 || location === undefined) {
        return yield* Effect.fail(
          connectorFailed(`HTTP request error: HTTP status ${status} for url (${shownAddress(url)})`),
        );
      }
      const next: URL | undefined = URL.canParse(location, url) ? new URL(location, url) : undefined;
      if (
        next === undefined || !isWeb(next) || hasUser(next) || (url.protocol === "https:" && next.protocol !== "https:")
      ) {
        return yield* Effect.fail(
          connectorFailed(`HTTP request error: redirect that is not followed (${shownAddress(url)})`),
        );
      }
      url = next;
    }
    return yield* Effect.fail(
      connectorFailed(`HTTP request error: more than ${redirectsMax} redirects (${shownAddress(first)})`),
    );
  });
}

/** The size that a server announces for its answer. */
function lengthOf({ headers }: IncomingMessage): number | undefined {
  const { "content-length": length } = headers;
  return length === undefined ? undefined : Number(length);
}

function step<A>(url: URL, limits: JobLimits, ask: () => Promise<A>): Effect.Effect<A, BridgeProblem> {
  return Effect.tryPromise({
    try: ask,
    catch: (error) => connectorFailed(`HTTP request error: ${(error as Error).message} (${shownAddress(url)})`),
  }).pipe(Effect.timeoutOrElse({
    duration: limits.idleMs,
    orElse: () =>
      Effect.fail(connectorFailed(`HTTP request error: nothing for ${limits.idleMs} ms (${shownAddress(url)})`)),
  }));
}

function hasUser({ username, password }: URL): boolean {
  return username !== "" || password !== "";
}

function isWeb({ protocol }: URL): boolean {
  return protocol === "http:" || protocol === "https:";
}
