/**
 * Events for the readers of `GET /events`: server-sent events over a response of the admin socket.
 *
 * @module
 */
import type { ServerResponse } from "node:http";

/** Streams at once; the other connections of the socket are for commands. */
export const adminStreamsMax = 4;
/** Bytes that wait for one reader. The stream of a reader that is further behind ends. */
export const adminStreamBytesMax = 262_144;
/** A comment is sent so often, in milliseconds: it shows that the program runs, and finds connections that are gone. */
export const adminHeartbeatMs = 15_000;

/** A route that streams events until its reader leaves. */
export interface AdminEvents {
  readonly summary: string;
  /** Calls `take` with each event, one line of JSON, until the returned function is called. */
  readonly follow: (take: (event: string) => void) => () => void;
}

/** A source of events with any number of followers. */
export interface EventSource extends Pick<AdminEvents, "follow"> {
  /** Whether it has followers. */
  readonly isFollowed: () => boolean;
  readonly publish: (event: string) => void;
}

/** Makes a source. It keeps no event. */
export function makeEventSource(): EventSource {
  const followers = new Set<(event: string) => void>();
  return {
    follow: (take) => {
      const follower = (event: string) => take(event); // one of its own, where a function follows twice
      followers.add(follower);
      return () => void followers.delete(follower);
    },
    isFollowed: () => followers.size > 0,
    publish: (event) => {
      for (const take of followers) take(event);
    },
  };
}

/**
 * Writes the events into a response until its connection ends: the reader left, is too slow, or the program ends. Each event has a
 * number, from 1 on, so that a reader can show what it got.
 *
 * @param ended Called once, when the connection has ended.
 */
export function streamEvents({ follow }: AdminEvents, response: ServerResponse, ended: () => void): void {
  let count = 0;
  const write = (text: string) => {
    if (response.writableLength + text.length > adminStreamBytesMax) response.destroy();
    else response.write(text);
  };
  const leave = follow((event) => write(`id: ${count += 1}\ndata: ${event}\n\n`));
  const heartbeat = setInterval(() => write(": running\n\n"), adminHeartbeatMs);
  heartbeat.unref();
  response.on("error", () => {});
  response.on("close", () => {
    leave();
    clearInterval(heartbeat);
    ended();
  });
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    connection: "close",
  });
  write(": follows\n\n");
}
