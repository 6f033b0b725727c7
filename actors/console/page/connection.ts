/**
 * The page's side of the console: its key, the feed, and requests.
 *
 * @module
 */

const keyName = "hypha-console-key";
/** Until the page connects again, in milliseconds. */
const againMs = 2_000;

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

/** Asks for something: `POST /ca/nodes`. */
export async function ask(path: string, body: unknown = {}): Promise<Answer> {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "x-hypha-console": takeKey(), "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  } catch {
    return { status: 0, body: { error: "The program does not answer. It has ended, or is busy: try again." } };
  }
}

/** What a feed sends. */
export interface FeedListener {
  readonly onPart: (name: string, value: unknown) => void;
  readonly onLink: (link: Link) => void;
}

/** Follows the feed for as long as the page is open. A session that is over ends it. */
export async function followFeed(listener: FeedListener): Promise<void> {
  for (;;) {
    try {
      const response = await fetch("/feed", { headers: { "x-hypha-console": takeKey() } });
      if (response.status === 401 || response.status === 403) return listener.onLink("ended");
      if (response.ok && response.body !== null) {
        listener.onLink("live");
        await readEvents(response.body, listener);
      }
    } catch {
      // The program ended, or the connection broke: below.
    }
    listener.onLink("lost");
    await new Promise((resolve) => setTimeout(resolve, againMs));
  }
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
