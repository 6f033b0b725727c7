/**
 * Hostile HTTP on a console's port: from other pages in the operator's browser, from other users of the machine, and floods.
 *
 * Goal: nothing but a request of the console's own page has an effect, and what hostile ones cost is bounded. Method: the real server; after
 * each attack the operator's page is answered.
 */
import { connect, type Socket } from "node:net";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jsonRoute } from "../../actors/admin/json_route.ts";
import { Schema } from "effect";
import { feedReadersMax } from "../../actors/console/feed.ts";
import { consoleBodyBytesMax, consoleConnectionsMax } from "../../actors/console/serve_console.ts";
import { spentMs } from "../../scripts/attack/own_process.ts";
import { type ConsoleWorld, openConsoleWorld } from "../support/console_world.ts";

const test = suite("attacks on the console");
let world: ConsoleWorld;
/** What reached the program. */
let acts: unknown[] = [];

const record = (name: string) =>
  jsonRoute({ summary: name, body: Schema.Struct({ name: Schema.optionalKey(Schema.String) }) }, (body) => {
    acts.push([name, body]);
    return { status: 200, body: {} };
  });

test.before(async () => {
  world = await openConsoleWorld({
    routes: Object.fromEntries(
      ["POST /drain", "POST /ca/revoke", "POST /ca/token", "POST /ca/backup", "POST /log-level", "GET /status"]
        .map((name) => [name, record(name)]),
    ),
  });
});
test.after(() => world.close());
test.before.each(() => {
  acts = [];
});
/** The operator's page works, and nothing of the attack had an effect. */
test.after.each(async () => {
  assert.equal(acts, []);
  assert.is((await world.ask("POST /drain", { body: "{}" })).status, 200);
  assert.equal(acts, [["POST /drain", {}]]);
});

/** Headers in place of the page's, and the refusal. `origin` and `authority` stand for the console's own. */
const forged: readonly [string, Readonly<Record<string, string | undefined>>, string][] = [
  ["no cookie", { cookie: undefined }, "no-session"],
  ["another cookie", { cookie: "hypha-console-1=x" }, "no-session"],
  ["the cookie of another port: its name", { cookie: "hypha-console=SAME" }, "no-session"],
  ["the cookie without the page's key, as a form sends it", { "x-hypha-console": undefined }, "no-key"],
  ["another key", { "x-hypha-console": "0".repeat(22) }, "no-key"],
  ["an empty key", { "x-hypha-console": "" }, "no-key"],
  ["the origin of another port", { origin: "http://127.0.0.1:1" }, "wrong-origin"],
  ["the origin of another site", { origin: "https://attacker.example" }, "wrong-origin"],
  ["no origin", { origin: undefined }, "wrong-origin"],
  ["the origin null, of a sandboxed frame", { origin: "null" }, "wrong-origin"],
  ["a request of another site", { "sec-fetch-site": "cross-site" }, "wrong-origin"],
  ["a request of another port", { "sec-fetch-site": "same-site" }, "wrong-origin"],
  ["a name that points here (DNS rebinding)", { host: "attacker.example:PORT" }, "wrong-host"],
  ["localhost in place of the address", { host: "localhost:PORT" }, "wrong-host"],
  ["no port in the host", { host: "127.0.0.1" }, "wrong-host"],
];
for (const [name, headers, code] of forged) {
  test(`${name}: refused as ${code}, on every path`, async () => {
    const given = Object.fromEntries(
      Object.entries(headers).map(([header, value]) => [
        header,
        value?.replace("PORT", String(world.port)).replace("SAME", world.session.cookie.split("=")[1] ?? ""),
      ]),
    );
    for (const route of ["POST /drain", "POST /ca/revoke", "POST /nothing"]) {
      const { status, text } = await world.ask(route, { with: given, body: "{}" });
      assert.ok(status >= 400 && status < 500, `${status}`);
      assert.is(JSON.parse(text).code, code, route);
    }
    if (code === "wrong-origin" && headers["origin"] === undefined && !("sec-fetch-site" in headers)) return;
    assert.is(JSON.parse((await world.ask("GET /feed", { with: given })).text).code, code);
  });
}

test("a page is shown to the session alone, and every answer forbids foreign content and frames", async () => {
  assert.is((await world.ask("GET /", { with: { cookie: undefined } })).status, 401);
  assert.is((await world.ask("GET /page.js", { with: { cookie: undefined } })).status, 401);
  for (const route of ["GET /", "GET /page.js", "GET /nothing", "POST /ca/token"]) {
    const { headers } = await world.ask(route, { body: "" });
    assert.match(String(headers["content-security-policy"]), /^default-src 'none'; script-src 'self';/);
    assert.not.match(String(headers["content-security-policy"]), /unsafe|https?:|\*/);
    assert.is(headers["cache-control"], "no-store");
    assert.is(headers["access-control-allow-origin"], undefined);
  }
});

