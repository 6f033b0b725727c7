/**
 * Fetches revocation lists by HTTP: of each issuer the newest complete list; where that is large or not there, a base and its delta.
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
  /** ETags of other servers, by URL. A round that succeeds adds those of its lists. */
  readonly etags: Map<string, string>;
  /** How it is fetched; over the real network where undefined. */
  readonly get?: HttpGet | undefined;
}

/** What a round of fetching brought. */
export interface Fetched {
  readonly arrivals: readonly Arrival[];
  /** Why there is nothing of an issuer from an origin; of an origin that does not answer one in all. */
  readonly failures: readonly HttpFailed[];
}

/** Fetches what is new of all issuers. Never fails but where the state directory does. */
export function fetchLists(input: FetchInput): Effect.Effect<Fetched, CrlNotStored, FileSystem> {
  return Effect.gen(function* () {
    const lists: NewList[] = [];
    const failures: HttpFailed[] = [];
    const dead = new Set<string>();
    for (const issuer of input.issuers.slice(0, fetchedIssuersMax)) {
      for (const origin of input.urls.filter((each) => !dead.has(each))) {
        const failed = yield* Effect.match(fetchIssuer(input, { origin, issuer }, (list) => lists.push(list)), {
          onFailure: (error) => error,
          onSuccess: () => undefined,
        });
        if (failed === undefined) break;
        if (failed._tag === "CrlNotStored") return yield* failed;
        failures.push(failed);
        // Another failure is that issuer's alone: a server may refuse what it has no list of.
        if (failed.isSilent === true) dead.add(origin);
      }
    }
    // Not before: a server does not send again what a failed round brought.
    for (const { url, etag } of lists) if (etag !== undefined) input.etags.set(url, etag);
    // Two origins may have had the same list.
    const arrivals = new Map<string, Arrival>();
    for (const { url, arrival } of lists) {
      arrivals.set(arrival.sha256, { ...arrival, urls: [...arrivals.get(arrival.sha256)?.urls ?? [], url] });
    }
    return { arrivals: [...arrivals.values()], failures };
  });
}

/** Fetches the new lists of one issuer from one origin. Each is passed to `take` at once, so that a later failure does not lose it. */
function fetchIssuer(
  input: FetchInput,
  place: Pick<ListPlace, "origin" | "issuer">,
  take: (list: NewList) => void,
): Effect.Effect<void, HttpFailed | CrlNotStored, FileSystem> {
  return Effect.gen(function* () {
    const get = (kind: ListKind, bytesMax: number) =>
      Effect.map(fetchList(input, { ...place, kind, bytesMax }), (found) => {
        if (typeof found === "object") take(found);
        return found;
      });
    // A delta is of a large list.
    const hasDelta = input.held(place.issuer, "delta") !== undefined;
    const complete = hasDelta ? "large" : yield* get("complete", wholeBytesMax);
    if (complete !== "large" && complete !== "none") return;
    // The delta first: it is small, and it revokes before its base is there.
    const [delta, base] = [yield* get("delta", crlTakenBytesMax), yield* get("base", crlTakenBytesMax)];
    if (complete === "large" && delta === "none" && base === "none") yield* get("complete", crlTakenBytesMax);
  });
}

interface ListPlace {
  readonly origin: string;
  readonly issuer: string;
  readonly kind: ListKind;
  readonly bytesMax: number;
}

/** A list that arrived, and what its server calls it. */
interface NewList {
  readonly arrival: Arrival;
  readonly url: string;
  readonly etag: string | undefined;
}

type FoundList = NewList | "same" | "none" | "large";

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
    return { arrival: { issuer, ...body, peer: undefined }, url, etag };
  }));
}

/** Writes a body into a file of its own aside, and names that by its SHA-256. */
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
