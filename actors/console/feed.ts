/**
 * What the pages of a console are shown, part by part: each reader gets the parts that changed since it got them last.
 *
 * @module
 */
import type { ServerResponse } from "node:http";

/** Readers at once. A browser has one for each tab that is in view. */
export const feedReadersMax = 8;
/** Between two looks, in milliseconds. */
export const feedLookMs = 1_000;
/** A reader that takes nothing for this long is closed, in milliseconds. */
export const feedStalledMs = 30_000;
/** A comment is sent so often, in milliseconds: it shows that the program runs, and finds connections that are gone. */
export const feedHeartbeatMs = 15_000;

/** What is shown, by the name of the part. Each value becomes JSON. */
export type FeedParts = Readonly<Record<string, unknown>>;

/** The feed of one console. */
export interface Feed {
  /** Sends parts into a response until its connection ends. False where there are {@linkcode feedReadersMax} readers. */
  readonly follow: (response: ServerResponse) => boolean;
  /** Looks no more. */
  readonly end: () => void;
}

interface Reader {
  readonly response: ServerResponse;
  /** The text of each part that was sent. Readers share the texts. */
  readonly sent: Map<string, string>;
  stalledSince: number | undefined;
  writtenAt: number;
}

/** What a feed is made with. */
export interface FeedInit {
  /** Looks at the program. */
  readonly look: () => Promise<FeedParts>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly lookMs?: number;
}

/** Makes a feed. It looks at the program only while it has readers. */
export function makeFeed({ look, now, lookMs = feedLookMs }: FeedInit): Feed {
  const readers = new Set<Reader>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isLooking = false;
  const tick = async () => {
    timer = undefined;
    isLooking = true;
    try {
      const parts = Object.entries(await look()).map(([part, value]) => [part, JSON.stringify(value)] as const);
      for (const reader of readers) sendParts(reader, parts, now());
    } catch {
      for (const { response } of readers) response.destroy(); // the page connects again, and says so meanwhile
    }
    isLooking = false;
    if (readers.size > 0) timer ??= setTimeout(() => void tick(), lookMs);
  };
  return {
    follow: (response) => {
      if (readers.size >= feedReadersMax) return false;
      const reader: Reader = { response, sent: new Map(), stalledSince: undefined, writtenAt: now() };
      readers.add(reader);
      response.on("error", () => {});
      response.on("close", () => void readers.delete(reader));
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
      response.write(": follows\n\n");
      clearTimeout(timer);
      if (!isLooking) void tick();
      return true;
    },
    end: () => {
      clearTimeout(timer);
      for (const { response } of readers) response.destroy();
      readers.clear();
    },
  };
}

/** Sends what changed. A reader that has not taken the last parts yet gets the newest ones later. */
function sendParts(reader: Reader, parts: readonly (readonly [string, string])[], at: number): void {
  const { response, sent } = reader;
  if (response.writableLength > 0) {
    reader.stalledSince ??= at;
    if (at - reader.stalledSince >= feedStalledMs) response.destroy();
    return;
  }
  reader.stalledSince = undefined;
  for (const [part, text] of parts) {
    if (sent.get(part) === text) continue;
    sent.set(part, text);
    response.write(`event: ${part}\ndata: ${text}\n\n`);
    reader.writtenAt = at;
  }
  if (at - reader.writtenAt < feedHeartbeatMs) return;
  response.write(": running\n\n");
  reader.writtenAt = at;
}