test("a wrong token opens nothing; the right one gives a cookie that scripts and other sites cannot use", async () => {
  for (const token of ["", "x", `${new URL(world.url).searchParams.get("token")}x`]) {
    const { status, headers } = await world.ask(`GET /?token=${token}`, { with: { cookie: undefined } });
    assert.is(status, 401);
    assert.is(headers["set-cookie"], undefined);
  }
  const { status, headers } = await world.ask(`GET /${new URL(world.url).search}`, { with: { cookie: undefined } });
  assert.is(status, 303);
  assert.match(String(headers["set-cookie"]), /^hypha-console-\d+=[\w-]{22}; Path=\/; HttpOnly; SameSite=Strict$/);
  assert.not.match(String(headers["location"]), /token/);
});

test("routes that make secrets, write files or change the log are not the page's", async () => {
  for (const route of ["POST /ca/token", "POST /ca/backup", "POST /log-level", "GET /status", "PUT /drain"]) {
    assert.is((await world.ask(route, { with: { origin: world.url.split("/?")[0] }, body: "{}" })).status, 404, route);
  }
});

const bodies: readonly (readonly [name: string, body: string, status: number])[] = [
  ["no JSON", "{", 400],
  ["eight thousand brackets", "[".repeat(8_000), 400],
  ["a further key", '{"name":"x","force":true}', 400],
  ["one byte too many", `{"name":"x"${" ".repeat(consoleBodyBytesMax)}}`, 413],
];
for (const [name, body, status] of bodies) {
  test(`${name}: refused with ${status}`, async () => {
    assert.is((await world.ask("POST /ca/revoke", { body })).status, status);
  });
}

/** Opens connections and sends `bytes` on each; resolves when all are open. */
async function dial(count: number, bytes: string): Promise<readonly Socket[]> {
  const sockets = Array.from({ length: count }, () => connect(world.port, "127.0.0.1"));
  await Promise.all(sockets.map((socket) =>
    new Promise<void>((resolve) => {
      socket.on("error", () => resolve());
      socket.on("close", () => resolve());
      socket.on("connect", () => {
        socket.resume().write(bytes);
        resolve();
      });
    })
  ));
  return sockets;
}

const openOf = (sockets: readonly Socket[]) => sockets.filter(({ destroyed }) => !destroyed).length;

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!holds() && performance.now() < end) await new Promise((done) => setTimeout(done, 20));
}

for (
  const [name, bytes] of [
    ["silent", ""],
    ["with half a head", "GET / HTTP/1.1\r\nhost: "],
    ["with random bytes", "\x16\x03\x01\x00\xff".repeat(50)],
  ] as const
) {
  test(`1,000 connections ${name}: a bounded number stays, and the operator is served meanwhile`, async () => {
    const sockets = await dial(1_000, bytes);
    await until(() => openOf(sockets) <= consoleConnectionsMax);
    assert.ok(openOf(sockets) <= consoleConnectionsMax, `${openOf(sockets)} stay`);
    assert.is((await world.ask("GET /")).status, 200);
    for (const socket of sockets) socket.destroy();
  });
}

test("1,000 streams with the session: a bounded number is fed, and the program is undisturbed", async () => {
  const { authority, session: { cookie, key } } = world;
  const head = `GET /feed HTTP/1.1\r\nhost: ${authority}\r\ncookie: ${cookie}\r\nx-hypha-console: ${key}\r\n\r\n`;
  const before = process.memoryUsage().rss;
  let worstMs = 0;
  let last = spentMs();
  const timer = setInterval(() => {
    worstMs = Math.max(worstMs, spentMs() - last);
    last = spentMs();
  }, 10);
  const sockets: Socket[] = [];
  for (let batch = 0; batch < 20; batch++) sockets.push(...await dial(50, head));
  await until(() => openOf(sockets) <= feedReadersMax);
  clearInterval(timer);
  assert.ok(openOf(sockets) <= feedReadersMax, `${openOf(sockets)} stay`);
  assert.ok(openOf(sockets) > 0);
  assert.ok(worstMs < 1_000, `the event loop stood for ${Math.round(worstMs)} ms`);
  assert.ok(process.memoryUsage().rss - before < 100e6);
  for (const socket of sockets) socket.destroy();
  await new Promise((done) => setTimeout(done, 50));
});

test.run();
