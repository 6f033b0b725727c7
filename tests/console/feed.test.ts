/** What readers of a console's feed get: each part once, and again when it changed; the newest where they were slow. */
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Feed, feedReadersMax, makeFeed } from "../../actors/console/feed.ts";

const test = suite("makeFeed()");
let server: Server;
let feed: Feed;
let looks = 0;
let parts: Readonly<Record<string, unknown>> | "broken" = {};

test.before.each(async () => {
  looks = 0;
  feed = makeFeed({
    now: () => Date.now(),
    lookMs: 10,
    look: () => {
      looks += 1;
      return parts === "broken" ? Promise.reject(new Error("broken")) : Promise.resolve(parts);
    },
  });
  server = createServer((_, response) => feed.follow(response) || response.writeHead(503).end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
test.after.each(() => {
  feed.end();
  server.closeAllConnections();
  server.close();
});

interface Reader {
  readonly status: number;
  /** Names and data of what came. */
  readonly events: [string, unknown][];
  readonly isOver: () => boolean;
  readonly pause: () => void;
  readonly resume: () => void;
  readonly leave: () => void;
}

function read(): Promise<Reader> {
  const { port } = server.address() as AddressInfo;
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, agent: false }, (response) => {
      const events: [string, unknown][] = [];
      let [text, isOver] = ["", false];
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        const whole = text.split("\n\n");
        text = whole.pop() ?? "";
        for (const event of whole) {
          const [, name = "", data = ""] = /^event: (.*)\ndata: (.*)$/.exec(event) ?? [];
          if (name !== "") events.push([name, JSON.parse(data)]);
        }
      });
      response.on("error", () => {});
      response.on("close", () => (isOver = true));
      resolve({
        status: response.statusCode ?? 0,
        events,
        isOver: () => isOver,
        pause: () => void response.pause(),
        resume: () => void response.resume(),
        leave: () => sent.destroy(),
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 250 && !holds(); tries++) await new Promise((done) => setTimeout(done, 20));
  assert.ok(holds(), what);
}

test("a part is sent once, and again when it changed; a later reader gets all parts", async () => {
  parts = { a: 1, b: { c: [2] } };
  const first = await read();
  await until(() => first.events.length === 2 && looks > 3, "two parts");
  assert.equal(first.events, [["a", 1], ["b", { c: [2] }]]);
  parts = { a: 1, b: { c: [3] } };
  await until(() => first.events.length > 2, "a change");
  assert.equal(first.events.slice(2), [["b", { c: [3] }]]);
  const second = await read();
  await until(() => second.events.length === 2, "all parts");
  assert.equal(second.events, [["a", 1], ["b", { c: [3] }]]);
});

test("a reader that was slow gets the newest of a part, not all that it missed", async () => {
  const long = "x".repeat(4_000_000); // more than sockets hold
  parts = { turn: 0, long };
  const slow = await read();
  slow.pause();
  for (let turn = 1; turn <= 20; turn++) {
    parts = { turn, long: `${turn}${long}` };
    await new Promise((done) => setTimeout(done, 15));
  }
  const seen = looks;
  slow.resume();
  await until(() => slow.events.some(([name, value]) => name === "turn" && value === 20), "the newest turn");
  assert.ok(seen > 5);
  assert.ok(slow.events.length < 10, `${slow.events.length} events`);
});

test("without readers the program is not looked at; one reader too many is turned away", async () => {
  parts = { a: 1 };
  await new Promise((done) => setTimeout(done, 40));
  assert.is(looks, 0);
  const readers = await Promise.all(Array.from({ length: feedReadersMax }, read));
  assert.ok(readers.every(({ status }) => status === 200));
  assert.is((await read()).status, 503);
  for (const { leave } of readers) leave();
  let before = -1;
  await until(() => before === (before = looks), "no look");
});

test("what cannot be looked at ends the streams, so that the page says it", async () => {
  parts = { a: 1 };
  const reader = await read();
  await until(() => reader.events.length === 1, "a part");
  parts = "broken";
  await until(reader.isOver, "the end");
});

test.run();
