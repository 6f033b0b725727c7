/**
 * Fetches revocation lists by HTTP: of each issuer the newest complete list; where that is large, a base and its delta.
 *
 * The URLs are those of `hypha-ca` (`docs/ca.md`): ORIGIN/crl/ISSUER.crl, ISSUER-base.crl, ISSUER-delta.crl.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { addPiece, type CrlNotStored, nameIncoming } from "../files/arriving_crls.ts";
import { type Arrival, crlTakenBytesMax, wholeBytesMax } from "./book.ts";
import { type HttpAnswer, HttpFailed, type HttpGet, httpGet } from "./http_get.ts";
import { pullMs } from "./wants.ts";

/** Bytes that are written at once. */
const chunkBytes = 256 * 1024;
/** Issuers whose lists are fetched. */
export const fetchedIssuersMax = 64;

/** What a server has of an issuer's lists. */
export type ListKind = "complete" | "base" | "delta";

/** What a round of fetching is made with. */
export interface FetchInput {
  readonly stateDir: string;
  /** Origins, tried in this order. */
  readonly urls: readonly string[];
  /** SHA-256 of the issuers' keys. */
  readonly issuers: readonly string[];
  /** SHA-256 of the list that the node has of an issuer; a CA of ours has it as ETag. */
  readonly held: (issuer: string, kind: "complete" | "delta") => string | undefined;
  /** ETags of other servers, by URL. The round adds those that it sees. */
  readonly etags: Map<string, string>;
  /** How it is fetched; over the real network where undefined. */
  readonly get?: HttpGet | undefined;
}

/** What a round of fetching brought. */
export interface Fetched {
  readonly arrivals: readonly Arrival[];
  /** Why origins did not answer, one for each failure. */
  readonly failures: readonly HttpFailed[];
}

/** Fetches what is new of all issuers. Never fails but where the state directory does. */
export function fetchLists(input: FetchInput): Effect.Effect<Fetched, CrlNotStored, FileSystem> {
  return Effect.gen(function* () {
    const arrivals: Arrival[] = [];
    const failures: HttpFailed[] = [];
    const dead = new Set<string>();
    for (const issuer of input.issuers.slice(0, fetchedIssuersMax)) {
      for (const origin of input.urls.filter((each) => !dead.has(each))) {
        const found = yield* Effect.catchTag(fetchIssuer(input, origin, issuer), "HttpFailed", Effect.succeed);
        if (!(found instanceof HttpFailed)) {
          arrivals.push(...found);
          break;
        }
        failures.push(found);
        dead.add(origin);
      }
    }
    return { arrivals, failures };
  });
}

/** What is new of one issuer at one origin. */
function fetchIssuer(input: FetchInput, origin: string, issuer: string) {
  return Effect.gen(function* () {
    const get = (kind: ListKind, bytesMax: number) => fetchList(input, { origin, issuer, kind, bytesMax });
    const hasDelta = input.held(issuer, "delta") !== undefined;
    const whole = hasDelta ? "large" : yield* get("complete", wholeBytesMax);
    if (whole !== "large") return isArrival(whole) ? [whole] : [];
    // The delta first: it is small, and it revokes before its base is there.
    const parts = [yield* get("delta", crlTakenBytesMax), yield* get("base", crlTakenBytesMax)];
    const lists = parts.every((part) => part === "none") ? [yield* get("complete", crlTakenBytesMax)] : parts;
    return lists.filter(isArrival);
  });
}

interface ListPlace {
  readonly origin: string;
  readonly issuer: string;
  readonly kind: ListKind;
  readonly bytesMax: number;
}

type FoundList = Arrival | "same" | "none" | "large";
const isArrival = (found: FoundList): found is Arrival => typeof found === "object";

/** One list; `same` where the node has it, `none` where there is none, `large` where it has more bytes than `bytesMax`. */
function fetchList(
  { stateDir, held, etags, get = httpGet }: FetchInput,
  { origin, issuer, kind, bytesMax }: ListPlace,
): Effect.Effect<FoundList, HttpFailed | CrlNotStored, FileSystem> {
  const url = `${origin}/crl/${issuer}${kind === "complete" ? "" : `-${kind}`}.crl`;
  const own = held(issuer, kind === "delta" ? "delta" : "complete");
  const known = [...own === undefined ? [] : [`"${own}"`], ...etags.has(url) ? [etags.get(url)!] : []];
  return Effect.scoped(Effect.gen(function* () {
    const answer = yield* get(url, [...new Set(known)]);
    const { status, sizeBytes, etag } = answer;
    if (status === 304) return "same" as const;
    if (status === 404) return "none" as const;
    if (status !== 200) return yield* new HttpFailed({ url, detail: `the answer is ${status}` });
    if (sizeBytes !== undefined && sizeBytes > bytesMax) return "large" as const;
    const limitMs = pullMs(sizeBytes ?? bytesMax);
    const late = Effect.fail(new HttpFailed({ url, detail: `it was not whole within ${Math.ceil(limitMs)} ms` }));
    const body = yield* Effect.timeoutOrElse(download(stateDir, url, answer, bytesMax), {
      duration: limitMs,
      orElse: () => late,
    });
    if (body === "large") return body;
    if (etag !== undefined) etags.set(url, etag);
    return { issuer, ...body, peer: undefined } satisfies Arrival;
  }));
}

/** Writes a body into a file aside, and names that by its SHA-256. */
function download(stateDir: string, url: string, { next }: HttpAnswer, bytesMax: number) {
  return Effect.gen(function* () {
    const hash = createHash("sha256");
    const name = createHash("sha256").update(url).digest("hex");
    let sizeBytes = 0;
    let written = 0;
    let chunks: Uint8Array[] = [];
    for (;;) {
      const piece = yield* next;
      if (piece !== undefined) {
        sizeBytes += piece.length;
        if (sizeBytes > bytesMax) return "large" as const;
        hash.update(piece);
        chunks.push(piece);
      }
      const isLast = piece === undefined;
      if (!isLast && sizeBytes - written < chunkBytes) continue;
      const bytes = Buffer.concat(chunks);
      yield* addPiece(stateDir, { sha256: name, offset: written, bytes });
      written = sizeBytes;
      chunks = [];
      if (isLast) break;
    }
    const sha256 = hash.digest("hex");
    yield* nameIncoming(stateDir, name, sha256);
    return { sha256, sizeBytes };
  });
}
