/**
 * The page's side of the console: its key, the feed, and requests.
 *
 * @module
 */

const keyName = "hypha-console-key";
/** Until the page connects again, in milliseconds. */
const againMs = 2_000;
/** Time limit of a request, in milliseconds: as long as the command line waits for a program (`adminTimeoutMs`). */
const answerMs = 60_000;

/** How the page stands with the program. */
export type Link = "connecting" | "live" | "lost" | "ended";

/** Takes the key out of the address, where the console put it, and keeps it for the tabs of this origin. */
export function takeKey(): string {
  const fragment = location.hash.slice(1);
  if (/^[\w-]{22}$/.test(fragment)) {
    localStorage.setItem(keyName, fragment);
    history.replaceState(null, "", "/#/node");
  }
  return localStorage.getItem(keyName) ?? "";
}

/** An answer of the console. */
export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/**
 * Asks for something: `POST /ca/nodes`. Status 0 where no answer comes within a minute: a request that still waits for one of the
 * browser's connections is not sent later.
 */
export async function ask(path: string, body: unknown = {}): Promise<Answer> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), answerMs);
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "x-hypha-console": takeKey(), "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: limit.signal,
    });
    return { status: response.status, body: await response.json() };
  } catch {
    return { status: 0, body: { error: "The program did not answer. It has ended, or is busy: try again." } };
  } finally {
    clearTimeout(timer);
  }
}

/** What a feed sends. */
export interface FeedListener {
  readonly onPart: (name: string, value: unknown) => void;
  readonly onLink: (link: Link) => void;
}

/**
 * Follows the feed while the page is in view: a feed holds one of the six connections that a browser opens to an address, and pages that
 * are not in view would leave none for acts. A session that is over ends it.
 */
export async function followFeed(listener: FeedListener): Promise<void> {
  for (;;) {
    await untilHidden(false);
    const view = new AbortController();
    void untilHidden(true).then(() => view.abort());
    while (!view.signal.aborted) {
      try {
        const response = await fetch("/feed", { headers: { "x-hypha-console": takeKey() }, signal: view.signal });
        if (response.status === 401 || response.status === 403) return listener.onLink("ended");
        if (response.ok && response.body !== null) {
          listener.onLink("live");
          await readEvents(response.body, listener);
        }
      } catch {
        // The program ended, the connection broke, or the page is out of view: below.
      }
      if (view.signal.aborted) break;
      listener.onLink("lost");
      await new Promise((resolve) => setTimeout(resolve, againMs));
    }
    listener.onLink("connecting");
  }
}

/** Resolves as soon as the page is out of view, or is in it. */
function untilHidden(isHidden: boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden !== isHidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

async function readEvents(body: ReadableStream<Uint8Array>, { onPart }: FeedListener): Promise<void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const pieces: string[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const text = decoder.decode(value, { stream: true });
    pieces.push(text);
    if (!text.includes("\n")) continue; // a long part comes in many pieces
    const events = pieces.join("").split("\n\n");
    pieces.splice(0, pieces.length, events.pop() ?? "");
    for (const event of events) {
      const [, name, data] = /^event: (.+)\ndata: (.*)$/s.exec(event) ?? [];
      if (name !== undefined && data !== undefined) onPart(name, JSON.parse(data));
    }
  }
}
