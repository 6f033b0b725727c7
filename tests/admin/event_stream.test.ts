/** Events reach every reader that reads; one that does not, and one too many, cost a bounded amount and disturb no other. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Effect, Exit, Scope } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import { adminStreamBytesMax, adminStreamsMax, makeEventSource } from "../../actors/admin/event_stream.ts";
import { adminConnectionsMax, serveAdmin } from "../../actors/admin/serve_admin.ts";

const test = suite("events over the admin socket");
const folder = mkdtempSync(join(tmpdir(), "hypha-events-"));
const path = join(folder, "admin.sock");
const source = makeEventSource();
let followers = 0;
const follow = (take: (event: string) => void) => {
  followers += 1;
  const leave = source.follow(take);
  return () => {
    followers -= 1;
    leave();
  };
};
const routes = {
  "GET /status": () => Promise.resolve({ status: 200, body: {} }),
  "GET /events": { summary: "Follow.", follow },
};
let scope = Effect.runSync(Scope.make());
test.before.each(async () => {
  scope = Effect.runSync(Scope.make());
  await Effect.runPromise(Scope.provide(serveAdmin(path, routes), scope));
});
test.after.each(() => Effect.runPromise(Scope.close(scope, Exit.void)));
test.after(() => rmSync(folder, { recursive: true }));

async function eventually(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, holds.toString());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

interface Reader {
  readonly socket: Socket;
  readonly text: () => string;
  readonly isOver: () => boolean;
}

/** Asks for the events. */
function reader(request = "GET /events HTTP/1.1\r\nhost: a\r\n\r\n"): Reader {
  const socket = connect(path);
  let [text, isOver] = ["", false];
  socket.on("data", (piece) => text += piece);
  socket.on("error", () => {});
  socket.on("close", () => isOver = true);
  socket.write(request);
  return { socket, text: () => text, isOver: () => isOver };
}
const isFollowing = ({ text }: Reader) => text().includes(": follows");
const idsOf = ({ text }: Reader) => [...text().matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
const isServed = async () => (await Effect.runPromise(askAdmin(path, "GET /status"))).status === 200;

test("each event arrives once and in order, as one line of data; a reader that leaves is forgotten", async () => {
  const [one, other] = [reader(), reader()];
  await eventually(() => isFollowing(one) && isFollowing(other));
  assert.match(one.text(), /^HTTP\/1\.1 200 .*content-type: text\/event-stream; charset=utf-8/is);
  source.publish('{"event":"a"}');
  source.publish('{"event":"b"}');
  await eventually(() => idsOf(one).length === 2 && idsOf(other).length === 2);
  assert.match(one.text(), /id: 1\ndata: \{"event":"a"\}\n\n.*id: 2\ndata: \{"event":"b"\}\n\n/s);
  other.socket.destroy();
  await eventually(() => followers === 1);
  source.publish("{}");
  await eventually(() => idsOf(one).length === 3);
  await Effect.runPromise(Scope.close(scope, Exit.void));
  await eventually(() => one.isOver() && followers === 0);
  assert.not(source.isFollowed());
});

test("a reader that does not read is cut off when a bounded amount waits for it; the others miss nothing", async () => {
  const slow = reader();
  const good = reader();
  await eventually(() => isFollowing(slow) && isFollowing(good));
  slow.socket.pause();
  const before = process.memoryUsage().rss;
  const event = JSON.stringify("x".repeat(16_000));
  let sent = 0;
  while (followers > 1) {
    source.publish(event);
    sent += 1;
    assert.ok(sent * event.length < 64 * adminStreamBytesMax, "it is never cut off");
    await eventually(() => idsOf(good).length === sent);
  }
  assert.equal(idsOf(good), Array.from({ length: sent }, (_, index) => index + 1));
  assert.ok(process.memoryUsage().rss - before < 100e6);
  slow.socket.resume();
  await eventually(slow.isOver);
  good.socket.destroy();
  await eventually(() => followers === 0);
});

test("so many read at once, one more is refused; commands are answered meanwhile", async () => {
  const readers = Array.from({ length: adminStreamsMax }, () => reader());
  await eventually(() => readers.every(isFollowing));
  const late = reader();
  await eventually(late.isOver);
  assert.match(late.text(), /^HTTP\/1\.1 503 .*too-many-streams/s);
  assert.ok(await isServed());
  const flood = Array.from({ length: 4 * adminConnectionsMax }, () => reader());
  await eventually(() => flood.every(({ isOver }) => isOver()));
  assert.ok(await isServed());
  assert.is(followers, adminStreamsMax);
  source.publish("{}");
  await eventually(() => readers.every((each) => idsOf(each).length === 1));
  for (const { socket } of readers) socket.destroy();
  await eventually(() => followers === 0);
  const again = reader();
  await eventually(() => isFollowing(again));
});

test("another method, and a body that comes along, follow nothing more", async () => {
  const posted = reader("POST /events HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
  await eventually(posted.isOver);
  assert.match(posted.text(), /^HTTP\/1\.1 404 /);
  const body = "x".repeat(100_000);
  const bodied = reader(`GET /events HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await eventually(() => isFollowing(bodied));
  bodied.socket.destroy();
  await eventually(() => followers === 0);
});

test.run();
